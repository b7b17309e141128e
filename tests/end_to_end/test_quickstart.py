"""The main job: its table, its files, and what it says about forgetting."""

import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, lamm_cl_in: Any) -> tuple[Path, str]:
    """Run it once, from outside the checkout, as from an installed package."""
    folder = tmp_path_factory.mktemp("quickstart")
    said = lamm_cl_in(folder, "quickstart", "--out", "results")
    assert said.returncode == 0, said.stdout + said.stderr
    return folder / "results", said.stdout


def accuracies(out: Path) -> dict[tuple[str, str, int, str], list[float]]:
    """Return the accuracies of all seeds by (method, label space, stage, set)."""
    found = defaultdict(list)
    with (out / "runs.csv").open() as file:
        for row in csv.DictReader(file):
            if row["metric"] == "accuracy" and row["value"]:
                key = (row["method"], row["label_space"], int(row["stage"]), row["eval_set"])
                found[key].append(float(row["value"]))
    return found


def test_it_prints_the_papers_table(done: tuple[Path, str]) -> None:
    _, said = done
    assert "12 runs: 12 done now." in said
    for word in ("Set1", "Set2", "before", "after", "Degradation", "zero_shot", "coop", "maple", "lamm", "own", "all"):
        assert word in said
    assert "Mean ± sample standard deviation over 3 seeds." in said


def test_it_leaves_a_table_and_a_figure(done: tuple[Path, str]) -> None:
    out, _ = done
    assert (out / "accuracy_matrix.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "accuracy_matrix.svg").read_text()
    assert len(list((out / "runs").glob("*/record.json"))) == 12
    assert not list(out.rglob("*.tmp"))
    assert not list(out.rglob("checkpoint.safetensors"))


def test_lamm_keeps_set1_exactly_in_its_own_label_space(done: tuple[Path, str]) -> None:
    found = accuracies(done[0])
    assert found["lamm", "own", 1, "set1"] == found["lamm", "own", 2, "set1"]


def test_coop_and_maple_lose_some_of_set1(done: tuple[Path, str]) -> None:
    found = accuracies(done[0])
    for method in ("coop", "maple"):
        before, after = found[method, "own", 1, "set1"], found[method, "own", 2, "set1"]
        assert len(before) == 3
        assert sum(after) < sum(before)


def test_training_helps(done: tuple[Path, str]) -> None:
    found = accuracies(done[0])
    zero_shot = sum(found["zero_shot", "own", 1, "set1"])
    assert all(sum(found[method, "own", 1, "set1"]) > zero_shot for method in ("coop", "maple", "lamm"))


def test_again_it_only_shows_the_results(done: tuple[Path, str], lamm_cl_in: Any) -> None:
    out, said = done
    again = lamm_cl_in(out.parent, "quickstart", "--out", "results").stdout
    assert "12 runs: 0 done now, 12 done before." in again
    table = said[said.index("Class-incremental") :]
    assert table in again
