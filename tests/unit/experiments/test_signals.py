"""Ctrl-C and SIGTERM are heard where nothing is half done."""

import signal

import pytest

from lamm_cl.experiments.signals import Interrupted, Signals


def test_a_signal_is_raised_where_nothing_is_half_done() -> None:
    signals = Signals()
    signals._note(signal.SIGTERM, None)
    signals._note(signal.SIGINT, None)
    with pytest.raises(Interrupted):
        signals.check()
    signals.check()
    signals._note(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        signals.check()


def test_the_third_signal_without_an_answer_is_raised_at_once() -> None:
    signals = Signals()
    signals._note(signal.SIGINT, None)
    signals._note(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        signals._note(signal.SIGINT, None)
