"""Results as runs leave them, drawn from a formula so that every expected number can be worked out by hand."""

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
import pytest

Row = dict[str, Any]


def make_run(values: dict[tuple[int, str, str], float], **settings: Any) -> list[Row]:
    """Rows of one run; `values` maps (stage, eval_set, label_space) to an accuracy in 0..1."""
    base: Row = {
        "experiment": "demo",
        "protocol": "class_incremental",
        "dataset": "digits",
        "method": "lamm",
        "dialect": "paper",
        "backbone": "tiny",
        "pretrained": "embedded",
        "shots": 16,
        "seed": 1,
        "status": "done",
        "n": 100,
    } | settings
    base.setdefault("run_id", "-".join(str(base[key]) for key in ("protocol", "dataset", "method", "shots", "seed")))
    return [
        base | {"stage": stage, "eval_set": name, "label_space": space, "metric": "accuracy", "value": value}
        for (stage, name, space), value in values.items()
    ]


def two_steps(own: Iterable[float], joint: Iterable[float]) -> dict[tuple[int, str, str], float]:
    """Accuracies (Set1 before, Set1 after, Set2 after) in the own and in the joint label space."""
    places = [(1, "set1"), (2, "set1"), (2, "set2")]
    out = {(*place, "own"): value for place, value in zip(places, own, strict=True)}
    return out | {(*place, "all"): value for place, value in zip(places, joint, strict=True)}


@pytest.fixture
def run_rows() -> Callable[..., list[Row]]:
    return make_run


@pytest.fixture
def two_step_frame() -> pd.DataFrame:
    """Two methods, three seeds: lamm never loses in its own label space, coop loses 10, 20, 30 points."""
    rows: list[Row] = []
    for seed in (1, 2, 3):
        shift = 0.01 * seed
        rows += make_run(two_steps((0.9 + shift, 0.9 + shift, 0.8), (0.9, 0.5, 0.7)), seed=seed)
        rows += make_run(
            two_steps((0.9, 0.9 - 0.1 * seed, 0.85), (0.9, 0.4, 0.75)), method="coop", dialect="", seed=seed
        )
    return pd.DataFrame(rows)
