"""Results as runs leave them, made from given numbers so that every expected one can be worked out by hand."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lamm_cl.records import ExperimentDirectory
from lamm_cl.records.record import DONE, FAILED, RUN_COLUMNS, Record

Place = tuple[int, str, str]  # stage, evaluation set, label space
Run = tuple[dict[str, Any], Mapping[Place, float], dict[str, float]]


def make_run(values: Mapping[Place, float], costs: dict[str, float] | None = None, **settings: Any) -> Run:
    """A run: its columns, its accuracies in 0..1, and its costs."""
    run: dict[str, Any] = {
        "experiment": "demo",
        "protocol": "class_incremental",
        "dataset": "digits",
        "method": "lamm",
        "dialect": "official",
        "backbone": "tiny",
        "pretrained": "embedded",
        "shots": 16,
        "seed": 1,
    }
    return run | settings, values, costs or {}


def name_of(run: Mapping[str, Any]) -> str:
    text = "-".join(str(run[key]) for key in ("protocol", "dataset", "method", "dialect", "backbone", "shots", "seed"))
    return run.get("run_id") or text.replace("/", "_")


def lines(run: Run) -> list[dict[str, Any]]:
    settings, values, costs = run
    head = settings | {"status": "done", "run_id": name_of(settings), "n": 100}
    rows = [
        head | {"stage": stage, "eval_set": name, "label_space": space, "metric": "accuracy", "value": value}
        for (stage, name, space), value in values.items()
    ]
    return rows + [
        head | {"stage": 1, "eval_set": "", "label_space": "", "metric": metric, "value": value, "n": None}
        for metric, value in costs.items()
    ]


def two_steps(own: Iterable[float], joint: Iterable[float] = ()) -> dict[Place, float]:
    """Accuracies (Set1 before, Set1 after, Set2 after) in the own and in the joint label space."""
    places = [(1, "set1"), (2, "set1"), (2, "set2")]
    out = {(*place, "own"): value for place, value in zip(places, own, strict=True)}
    return out | {(*place, "all"): value for place, value in zip(places, joint, strict=False)}


@pytest.fixture
def run() -> Callable[..., Run]:
    return make_run


@pytest.fixture
def steps() -> Callable[..., dict[Place, float]]:
    return two_steps


@pytest.fixture
def frame() -> Callable[[Iterable[Run]], pd.DataFrame]:
    """Turns runs into the rows of `runs.csv`."""
    return lambda runs: pd.DataFrame([line for one in runs for line in lines(one)])


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes runs as an experiment's directory: records and `runs.csv`; `records` changes each record's details."""

    def write(runs: Iterable[Run], details: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> Path:
        home = tmp_path / "experiment"
        for settings, values, costs in runs:
            rows = [(stage, name, space, "accuracy", value, 100) for (stage, name, space), value in values.items()]
            rows += [(1, "", "", metric, value, None) for metric, value in costs.items()]
            more = {"config": {"method": settings["method"], "options": {}}, "data": {"split": "official"}}
            more |= details(settings) if details else {}
            columns = {name: settings[name] for name in RUN_COLUMNS}
            failed = "error" in more
            record = Record(name_of(settings), FAILED if failed else DONE, columns, () if failed else rows, more)
            folder = home / "runs" / record.run_id
            folder.mkdir(parents=True, exist_ok=True)
            record.write(folder / "record.json")
        ExperimentDirectory(home).rebuild_table()
        return home

    return write


@pytest.fixture
def two_methods() -> list[Run]:
    """Two methods, three seeds: lamm never loses in its own label space, coop loses 10, 20, 30 points."""
    runs = []
    for seed in (1, 2, 3):
        high = 0.9 + 0.01 * seed
        runs.append(make_run(two_steps((high, high, 0.8), (0.9, 0.5, 0.7)), {"seconds": 2.0 * seed}, seed=seed))
        worse = two_steps((0.9, 0.9 - 0.1 * seed, 0.85), (0.9, 0.4, 0.75))
        runs.append(make_run(worse, {"seconds": 4.0}, method="coop", dialect=None, seed=seed))
    return runs


@pytest.fixture
def as_json() -> Callable[[Path], Any]:
    return lambda path: json.loads(path.read_text())
