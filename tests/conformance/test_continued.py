"""A stream that is cut in two processes by a saved learner gives bitwise what it gives in one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lamm_cl
from lamm_cl.errors import UsageError
from lamm_cl.evaluation.plugins import AccuracyMatrix, StageCost, evaluator
from lamm_cl.methods.registry import method_names
from lamm_cl.streams.build import build_stream

OPTIONS: dict[str, Any] = {"epochs": 1, "batch_size": 4, "seed": 3, "train_label_space": "seen"}
FEW: dict[str, dict[str, Any]] = {
    "ranpac": {"M": 32},
    "acil": {"buffer_size": 32},
    "rail": {"hidden": 32},
    "tip_adapter": {"augment_epoch": 2, "search_step": (4, 3)},
    "tip_adapter_f": {"augment_epoch": 2, "search_step": (4, 3)},
}
STEPS = 3


@pytest.fixture(scope="module")
def stream(tiny: Any) -> Any:
    whole = lamm_cl.load_dataset("digits")
    few = replace(whole, test=whole.test[::16])
    return build_stream("class_incremental", [few], steps=STEPS, shots=1, seed=1)


def go(method: str, tiny: Any, stream: Any, stages: range, saved: Path | None = None, **options: Any) -> Any:
    """Train some stages, with what a file holds of those before; returns the strategy, its matrix and its costs."""
    matrix, cost = AccuracyMatrix(), StageCost()
    few = FEW.get(method.split("+")[0], {})
    strategy = lamm_cl.build_strategy(
        method, tiny, stream, evaluator=evaluator(matrix, cost), **{**OPTIONS, **few, **options}
    )
    if saved is not None:
        lamm_cl.load_learner(strategy.model, saved)
    strategy.eval(stream.test_stream)
    for stage in stages:
        strategy.train(stream.train_stream[stage])
        strategy.eval(stream.test_stream)
    return strategy, matrix, cost


@pytest.mark.parametrize("method", method_names())
def test_a_learner_that_was_saved_and_loaded_goes_on_to_the_bit(
    method: str, tiny: Any, stream: Any, tmp_path: Path
) -> None:
    whole, expected, _ = go(method, tiny, stream, range(STEPS))
    saved = None
    for stage in range(STEPS):
        if stage and whole.model.exemplars is not None:
            with pytest.raises(UsageError, match="wants to see again are not in its file"):
                go(method, tiny, stream, range(stage, stage + 1), saved)
            return
        part, matrix, cost = go(method, tiny, stream, range(stage, stage + 1), saved)
        for space, rows in expected.matrices().items():
            np.testing.assert_array_equal(matrix.matrices()[space][stage], rows[stage])
        assert {row.stage for row in cost.rows()} == {stage + 1}
        saved = tmp_path / f"learner{stage}"
        lamm_cl.save_learner(part.model, saved)
    assert part.trained == whole.trained
    for name, value in whole.model.state_dict().items():
        assert torch.equal(part.model.state_dict()[name], value), name


def test_cumulative_training_of_a_loaded_learner_is_refused(tiny: Any, stream: Any, tmp_path: Path) -> None:
    first, _, _ = go("lamm", tiny, stream, range(1))
    lamm_cl.save_learner(first.model, tmp_path / "learner")
    with pytest.raises(UsageError, match=r"learned 1 stages elsewhere.*restore\(\) a checkpoint"):
        go("lamm", tiny, stream, range(1, 2), tmp_path / "learner", regime="cumulative")
