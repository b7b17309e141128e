"""BOFA's parts: the bridge layer and its subspace, mixed prototypes, and rates of their own."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import lamm_cl
from lamm_cl import build_model
from lamm_cl.methods import optimizer as optimizers
from lamm_cl.methods.recipe import Recipe, lr_at
from lamm_cl.methods.registry import recipe_for

NAMES = ["zero", "one", "two", "three"]
WIDTH, OUT = 7, 5


def rows(n: int, width: int = WIDTH, seed: int = 0) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def images(classes: list[int], each: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features around a mean of each class, and labels."""
    labels = torch.tensor(classes).repeat_interleave(each)
    return rows(len(NAMES), seed=9)[labels] + 0.5 * rows(len(labels), seed=seed), labels


def make(**options: Any) -> Any:
    backbone = lamm_cl.FeatureBackbone(rows(4, OUT), 20.0, rows(WIDTH, OUT, 1))
    return build_model("bofa", backbone, NAMES, **{"Kt": 3, "tuned_epoch": 3, **options})


SHORT: dict[str, Any] = {"epochs": 5, "cosine_epochs": 3, "batch_size": 4}


def test_before_any_stage_the_bridge_is_the_projection() -> None:
    learner, x = make(), rows(3)
    assert torch.equal(learner.adapted(x), x @ learner.backbone.projection)


def test_later_stages_move_where_older_features_are_small() -> None:
    learner = make()
    bridge = learner.adapter
    first, second = images([0, 1]), images([2, 3], seed=3)
    lamm_cl.fit_stage(learner, *first, **SHORT)
    assert torch.equal(bridge.fused, bridge.weight)
    whole, gram = bridge.weight.detach().clone(), (first[0].T @ first[0] / (len(first[0]) - 1)).numpy()
    lamm_cl.fit_stage(learner, *second, **SHORT)
    values, vectors = np.linalg.eigh(gram + 1e-4 * np.eye(WIDTH))
    smallest = vectors[:, :3] @ vectors[:, :3].T
    torch.testing.assert_close(bridge.subspace @ bridge.subspace.T, torch.tensor(smallest))
    kept = bridge.now.detach()
    outside = torch.eye(WIDTH, dtype=torch.float64) - torch.tensor(smallest)
    torch.testing.assert_close((kept - bridge.start) @ outside, torch.zeros_like(kept), atol=1e-12, rtol=0)
    torch.testing.assert_close(bridge.fused, (whole + kept) / 2)
    assert values[0] < values[-1]


def test_a_stage_that_is_too_short_is_projected_at_its_end() -> None:
    learner = make(tuned_epoch=15)
    bridge = learner.adapter
    for classes in ([0, 1], [2, 3]):
        lamm_cl.fit_stage(learner, *images(classes), epochs=2)
    inside = bridge.subspace @ bridge.subspace.T
    torch.testing.assert_close(bridge.now, bridge.start + (bridge.weight - bridge.start) @ inside)


def test_a_rank_above_the_width_keeps_everything() -> None:
    learner = make(Kt=100)
    for classes in ([0, 1], [2, 3]):
        lamm_cl.fit_stage(learner, *images(classes), epochs=1)
    torch.testing.assert_close(learner.adapter.now, learner.adapter.weight)


@pytest.mark.parametrize("mix", ["swapped", "searched"])
def test_the_share_is_searched_on_training_images(mix: str) -> None:
    learner = make(mix=mix)
    x, y = images([0, 1, 2, 3], seed=5)
    lamm_cl.fit_stage(learner, x, y, epochs=1, lr=0.0)
    f = F.normalize(x @ learner.backbone.projection, dim=-1)
    means = torch.stack([x[y == c].mean(0) for c in range(4)])
    prototypes = F.normalize(means @ learner.backbone.projection, dim=-1)
    text = F.normalize(learner.backbone.class_features(NAMES)[:, 0], dim=-1)
    shares = np.arange(21) / 20
    right = [((f @ ((1 - s) * prototypes + s * text).T).argmax(1) == y).sum() for s in shares]
    best = shares[int(np.argmax(right))]
    assert float(learner.head.searched) == pytest.approx(best)
    assert float(learner.head.share) == pytest.approx(best if mix == "swapped" else 1 - best)
    share = learner.head.share
    batch = learner.training_output(x)
    mixed = share * prototypes + (1 - share) * text
    expected = F.cross_entropy(np.log(20.0) * batch.image[:, 0] @ mixed.T, y)
    torch.testing.assert_close(learner.objective(batch, y)["ce"], expected)


