"""Which steps are recorded as CUDA graphs, and what happens where they cannot be."""

import logging
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import EWCPlugin, LRSchedulerPlugin, ReplayPlugin
from torch import Tensor

import lamm_cl
from benchmarks.speed.launches import SMALL
from lamm_cl import build_model
from lamm_cl.methods.registry import method_names
from lamm_cl.strategies.graph import EAGER, MOST, Done, StepGraphs, _Outside, graphs_of
from lamm_cl.strategies.plugins import act_inside
from lamm_cl.strategies.strategy import LearnerStrategy

NAMES = ["zero", "one"]
ALIKE = {
    *("zero_shot", "coop", "cocoop", "kgcoop", "tcp", "lamm", "vpt", "language_prompting", "ivlp", "maple"),
    *("prograd", "promptsrc", "clip_adapter"),
}


@contextmanager
def recording(*_: Any, **__: Any) -> Any:
    yield


class Recorded:
    """A graph that leaves everything as it was when it was recorded."""

    def replay(self) -> None:
        pass


class Stream:
    def __init__(self, *_: Any) -> None:
        pass

    def wait_stream(self, _: Any) -> None:
        pass


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that records, as far as the host sees it."""
    instead: dict[str, Any] = {"CUDAGraph": Recorded, "Stream": Stream, "current_stream": lambda *_: Stream()}
    for name, value in {**instead, "stream": recording, "graph": recording, "set_stream": lambda *_: None}.items():
        monkeypatch.setattr(torch.cuda, name, value)


def worker(model: torch.nn.Linear) -> Any:
    def work(x: Tensor, labels: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        logits = model(x)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        return logits, {"ce": loss.detach(), "total": loss.detach()}

    return work


def test_methods_say_which_steps_are_alike(tiny: Any) -> None:
    models = {name: build_model(name, tiny, NAMES, shots=4, **SMALL.get(name, {})) for name in method_names(plus=False)}
    assert {name for name, model in models.items() if model.same_steps} == ALIKE
    assert graphs_of(models["lamm"], worker(torch.nn.Linear(1, 1))) is None  # on a processor


def test_a_term_of_ones_own_may_do_anything(tiny: Any) -> None:
    model = build_model("coop", tiny, NAMES)
    model.parts.objective.terms["mine"] = (lambda batch: batch.logits.sum(), 0.1)
    assert not model.same_steps


def test_plugins_that_act_inside_a_step_are_found() -> None:
    class After(SupervisedPlugin):
        def after_backward(self, strategy: Any, **kwargs: Any) -> None: ...

    class Inside(SupervisedPlugin):
        def before_backward(self, strategy: Any, **kwargs: Any) -> None: ...

    scheduler = LRSchedulerPlugin(torch.optim.lr_scheduler.ConstantLR(torch.optim.SGD([torch.zeros(1)], lr=1.0)))
    assert not act_inside([After(), scheduler, ReplayPlugin(mem_size=2)])
    assert act_inside([After(), Inside()])
    assert act_inside([EWCPlugin(1.0)])


def test_a_shape_is_recorded_after_some_steps(recorder: None) -> None:
    model = torch.nn.Linear(3, 2)
    graphs = StepGraphs(model, worker(model))
    graphs.begin_epoch()
    x, labels = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
    assert [graphs.step(x, labels) for _ in range(EAGER)] == [None] * EAGER
    done = graphs.step(x, labels)
    model.zero_grad()
    assert done is not None
    assert done.logits.shape == (4, 2)
    assert list(done.terms) == ["ce", "total"]
    assert graphs.step(x[:2], labels[:2]) is None  # another shape
    graphs.begin_epoch()
    assert graphs.recorded == 1


def moved(model: torch.nn.Linear) -> None:
    model.weight.data = model.weight.data.clone()


def frozen(model: torch.nn.Linear) -> None:
    model.weight.requires_grad_(False)


def gathered(model: torch.nn.Linear) -> None:
    model.weight.grad = torch.ones_like(model.weight)


@pytest.mark.parametrize("change", [moved, frozen, gathered])
def test_a_graph_goes_when_what_trains_is_another(change: Any, recorder: None) -> None:
    model = torch.nn.Linear(3, 2)
    graphs = StepGraphs(model, worker(model))
    x, labels = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
    for _ in range(EAGER + 1):
        model.zero_grad()
        graphs.step(x, labels)
    (first,) = graphs._graphs.values()
    model.zero_grad()
    change(model)
    assert (graphs.step(x, labels) is None) == (change is gathered)  # what moved is recorded anew
    assert first not in graphs._graphs.values()
    if change is frozen:
        assert model.weight.grad is None


def test_a_graph_goes_when_what_it_reads_has_moved_or_more_trains(recorder: None) -> None:
    model = torch.nn.Linear(3, 2)
    model.weight.requires_grad_(False)
    model.register_buffer("unread", torch.ones(1))
    graphs = StepGraphs(model, worker(model))

    def recorded() -> int:
        for _ in range(EAGER + 1):
            model.zero_grad()
            graphs.step(torch.ones(2, 3), torch.tensor([0, 1]))
        return graphs.recorded

    assert recorded() == 1
    model.unread = torch.ones(1)
    graphs.begin_epoch()
    assert graphs.recorded == 1
    model.weight.data = model.weight.data.clone()
    graphs.begin_epoch()
    assert graphs.recorded == 0
    assert recorded() == 1
    model.weight.requires_grad_(True)
    graphs.begin_epoch()
    assert graphs.recorded == 0


def test_few_shapes_are_recorded(recorder: None) -> None:
    model = torch.nn.Linear(3, 2)
    graphs = StepGraphs(model, worker(model))
    for size in range(1, MOST + 3):
        for _ in range(EAGER + 1):
            model.zero_grad()
            done = graphs.step(torch.ones(size, 3), torch.zeros(size, dtype=torch.long))
        assert (done is not None) == (size <= MOST)
    assert graphs.recorded == MOST


def test_what_cannot_be_recorded_goes_on_without_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    model = torch.nn.Linear(3, 2)  # and no GPU is here
    graphs = StepGraphs(model, worker(model))
    x, labels = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
    with caplog.at_level(logging.WARNING):
        assert [graphs.step(x, labels) for _ in range(EAGER + 3)] == [None] * (EAGER + 3)
    assert len(caplog.records) == 1
    assert "launched operator by operator, no CUDA graph: " in caplog.text


def test_a_replay_that_differs_is_not_used(
    recorder: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, calls = torch.nn.Linear(3, 2), []
    work = worker(model)

    def counting(x: Tensor, labels: Tensor) -> Any:
        calls.append(1)
        return work(x * len(calls), labels)

    graphs = StepGraphs(model, counting)
    for _ in range(EAGER + 1):
        assert graphs.step(torch.ones(4, 3), torch.tensor([0, 1, 0, 1])) is None
        assert model.weight.grad is None  # the step is done once more
    assert "a replayed step gives other numbers" in caplog.text


def test_what_a_graph_reads_is_held() -> None:
    kept, weight = torch.ones(3), torch.ones(3, requires_grad=True)
    with (outside := _Outside()):
        ((kept + 1) * weight).sum().backward()
    held = {x.data_ptr() for x in outside.tensors}
    assert held >= {kept.data_ptr(), weight.data_ptr()}
    assert len(held) == 2


def test_a_strategy_with_a_loss_of_its_own_does_without(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(LearnerStrategy):
        def criterion(self) -> Tensor:
            return 2 * super().criterion()

    asked: list[Any] = []
    monkeypatch.setattr("lamm_cl.strategies.strategy.graphs_of", lambda *given: asked.append(given))
    digits = lamm_cl.base_to_novel("digits", shots=2, seed=1)
    strategy = lamm_cl.build_strategy("coop", tiny, digits, epochs=1)
    strategy.__class__ = Own
    strategy.train(digits.train_stream[0])
    assert not asked


def test_a_strategy_may_do_without(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("lamm_cl.strategies.strategy.graphs_of", lambda *given: asked.append(given))
    digits = lamm_cl.base_to_novel("digits", shots=2, seed=1)
    for choice in ("never", "auto"):
        lamm_cl.build_strategy("coop", tiny, digits, epochs=1, graph=choice).train(digits.train_stream[0])
        assert len(asked) == (choice == "auto")


class Again:
    """In place of a graph: does the step by operators, and gives what a replay gives."""

    in_place = True

    def __init__(self, model: Any, work: Any, x: Tensor, labels: Tensor) -> None:
        self._work = work

    def fits(self, model: Any) -> bool:
        return True

    def replay(self, x: Tensor, labels: Tensor) -> Done:
        REPLAYED.append(len(labels))
        logits, terms = self._work(x, labels)
        return Done(logits, dict(terms))


REPLAYED: list[int] = []


@pytest.mark.parametrize("method", ["lamm", "coop+prograd", "promptsrc"])
def test_a_strategy_trains_the_same_by_replays(method: str, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamm_cl.strategies.graph._Graph", Again)
    monkeypatch.setattr("lamm_cl.strategies.strategy.graphs_of", StepGraphs)
    digits = lamm_cl.base_to_novel("digits", shots=4, seed=1)
    REPLAYED.clear()
    found = []

    class Keeps(SupervisedPlugin):
        def __init__(self) -> None:
            super().__init__()
            self.logits: list[Tensor] = []

        def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
            self.logits.append(strategy.mb_output.detach())

    for choice in ("never", "auto"):
        keeps = Keeps()
        options: dict[str, Any] = {"epochs": 4, "batch_size": 8, "graph": choice, "plugins": [keeps]}
        strategy = lamm_cl.build_strategy(method, tiny, digits, **options)
        strategy.train(digits.train_stream)
        assert bool(REPLAYED) == (choice == "auto")
        assert strategy._graphs is None
        found.append((dict(strategy.model.named_parameters()), strategy.loss_terms, keeps.logits))
    (one, terms, logits), (other, replayed, others) = found
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert terms == replayed
    assert all(torch.equal(*both) for both in zip(logits, others, strict=True))
