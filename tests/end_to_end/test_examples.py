"""Every script in benchmarks/examples runs, and says what it should."""

import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "benchmarks" / "examples"

# What a user finds in the output of each script; a script that is not here fails the suite.
EXPECTED = {
    "plain_stream": "own  ",
    "replay": "trained among (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)",
    "ewc": "EWC, lambda 1000: Set1",
    "synaptic_intelligence": "after stage 2, among all ten digits:",
    "lwf": "the teacher's copy holds",
    "early_stopping": "stage 2 stopped after",
    "lr_scheduler": "stage 2: lr 0.00050",
    "bounds": "joint      Set1",
    "loggers": "eval_results.csv",
    "gaussian_replay": "among all classes: 0.",
    "confidence_penalty": "Top1_Acc_Stream",
    "what_trains": "| coop | frozen | seen |",
    "own_images": "classes: circle, cross, square, triangle",
}

# Avalanche's own: not what a script of a user can change.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Call to deprecated function update:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*__array_wrap__ must accept context.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Metric Top1_Acc_Stream used by the EarlyStopping:UserWarning"),
]


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """An example that registers a method leaves none behind."""
    from lamm_cl.methods.registry import METHODS

    before = dict(METHODS)
    yield
    for name in set(METHODS) - set(before):
        del METHODS[name]


def test_every_example_is_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_example(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    out = str(tmp_path / "out")
    arguments = {"loggers": [out], "own_images": [out], "what_trains": ["1", "1", "1", "lamm", "coop"]}
    monkeypatch.setattr(sys, "argv", [str(EXAMPLES / f"{name}.py"), *arguments.get(name, [])])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert EXPECTED[name] in said
    if name == "plain_stream":
        rows = dict(line.split(None, 1) for line in said.splitlines())
        before, after = (row.split()[0] for row in rows["own"].split("|"))
        assert before == after  # LAMM's zero degradation in its own label space
    if name == "loggers":
        left = {path.name.split(".")[0] for path in (tmp_path / "out").rglob("*") if path.is_file()}
        assert left == {"log", "eval_results", "training_results", "events"}


def test_a_script_runs_as_a_user_runs_it(tmp_path: Path) -> None:
    script = [sys.executable, str(EXAMPLES / "what_trains.py"), "1", "1", "1", "coop"]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert EXPECTED["what_trains"] in done.stdout
