"""A stream cut in two processes: whoever loads the model goes on, bit by bit, as if there had been no cut."""

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import lamm_cl
from lamm_cl.clip.feature_cache import FeatureStore
from lamm_cl.errors import UsageError
from lamm_cl.evaluation.plugins import AccuracyMatrix, StageCost, evaluator
from lamm_cl.methods.registry import method_names
from lamm_cl.tensor_file import unpack

FEW: dict[str, dict[str, Any]] = {
    "ranpac": {"M": 32},
    "acil": {"buffer_size": 32},
    "rail": {"hidden": 32},
    "tip_adapter": {"augment_epoch": 2, "search_step": (4, 3)},
    "tip_adapter_f": {"augment_epoch": 2, "search_step": (4, 3)},
    "rapf": {"lr": 0.01},
}
OPTIONS: dict[str, Any] = {"epochs": 2, "batch_size": 4, "warmup_lr": 1e-3, "seed": 3}
CUT = [name for name in method_names() if "+" not in name] + ["coop+lamm", "maple+lamm", "ivlp+src", "coop+kg"]


@pytest.fixture(scope="module")
def stream() -> Any:
    whole = lamm_cl.load_dataset("digits")
    few = replace(whole, test=whole.test[::16])
    return lamm_cl.build_stream("class_incremental", few, shots=2, seed=1, steps=5)


@cache
def features(tiny: Any) -> FeatureStore:
    """Those of all images, encoded once for all tests."""
    return FeatureStore(tiny, None)


def make(method: str, tiny: Any, stream: Any, **options: Any) -> tuple[Any, Any]:
    matrix = AccuracyMatrix(stream)
    few = FEW.get(method.split("+")[0], {})
    chosen = {"evaluator": evaluator(matrix), "features": features(tiny), **OPTIONS, **few, **options}
    return lamm_cl.build_strategy(method, tiny, stream, **chosen), matrix


def follow(strategy: Any, stream: Any, stages: range) -> None:
    for stage in stages:
        strategy.train(stream.train_stream[stage])


def same(one: Any, other: Any) -> bool:
    mine, its = one.state_dict(), other.state_dict()
    return mine.keys() == its.keys() and all(torch.equal(value, its[name]) for name, value in mine.items())