def test_a_stage_compares_with_all_classes_so_far_and_its_own_head_with_its_own() -> None:
    learner = make()
    lamm_cl.fit_stage(learner, *images([0, 1]), epochs=1)
    x, y = images([2, 3])
    history = lamm_cl.fit_stage(learner, x, y, epochs=8, batch_size=12)
    assert learner.rehearses
    assert history[0]["own_head"] > 0
    assert history[-1]["own_head"] == 0  # it has stopped after six epochs
    assert not learner.head.heads[0].weight.requires_grad
    assert learner.head.heads[1].weight.shape == (2, WIDTH)


def test_the_prefilter_leaves_one_class_of_each_stage() -> None:
    plain, learner = make(), make(prefilter=True)
    for classes in ([0, 1], [2, 3]):
        for model in (plain, learner):
            lamm_cl.fit_stage(model, *images(classes), **SHORT)
    x = rows(9, seed=4)
    scores, all_scores = learner(x), plain(x)
    left = ~torch.isneginf(scores)
    assert (left[:, :2].sum(1) == 1).all()
    assert (left[:, 2:].sum(1) == 1).all()
    assert torch.equal(scores[left], all_scores[left])


def test_what_trains_at_a_rate_of_its_own_has_a_group_of_its_own() -> None:
    learner = make(own_lr=0.002, own_decay=0.003)
    recipe = recipe_for("bofa", "features").but(lr=0.1, weight_decay=0.2, cosine_epochs=4, epochs=6)
    learner.begin_stage(learner.next_stage([0, 1]))
    learner.begin_stage(learner.next_stage([2, 3]))
    sgd = optimizers.recipe_optimizer(recipe, torch.device("cpu"))
    optimizers.restart(sgd, learner)
    optimizers.set_rates(sgd, recipe, 2)
    found = [(len(g["params"]), g["lr"], g["weight_decay"]) for g in sgd.param_groups]
    assert found == [(1, 0.05, 0.2), (1, 0.001, 0.003), (2, 0.001, 0.003)]
    optimizers.restart(sgd, learner, apart=False)
    assert [len(g["params"]) for g in sgd.param_groups] == [4]


def test_a_cosine_may_come_down_sooner_and_goes_up_again() -> None:
    recipe = Recipe(lr=1.0, epochs=6, batch_size=1, warmup_epochs=0, cosine_epochs=4)
    assert [lr_at(recipe, epoch) for epoch in (0, 2, 4)] == [1.0, 0.5, 0.0]
    assert lr_at(recipe, 5) == pytest.approx(lr_at(recipe, 3))


def test_resumes_inside_the_subspace_to_the_bit(tiny: Any) -> None:
    digits = lamm_cl.base_to_novel("digits", shots=2, seed=1)
    saved: list[Any] = []

    def build() -> Any:
        options: dict[str, Any] = {"tuned_epoch": 2, "epochs": 5, "cosine_epochs": 2, "batch_size": 4, "own_lr": 0.01}
        return lamm_cl.build_strategy("bofa", tiny, digits, on_epoch_end=stop, **options)

    def stop(strategy: Any) -> None:
        if (strategy.stage, strategy.clock.train_exp_epochs) == (2, 4):
            saved.append(strategy.checkpoint())

    whole = build()
    whole.train(digits.train_stream)
    assert whole.model.adapter._within
    tensors, state = saved[0]
    resumed = build()
    resumed.restore(tensors, state)
    resumed.resume_training(digits.train_stream[1])
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_the_frozen_image_feature_is_behind_the_projection() -> None:
    learner, x = make(), rows(3)
    lamm_cl.fit_stage(learner, *images([0, 1]), epochs=1)
    expected = F.normalize(x @ learner.backbone.projection, dim=-1)
    torch.testing.assert_close(learner.training_output(x).zero_shot_image(), expected)
