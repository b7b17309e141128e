"""Every letter can be printed in every locale."""

import io
import sys

import pytest

from lamm_cl.cli import main

TEXT = "94.23 ± 0.45 · café\n"


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_pipes_and_files_are_utf_8(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    main._print_every_letter()
    stream.write(TEXT)
    stream.flush()
    assert stream.buffer.getvalue() == TEXT.encode()  # type: ignore[attr-defined]


def test_a_terminal_shows_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    main._print_every_letter()
    stream.write("± \N{GREEK SMALL LETTER DELTA}")
    stream.flush()
    assert stream.buffer.getvalue() == "± ?".encode("latin-1")  # type: ignore[attr-defined]
