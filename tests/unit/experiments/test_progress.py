import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from lamm_cl.experiments import progress
from lamm_cl.experiments.progress import Display, Summary
from lamm_cl.experiments.spec import RunSpec
from lamm_cl.records import DONE, FAILED, Entry, Progress

RUN = RunSpec("e", "few_shot", ("digits",), "digits", "lamm", "lamm", "tiny", 16, 1)
RUNS = [replace(RUN, seed=seed) for seed in range(4)]


def test_time_left_comes_from_runs_of_the_same_kind() -> None:
    slow = [replace(run, label="maple", method="maple") for run in RUNS]
    text = io.StringIO()
    display = Display(Console(file=text), [*RUNS, *slow], 8, workers=2)
    display.finished(RUNS[0], Entry(DONE), own=False)
    assert "left" not in text.getvalue()
    display.finished(RUNS[1], Entry(DONE, seconds=1.0))
    display.finished(slow[0], Entry(DONE, seconds=9.0))
    assert text.getvalue().endswith(f" · about {(2 * 1.0 + 3 * 9.0) / 2:.1f} s left\n")


def test_lines_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    display = Display(Console(file=text, width=60), RUNS, 6, 2)
    display.doing([(RUNS[0], Progress("here:1", 0.5, "stage 1, epoch 3"))])
    display.finished(RUNS[0], Entry(DONE, seconds=2.0))
    display.finished(RUNS[1], Entry(FAILED, error="ValueError: no", seconds=1.0))
    monkeypatch.setattr(progress, "_LINE_EVERY", -1.0)
    display.doing([])
    display.doing([(run, Progress("there:2", 0.25, "starting")) for run in RUNS[2:]])
    display.finished(RUNS[2], Entry(DONE), own=False)
    display.finished(RUNS[3], Entry(DONE, note="it began anew", seconds=2.0))
    display.note("a worker died")
    display.close()
    assert text.getvalue().splitlines() == [
        "[3/6] done lamm on digits, tiny, 16 shots, seed 0 in 2.0 s · about 3.0 s left",
        "[4/6] FAILED lamm on digits, tiny, 16 shots, seed 1: ValueError: no · about 1.5 s left",
        "[4/6] lamm on digits, tiny, 16 shots, seed 2 · 25% starting; "
        "lamm on digits, tiny, 16 shots, seed 3 · 25% starting · about 1.5 s left",
        "[5/6] done by another command: lamm on digits, tiny, 16 shots, seed 2 · about 1.5 s left",
        "[6/6] done lamm on digits, tiny, 16 shots, seed 3 in 2.0 s: it began anew",
        "a worker died",
    ]


def test_bars_for_a_terminal() -> None:
    text = io.StringIO()
    display = Display(Console(file=text, width=120, force_terminal=True), RUNS, 6, 2)
    display.doing([(run, Progress("here:1", 0.5, "stage 1, epoch 3")) for run in RUNS[:2]])
    assert len(display._rows) == 2
    display.doing([(RUNS[1], Progress("here:1", 0.75, "stage 1, epoch 4"))])
    assert list(display._rows) == [RUNS[1].run_id]
    display.finished(RUNS[0], Entry(DONE, seconds=2.0))
    display.finished(RUNS[1], Entry(FAILED, error="ValueError: no", seconds=1.0))
    display.close()
    assert "all runs" in text.getvalue()
    assert "FAILED lamm on digits" in text.getvalue()


def test_a_summary_says_how_to_go_on(tmp_path: Path) -> None:
    summary = Summary(total=5, before=1, done=2, failed=[(RUN, "no")])
    assert (summary.left, summary.exit_code) == (1, 1)
    lines = summary.lines(tmp_path, ["lamm-cl", "run", "x.yaml"])
    assert lines[0].startswith("5 runs: 2 done now, 1 done before, 1 failed, 1 left.")
    assert lines[-1] == "Continue with: lamm-cl run x.yaml"
    assert Summary(total=1, done=1).exit_code == 0
    assert Summary(total=3, done=1, taken=2).exit_code == 0
    assert Summary(total=1, done=1, interrupted=True).exit_code == 130
