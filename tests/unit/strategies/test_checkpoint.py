"""Stopping and going on gives the bits of the uninterrupted run."""

import json
from typing import Any

import pytest
import torch
from avalanche.evaluation.metrics import forgetting_metrics, loss_metrics
from avalanche.training import plugins as avalanche
from torch.optim.lr_scheduler import StepLR

from lamm_cl.errors import UsageError


def through_files(tensors: Any, state: Any, folder: Any) -> tuple[Any, Any]:
    """What a run leaves on disk, read again."""
    from safetensors.torch import load_file, save_file

    save_file(tensors, folder / "learned.safetensors")
    return load_file(folder / "learned.safetensors"), json.loads(json.dumps(state))


def finish(strategy: Any, benchmark: Any, start: int, stop: Any = None) -> dict[str, Any]:
    for k, experience in enumerate(benchmark.train_stream):
        if k >= start:
            strategy.train(experience)
            strategy.eval(benchmark.test_stream)
    return {
        **strategy.model.state_dict(),
        **{k: torch.tensor(v) for k, v in strategy.evaluator.last_metric_results.items()},
    }


@pytest.fixture
def make(build: Any, silent: Any) -> Any:
    def make(**settings: Any) -> Any:
        metrics = (forgetting_metrics(experience=True, stream=True), loss_metrics(epoch=True))
        return build(6, evaluator=silent(*metrics), **settings)

    return make


GROUPS = ((0, 1), (2, 3), (4, 5))


@pytest.mark.parametrize("settings", [{}, {"regime": "cumulative"}, {"freeze_context_after": 1}, {"precision": "fp16"}])
@pytest.mark.parametrize("stop", [(1, 1), (1, 3), (2, 2)])
def test_resumed_inside_a_stage(make: Any, stream: Any, tmp_path: Any, settings: Any, stop: tuple[int, int]) -> None:
    expected = finish(make(**settings), stream(GROUPS), 0)
    saved: list[Any] = []

    def stop_here(strategy: Any) -> None:
        if (strategy.stage, strategy.clock.train_exp_epochs) == stop:
            saved.append(strategy.checkpoint())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(make(**settings, on_epoch_end=stop_here), stream(GROUPS), 0)
    torch.rand(7)
    strategy, benchmark = make(**settings), stream(GROUPS)
    strategy.restore(*through_files(*saved[0], tmp_path))
    strategy.resume_training(benchmark.train_stream[stop[0] - 1])
    strategy.eval(benchmark.test_stream)
    result = finish(strategy, benchmark, stop[0])
    assert result.keys() == expected.keys()
    assert all(torch.equal(result[k], expected[k]) for k in expected)
    assert strategy.clock.train_iterations == 9 * sum(range(1, 4) if "regime" in settings else (1, 1, 1))


@pytest.mark.parametrize("settings", [{}, {"regime": "cumulative"}])
def test_resumed_between_stages(make: Any, stream: Any, tmp_path: Any, settings: Any) -> None:
    whole = make(**settings)
    expected = finish(whole, stream(GROUPS), 0)
    first = make(**settings)
    benchmark = stream(GROUPS)
    first.train(benchmark.train_stream[0])
    first.eval(benchmark.test_stream)
    second = make(**settings)
    second.restore(*through_files(*first.checkpoint(), tmp_path))
    with pytest.raises(UsageError, match="nothing to resume"):
        second.resume_training(benchmark.train_stream[1])
    result = finish(second, benchmark, 1)
    assert all(torch.equal(result[k], expected[k]) for k in expected)
    assert second.evaluator.all_metric_results == whole.evaluator.all_metric_results


@pytest.mark.parametrize("settings", [{}, {"regime": "cumulative"}])
def test_interrupted_twice_between_stages(make: Any, stream: Any, tmp_path: Any, settings: Any) -> None:
    expected = finish(make(**settings), stream(GROUPS), 0)
    strategy, benchmark = make(**settings), stream(GROUPS)
    strategy.train(benchmark.train_stream[0])
    strategy.eval(benchmark.test_stream)
    for _ in range(2):  # the second checkpoint is taken before anything was trained again
        tensors, state = through_files(*strategy.checkpoint(), tmp_path)
        strategy, benchmark = make(**settings), stream(GROUPS)
        strategy.restore(tensors, state)
    result = finish(strategy, benchmark, 1)
    assert all(torch.equal(result[k], expected[k]) for k in expected)


def test_joint_training_resumes(make: Any, stream: Any) -> None:
    whole = make(regime="joint")
    whole.train(stream(GROUPS).train_stream)
    saved: list[Any] = []
    first = make(regime="joint", on_epoch_end=lambda s: saved.append(s.checkpoint()))
    first.train(stream(GROUPS).train_stream)
    second = make(regime="joint")
    second.restore(*saved[0])
    second.resume_training(stream(GROUPS).train_stream)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True))


