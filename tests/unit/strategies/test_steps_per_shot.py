"""Recipes that count the mini-batches of a stage by its images a class, not by epochs."""

import json
import math
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import ReplayPlugin

import lamm_cl
from lamm_cl.errors import UsageError
from lamm_cl.methods.recipe import Recipe
from lamm_cl.strategies.build import quiet_evaluator
from lamm_cl.strategies.settings import Settings
from lamm_cl.strategies.strategy import LearnerStrategy

# Two images of each of five classes a stage: three mini-batches an epoch, 5 * 2 steps a stage.
RECIPE = Recipe(
    lr=0.1,
    epochs=None,
    batch_size=4,
    optimizer="adamw",
    warmup_epochs=0,
    schedule="cosine_step",
    min_lr=0.01,
    drop_last=False,
    steps_per_shot=5,
)


class Watch(SupervisedPlugin):  # type: ignore[type-arg]
    """Notes stage, epoch and rate of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[int, int]] = []
        self.rates: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        self.steps.append((strategy.stage, strategy.clock.train_exp_epochs))
        self.rates.append(strategy.optimizer.param_groups[0]["lr"])


@pytest.fixture(scope="module")
def digits() -> Any:
    return lamm_cl.base_to_novel("digits", shots=2, seed=1)


def build(backbone: Any, benchmark: Any, *plugins: Any, recipe: Recipe = RECIPE, **settings: Any) -> tuple[Any, Watch]:
    watch = Watch()
    model = lamm_cl.build_model("clip_lora", backbone, benchmark.class_names, encoder="text", r=1, learn=False)
    own = Settings(source=benchmark.source, seed=3, **settings)
    return LearnerStrategy(
        model=model, recipe=recipe, plugins=[*plugins, watch], settings=own, evaluator=quiet_evaluator()
    ), watch


def learned(strategy: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in strategy.model.parameters()])


def test_every_stage_takes_the_steps_and_cuts_its_last_epoch(tiny: Any, digits: Any) -> None:
    strategy, watch = build(tiny, digits)
    strategy.train(digits.train_stream)
    one = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert watch.steps == [(stage, epoch) for stage in (1, 2) for epoch in one]
    rates = [0.01 + 0.09 * 0.5 * (1 + math.cos(math.pi * step / 10)) for step in range(10)]
    assert watch.rates == pytest.approx(rates * 2)


@pytest.mark.filterwarnings("ignore:Call to deprecated function update:DeprecationWarning")
def test_what_is_rehearsed_takes_no_more_steps(tiny: Any, digits: Any) -> None:
    strategy, watch = build(tiny, digits, ReplayPlugin(mem_size=4))
    strategy.train(digits.train_stream)
    assert [stage for stage, _ in watch.steps] == [1] * 10 + [2] * 10


def test_joint_training_counts_the_whole_stream(tiny: Any, digits: Any) -> None:
    strategy, watch = build(tiny, digits, regime="joint")
    strategy.train(digits.train_stream)
    assert watch.steps == [(1, epoch) for epoch in [0] * 5 + [1] * 5]


def test_resumes_to_the_bit_inside_a_stage(tiny: Any, digits: Any) -> None:
    saved: list[Any] = []
    inside = {(1, 3), (2, 2)}

    def save(strategy: Any) -> None:
        if (strategy.stage, strategy.clock.train_exp_epochs) in inside:
            saved.append(strategy.checkpoint())

    whole, _ = build(tiny, digits, on_epoch_end=save)
    whole.train(digits.train_stream)
    assert len(saved) == 2
    for stage, (tensors, state) in enumerate(saved):
        resumed, watch = build(tiny, digits)
        resumed.restore(tensors, json.loads(json.dumps(state)))
        resumed.resume_training(digits.train_stream[stage])
        for later in digits.train_stream[stage + 1 :]:
            resumed.train(later)
        assert torch.equal(learned(resumed), learned(whole))
        assert len(watch.steps) < 20


def test_epochs_go_before_steps(tiny: Any, digits: Any) -> None:
    strategy, watch = build(tiny, digits, recipe=RECIPE.but(epochs=1))
    strategy.train(digits.train_stream[0])
    assert watch.steps == [(1, 0)] * 3


def test_fit_stage_takes_the_same_steps(tiny: Any) -> None:
    model = lamm_cl.build_model("clip_lora", tiny, ["zero", "one", "two", "three", "four"], encoder="text", r=1)
    x = tiny.encode_images(torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    labels = torch.arange(10) % 5
    settings = {name: getattr(RECIPE, name) for name in ("epochs", "batch_size", "steps_per_shot")}
    assert len(lamm_cl.fit_stage(model, x, labels, **settings)) == 10


def test_a_setting_without_effect_is_refused(tiny: Any, digits: Any) -> None:
    with pytest.raises(
        UsageError, match="steps_per_shot has no effect on coop, which trains for 50 epochs: set epochs"
    ):
        lamm_cl.build_strategy("coop", tiny, digits, steps_per_shot=5)
    with pytest.raises(UsageError, match="option steps_per_shot of clip_lora: should be greater than or equal to 1"):
        lamm_cl.build_strategy("clip_lora", tiny, digits, steps_per_shot=0)
    strategy = lamm_cl.build_strategy("clip_lora", tiny, digits, steps_per_shot=7)
    assert strategy.recipe.steps_per_shot == 7
