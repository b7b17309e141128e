"""Ctrl-C and SIGTERM, heard where nothing is half done."""

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Self

# Asks a worker to save and end because its time is nearly up; batch systems send it before they kill a job.
TIME_IS_UP: signal.Signals | None = getattr(signal, "SIGUSR1", None)
# A signal whose exception was lost comes again after this many seconds.
AGAIN_AFTER = 0.01


class Signals:
    """Ctrl-C, SIGTERM and whatever more is asked for: raised at once, or held until somebody looks.

    Who asks three times without an answer is heard at once. An exception raised where Python can only drop it (a
    finalizer, a weak reference's callback) is raised again a moment later.
    """

    def __init__(self, *more: signal.Signals | None) -> None:
        self._numbers: Sequence[signal.Signals] = [signal.SIGINT, signal.SIGTERM, *filter(None, more)]
        self.first: int | None = None  # of all that came
        self.noted: list[int] = []  # those that came since the last check
        self._holding = False
        self._before: dict[int, Any] = {}
        self._tell_before = sys.unraisablehook

    def __enter__(self) -> Self:
        for number in self._numbers:
            if signal.getsignal(number) == signal.SIG_IGN:
                continue
            with contextlib.suppress(ValueError):  # not the main thread: whoever runs us there decides about signals
                self._before[number] = signal.signal(number, self._note)
        self._tell_before, sys.unraisablehook = sys.unraisablehook, self._lost
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._tell_before

    def _lost(self, what: "sys.UnraisableHookArgs") -> None:
        if issubclass(what.exc_type, KeyboardInterrupt) and self.first in self._before:
            again = threading.Timer(AGAIN_AFTER, _send_again, [self.first])
            again.daemon = True
            again.start()
        else:
            self._tell_before(what)

    def _note(self, number: int, frame: object) -> None:
        self.first = self.first or number
        self.noted.append(number)
        if not self._holding or len(self.noted) > 2:
            self.check()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold signals back: they are only noted, for `check` and `noted`."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False

    def check(self) -> None:
        """Raise `KeyboardInterrupt` where a signal came since the last check."""
        if self.noted:
            self.noted.clear()
            raise KeyboardInterrupt


def _send_again(number: signal.Signals) -> None:
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)  # wakes the main thread where it waits
    else:
        _thread.interrupt_main(number)
