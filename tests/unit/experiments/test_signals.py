"""Ctrl-C and SIGTERM are heard where nothing is half done."""

import signal
import time

import pytest

from lamm_cl.experiments.signals import Signals


def test_a_signal_is_raised_where_nothing_is_half_done() -> None:
    signals = Signals()
    with signals.held():
        signals._note(signal.SIGTERM, None)
        signals._note(signal.SIGINT, None)
        assert signals.noted
        with pytest.raises(KeyboardInterrupt):
            signals.check()
        assert not signals.noted
        signals.check()
        signals._note(signal.SIGINT, None)
        with pytest.raises(KeyboardInterrupt):
            signals.check()
    assert signals.first == signal.SIGTERM


def test_the_third_signal_without_an_answer_is_raised_at_once() -> None:
    signals = Signals()
    with signals.held():
        signals._note(signal.SIGINT, None)
        signals._note(signal.SIGINT, None)
        with pytest.raises(KeyboardInterrupt):
            signals._note(signal.SIGINT, None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_not_held_back_is_raised_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), Signals():
        signal.raise_signal(number)
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_finalizer_is_not_lost(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    class Late:
        def __del__(self) -> None:
            signal.raise_signal(number)

    with Signals() as signals:
        made = [Late()]
        made.clear()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(60)
        assert signals.first == number
    assert capsys.readouterr() == ("", "")
