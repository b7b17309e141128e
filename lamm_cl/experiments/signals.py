"""Ctrl-C and SIGTERM, heard where nothing is half done."""

import contextlib
import signal
from typing import Any


class Interrupted(KeyboardInterrupt):
    """SIGTERM, treated as Ctrl-C is."""


class Signals:
    """Ctrl-C and SIGTERM, noted when they come and raised where nothing is half done.

    Raised anywhere, they could tear a worker's message in two, and what follows it would never be understood. Who asks
    three times without an answer is heard at once.
    """

    def __init__(self) -> None:
        self._noted: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) == signal.SIG_IGN:
                continue
            with contextlib.suppress(ValueError):  # not the main thread: whoever runs us there decides about signals
                self._before[number] = signal.signal(number, self._note)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self._noted.append(number)
        if len(self._noted) > 2:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise what came since the last check: `KeyboardInterrupt`, or `Interrupted` for SIGTERM."""
        if self._noted:
            first = self._noted[0]
            self._noted.clear()
            raise Interrupted if first == signal.SIGTERM else KeyboardInterrupt