def test_a_scheduler_resumes(build: Any, stream: Any) -> None:
    def make(**settings: Any) -> Any:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.4, momentum=0.9)
        return build(plugins=[avalanche.LRSchedulerPlugin(StepLR(optimizer, 1, 0.5))], **settings)

    saved: list[Any] = []
    whole = make(on_epoch_end=lambda s: saved.append(s.checkpoint()))
    whole.train(stream().train_stream[0])
    second = make()
    second.restore(saved[0][0], json.loads(json.dumps(saved[0][1])))
    second.resume_training(stream().train_stream[0])
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True))


def test_what_does_not_fit_is_refused(make: Any, build: Any, stream: Any) -> None:
    saved: list[Any] = []
    strategy, benchmark = make(on_epoch_end=lambda s: saved.append(s.checkpoint())), stream(GROUPS)
    strategy.train(benchmark.train_stream[0])
    tensors, state = saved[0]
    with pytest.raises(UsageError, match="has not trained yet"):
        strategy.restore(tensors, state)
    with pytest.raises(UsageError, match="class_names"):
        build(4).restore(tensors, state)
    with pytest.raises(UsageError, match="regime 'naive', the strategy has 'joint'"):
        make(regime="joint").restore(tensors, state)
    with pytest.raises(UsageError, match="format"):
        make().restore(tensors, {**state, "format": 99})
    learned = {"dict": [pair for pair in state["model"]["dict"] if pair[0] != "labels.0"]}
    with pytest.raises(UsageError, match=r"do not fit the model: labels\.0"):
        make().restore(tensors, {**state, "model": learned})
    [[name, kept], *_] = state["momentum"]["dict"]
    [[_, buffer]] = kept["dict"]
    with pytest.raises(UsageError, match=r"momentum of what does not train: labels\.9"):
        make().restore(tensors, {**state, "momentum": {"dict": [["labels.9", kept]]}})
    with pytest.raises(UsageError, match=f"momentum of what does not train: {name}"):
        make().restore({**tensors, buffer["tensor"]: torch.zeros(3, 5, 7)}, state)
    for odd in (None, 3, "x", [], {}, {"list": None}, {"dict": [3]}, {"tensor": "absent"}):
        with pytest.raises(UsageError, match="the checkpoint is of another build"):
            make().restore(tensors, {**state, "clock": odd})
    with pytest.raises(UsageError, match="metrics that are not here"):
        build(6).restore(tensors, state)
    other = make()
    other.restore(tensors, state)
    with pytest.raises(UsageError, match=r"classes \[0, 1\], but the experience has \[2, 3\]"):
        other.resume_training(benchmark.train_stream[1])


def test_a_part_that_is_missing_or_new_is_refused_before_anything_is_set(make: Any, stream: Any) -> None:
    saved: list[Any] = []
    strategy = make(on_epoch_end=lambda s: saved.append(s.checkpoint()))
    strategy.train(stream(GROUPS).train_stream[0])
    tensors, state = saved[0]
    wrong = [({k: v for k, v in tensors.items() if k != name}, state) for name in tensors]
    wrong += [(tensors | {"new": torch.zeros(1)}, state), (tensors, state | {"new": 1})]
    for key, value in state.items():
        wrong.append((tensors, {k: v for k, v in state.items() if k != key}))
        if key in ("clock", "optimizer", "generators"):
            pairs = value["dict"]
            assert pairs
            wrong += [(tensors, state | {key: {"dict": [one for one in pairs if one != pair]}}) for pair in pairs]
    assert len(wrong) > 30
    for some_tensors, some_state in wrong:
        fresh = make()
        with pytest.raises(UsageError, match="the checkpoint"):
            fresh.restore(some_tensors, some_state)
    make().restore(tensors, state)


def test_a_plugin_with_a_memory_is_refused_or_asked(build: Any, stream: Any) -> None:
    replay = build(plugins=[avalanche.ReplayPlugin()])
    replay.train(stream().train_stream[0])
    with pytest.raises(UsageError, match=r"ReplayPlugin remembers things .* samples that do not know their place"):
        replay.checkpoint()

    class Counts(avalanche.SupervisedPlugin):  # type: ignore[misc,name-defined]
        epochs = 0

        def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
            self.epochs += 1

        def state_dict(self) -> dict[str, int]:
            return {"epochs": self.epochs}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.epochs = state["epochs"]

    strategy = build(plugins=[Counts()])
    strategy.train(stream().train_stream)
    other = build(plugins=[Counts()])
    other.restore(*strategy.checkpoint())
    assert other.plugins[0].epochs == 6


def test_the_backbone_is_no_part_of_a_checkpoint(build: Any, stream: Any) -> None:
    strategy = build()
    strategy.train(stream().train_stream)
    tensors, state = strategy.checkpoint()
    assert {name for name, _ in state["model"]["dict"]} == {"context", *(f"labels.{k}" for k in range(4))}
    assert len(tensors) == 5 + 1  # and torch's generator
    assert state["epoch"] is None