@pytest.mark.parametrize("method", CUT)
def test_a_cut_after_two_stages_changes_nothing(method: str, tiny: Any, stream: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    whole, matrix = make(method, tiny, stream)
    follow(whole, stream, range(2))
    lamm_cl.save_learner(whole.model, path)
    follow(whole, stream, range(2, 3))
    whole.eval(stream.test_stream)

    again, its = make(method, tiny, stream)
    lamm_cl.load_learner(again.model, path)
    if whole.model.exemplars is not None:
        with pytest.raises(UsageError, match=r"strategy\.save"):
            again.train(stream.train_stream[2])
        return
    assert (again.stage, again.seen_classes) == (2, (0, 1, 2, 3))
    follow(again, stream, range(2, 3))
    again.eval(stream.test_stream)
    assert (again.stage, again.current, again.columns) == (whole.stage, whole.current, whole.columns)
    assert same(again.model, whole.model)
    for space, values in matrix.matrices().items():
        assert its.matrices()[space][2].tolist() == values[2].tolist()


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
@pytest.mark.parametrize("options", [{"train_label_space": "seen"}, {"freeze_context_after": 2}], ids=str)
def test_settings_that_count_stages_survive_any_cut(
    cut: int, options: dict[str, Any], tiny: Any, stream: Any, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    whole, _ = make("coop+lamm", tiny, stream, **options)
    follow(whole, stream, range(cut))
    lamm_cl.save_learner(whole.model, path)
    follow(whole, stream, range(cut, 5))
    again, _ = make("coop+lamm", tiny, stream, **options)
    lamm_cl.load_learner(again.model, path)
    follow(again, stream, range(cut, 5))
    assert again.columns == whole.columns
    assert same(again.model, whole.model)


@pytest.mark.parametrize("method", ["lamm", "maple+lamm", "coop", "ranpac", "clip_adapter"])
def test_a_model_of_the_first_classes_grows_into_the_whole_stream(
    method: str, tiny: Any, stream: Any, tmp_path: Path
) -> None:
    path, names = tmp_path / "model.safetensors", list(stream.class_names)
    whole, matrix = make(method, tiny, stream, train_label_space="seen")
    follow(whole, stream, range(2))
    whole.eval(stream.test_stream)

    few = FEW.get(method, {})
    first, _ = make(method, tiny, stream, train_label_space="seen")
    settings = {"recipe": first.recipe, "settings": first.settings}
    small = lamm_cl.build_model(method, tiny, names[:2], shots=2, learn=False, seed=3, **few)
    lamm_cl.LearnerStrategy(model=small, **settings).train(stream.train_stream[0])
    lamm_cl.save_learner(small, path)

    grown = lamm_cl.load_learner(lamm_cl.build_model(method, tiny, names[:2], shots=2, seed=3, **few), path)
    grown.add_classes(names[2:])
    its = AccuracyMatrix(stream)
    again = lamm_cl.LearnerStrategy(model=grown, evaluator=evaluator(its), **settings)
    follow(again, stream, range(1, 2))
    again.eval(stream.test_stream)
    assert again.columns == whole.columns == (0, 1, 2, 3)
    for space in ("own", "seen"):
        assert its.matrices()[space][1].tolist() == matrix.matrices()[space][1].tolist()
        assert math.isnan(its.matrices()[space][0, 0])  # the stage before was measured elsewhere


@pytest.mark.parametrize("method", ["lamm", "coop+lamm", "ranpac"])
def test_a_cut_between_fitted_stages_changes_nothing(method: str, tiny: Any, tmp_path: Path) -> None:
    images = torch.randn(8, 3, *tiny.image_size, generator=torch.Generator().manual_seed(0))
    stages = [torch.tensor([0, 1] * 4), torch.tensor([2, 3] * 4)]
    recipe: dict[str, Any] = {"epochs": 2, "batch_size": 4, "train_label_space": "seen"} if method != "ranpac" else {}

    def fresh(**options: Any) -> Any:
        return lamm_cl.build_model(method, tiny, ["zero", "one", "two", "three"], learn=False, **FEW.get(method, {}))

    whole, first = fresh(), fresh()
    for labels in stages:
        lamm_cl.fit_stage(whole, images, labels, **recipe)
    lamm_cl.fit_stage(first, images, stages[0], **recipe)
    lamm_cl.save_learner(first, tmp_path / "model.safetensors")
    again = lamm_cl.load_learner(fresh(), tmp_path / "model.safetensors")
    lamm_cl.fit_stage(again, images, stages[1], **recipe)
    assert same(again, whole)


@pytest.mark.parametrize(
    "lacking",
    [
        {"regime": "cumulative"},
        {"plugins": {"ReplayPlugin": {"mem_size": 4}}},
        {"plugins": {"EWCPlugin": {"ewc_lambda": 1.0}}},
    ],
    ids=str,
)
def test_what_a_model_does_not_hold_is_refused_and_kept_by_the_strategy(
    lacking: dict[str, Any], tiny: Any, stream: Any, tmp_path: Path
) -> None:
    whole, matrix = make("coop+lamm", tiny, stream, **lacking)
    follow(whole, stream, range(2))
    whole.eval(stream.test_stream)
    lamm_cl.save_learner(whole.model, tmp_path / "model.safetensors")
    whole.save(tmp_path / "strategy.safetensors")
    follow(whole, stream, range(2, 3))
    whole.eval(stream.test_stream)

    loaded, _ = make("coop+lamm", tiny, stream, **lacking)
    lamm_cl.load_learner(loaded.model, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=r"strategy\.save"):
        loaded.train(stream.train_stream[2])

    again, its = make("coop+lamm", tiny, stream, **lacking)
    again.load(tmp_path / "strategy.safetensors")
    follow(again, stream, range(2, 3))
    again.eval(stream.test_stream)
    assert same(again.model, whole.model)
    for space, values in matrix.matrices().items():
        assert str(its.matrices()[space].tolist()) == str(values.tolist())


def test_only_files_of_strategies_are_loaded(tiny: Any, stream: Any, tmp_path: Path) -> None:
    strategy, _ = make("lamm", tiny, stream)
    lamm_cl.save_learner(strategy.model, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=r"no file of strategy\.save"):
        strategy.load(tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="cannot read"):
        strategy.load(tmp_path / "missing.safetensors")
    with pytest.raises(UsageError, match="cannot write"):
        strategy.save(tmp_path / "missing" / "x.safetensors")


PROCESS = """
import sys, torch, lamm_cl
path, stages = sys.argv[1], [int(stage) for stage in sys.argv[2:]]
stream = lamm_cl.base_to_novel("digits", shots=2, seed=1)
strategy = lamm_cl.build_strategy("lamm", lamm_cl.load_clip(), stream, epochs=2, train_label_space="seen")
if stages[0]:
    lamm_cl.load_learner(strategy.model, path)
for stage in stages:
    strategy.train(stream.train_stream[stage])
lamm_cl.save_learner(strategy.model, path)
"""


def test_two_processes_leave_what_one_leaves(tmp_path: Path, python_elsewhere: Any) -> None:
    def run(name: str, *stages: str) -> None:
        said = python_elsewhere(PROCESS, tmp_path / name, *stages)
        assert said.returncode == 0, said

    run("one", "0", "1")
    run("two", "0")
    run("two", "1")
    # The order of the entries in a file's head is not fixed by its format.
    (one, its), (two, others) = (unpack((tmp_path / name).read_bytes()) for name in ("one", "two"))
    assert one == two
    assert its.keys() == others.keys()
    assert all(torch.equal(value, others[name]) for name, value in its.items())


def test_costs_belong_to_the_stages_of_the_stream(tiny: Any, stream: Any, tmp_path: Path) -> None:
    first, _ = make("lamm", tiny, stream)
    follow(first, stream, range(2))
    lamm_cl.save_learner(first.model, tmp_path / "model.safetensors")
    cost = StageCost()
    again, _ = make("lamm", tiny, stream, evaluator=evaluator(cost))
    lamm_cl.load_learner(again.model, tmp_path / "model.safetensors")
    follow(again, stream, range(2, 4))
    assert [row.stage for row in cost.rows() if row.metric == "seconds"] == [3, 4]
