"""RAPF's parts against sums by hand: what is drawn, which classes are neighbours, what is fused."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lamm_cl
from lamm_cl import build_model
from lamm_cl.methods.consolidation import SingularFusion
from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.rehearsal import RIDGE, Gaussians, shrunk
from lamm_cl.methods.stage import Stage, Step

WIDTH = 5
NAMES = ["zero", "one", "two", "three"]


def rows(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def taught(classes: int = 2, features: int = 3, shrinkage: bool = False) -> tuple[Gaussians, Tensor, Tensor]:
    """Gaussians of classes 0 to 2, the last one of a single image; and the images."""
    found = Gaussians(WIDTH, classes, features, shrinkage)
    found.grow(5)
    x, y = rows(17), torch.tensor([0, 1] * 8 + [2])
    found.end_stage(Stage(1, (0, 1, 2)), PartData(lambda split, epoch: (x, y), lambda *_: x))
    return found, x, y


def test_features_are_drawn_with_mean_and_covariance_of_their_class() -> None:
    found, x, y = taught()
    step = Step(Stage(2, (3, 4), (0, 1, 2)), 0, 0)
    drawn = found.sample(1, 200_000, step, 0).numpy()
    own = x[y == 1].numpy()
    np.testing.assert_allclose(found.covariance(1), np.cov(own.T) + RIDGE * np.eye(WIDTH), atol=1e-12)
    np.testing.assert_allclose(drawn.mean(0), own.mean(0), atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(own.T), atol=0.05)


def test_a_class_of_one_image_keeps_to_it() -> None:
    found, x, _ = taught()
    torch.testing.assert_close(found.covariance(2), RIDGE * torch.eye(WIDTH, dtype=torch.float64))
    drawn = found.sample(2, 50, Step(Stage(2, (3,), (2,)), 0, 0), 0)
    assert (drawn - x[-1]).abs().max() < 0.05


def test_shrinkage_adds_to_the_whole_covariance() -> None:
    found, x, y = taught(shrinkage=True)
    plain = np.cov(x[y == 0].numpy().T) + RIDGE * np.eye(WIDTH)
    off = plain[~np.eye(WIDTH, dtype=bool)].mean()
    expected = plain + np.diag(plain).mean() * np.eye(WIDTH) + off * (1 - np.eye(WIDTH))
    np.testing.assert_allclose(found.covariance(0), expected, atol=1e-12)
    assert shrunk(torch.ones(1, 1)).tolist() == [[2]]


def test_older_classes_take_turns() -> None:
    found, _, _ = taught(classes=2)
    stage = Stage(2, (2, 3), (0, 1, 2))
    assert found.older(stage) == [0, 1]  # the stage brings class 2 again, and class 4 has no images
    turns = [found.turn(Step(stage, 0, batch, 7, batch)) for batch in range(3)]
    assert all(sorted(turn) == [0, 1] for turn in turns)
    found, _, _ = taught(classes=3)
    assert len(set(found.turn(Step(stage, 0, 0)))) == 2  # one is drawn twice
    assert found.turn(Step(Stage(1, (0, 1)), 0, 0)) == []


def test_what_is_drawn_depends_on_the_step_alone() -> None:
    found, x, y = taught()
    stage = Stage(2, (3,), (0, 1))
    first = found.rehearse(x[:4].float(), y[:4], Step(stage, 1, 5, 3, 2))
    torch.rand(3)
    again = found.rehearse(x[:4].float(), y[:4], Step(stage, 1, 5, 3, 2))
    other = found.rehearse(x[:4].float(), y[:4], Step(stage, 1, 6, 3, 3))
    assert first[0].dtype == torch.float32
    assert first[0].shape == (4 + 2 * 3, WIDTH)
    assert torch.equal(first[0][:4], x[:4].float())
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0][4:], other[0][4:])


def test_loading_other_statistics_draws_from_them() -> None:
    found, x, y = taught()
    step = Step(Stage(2, (3,), (0, 1)), 0, 0)
    before = found.sample(0, 4, step, 0)
    other = Gaussians(WIDTH, 2, 3)
    other.grow(5)
    other.end_stage(Stage(1, (0, 1)), PartData(lambda split, epoch: (2 * x, y), lambda *_: x))
    found.load_state_dict(other.state_dict())
    assert torch.equal(found.sample(0, 4, step, 0), other.sample(0, 4, step, 0))
    assert not torch.equal(found.sample(0, 4, step, 0), before)


def fused_by_hand(old: np.ndarray, new: np.ndarray, bias: float) -> np.ndarray:
    u, s, vh = np.linalg.svd(old)
    p, q = u.T @ new, np.diag(s) @ vh
    share = np.minimum(1, np.abs(p - q) / np.abs(p - q).max() + bias)
    found: np.ndarray = u @ (p * share + q * (1 - share))
    return found


@pytest.mark.parametrize("bias", [0.0, 0.6, 1.0])
def test_fusion_is_in_the_old_singular_basis(bias: float) -> None:
    old, new = rows(WIDTH, 1), rows(WIDTH, 2)
    fusion = SingularFusion(WIDTH, bias, torch.float64)
    fusion.begin(old)
    np.testing.assert_allclose(fusion.fused(new), fused_by_hand(old.numpy(), new.numpy(), bias), atol=1e-12)
    torch.testing.assert_close(fusion.fused(old), old)
    if bias == 1:
        torch.testing.assert_close(fusion.fused(new), new)


@pytest.fixture
def learner() -> Any:
    """RAPF on texts of which 0 and 2 are neighbours."""
    text = torch.eye(4, WIDTH, dtype=torch.float64)
    text[2] = text[0] + 0.2 * text[3]
    return build_model("rapf", lamm_cl.FeatureBackbone(text, 10.0), NAMES, beta=0.3, threshold=0.5)


def test_neighbours_are_pairs_of_near_texts(learner: Any) -> None:
    x, y = rows(8), torch.tensor([0, 1] * 4)
    lamm_cl.fit_stage(learner, x, y, epochs=1)
    hinge = learner.parts.objective.terms["hinge"][0].__self__
    assert learner.losses(None, y, image_features=x)["hinge"] == 0  # outside of training steps
    step = Step(learner.next_stage([2, 3]), 0, 0)
    batch, labels = learner.rehearse(x, y + 2, step)
    assert hinge.pairs(learner.output(batch)) == [(0, 2)]
    terms = learner.objective(learner.output(batch), labels)
    drawn = learner.rehearsal.sample(0, 6, step, 2) @ learner.adapter.map.weight.T
    cosines = torch.nn.functional.cosine_similarity(drawn[:, None], learner.backbone.class_features(NAMES)[:, 0], dim=2)
    torch.testing.assert_close(terms["hinge"], (cosines[:, 2] - cosines[:, 0] + 0.1).relu().mean())
    torch.testing.assert_close(terms["total"], terms["ce"] + terms["hinge"])
    assert hinge.pairs(learner.output(batch, [1, 2, 3])) == []  # class 0 does not compete


def test_only_later_stages_are_fused(learner: Any) -> None:
    x, y = rows(8), torch.tensor([0, 1] * 4)
    start = learner.adapter.map.weight.detach().clone()
    chosen: dict[str, Any] = {"epochs": 1, "lr": 0.1, "optimizer": "sgd", "momentum": 0.0}
    lamm_cl.fit_stage(learner, x, y, **chosen)
    assert torch.equal(learner.adapter.consolidation.before, start)
    old = learner.adapter.map.weight.detach().clone()
    trained: list[Tensor] = []
    end = learner.end_stage

    def end_stage(stage: Any, data: Any) -> None:
        trained.append(learner.adapter.map.weight.detach().clone())
        end(stage, data)

    learner.end_stage = end_stage
    lamm_cl.fit_stage(learner, x, y + 2, **chosen)
    expected = fused_by_hand(old.numpy(), trained[0].numpy(), 0.6)
    np.testing.assert_allclose(learner.adapter.map.weight.detach(), expected, atol=1e-12)


def test_a_strategy_counts_the_batches_of_an_epoch(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Step] = []
    strategy = lamm_cl.build_strategy(
        "rapf", tiny, lamm_cl.base_to_novel("digits", shots=2, seed=1), epochs=2, batch_size=4, seed=5
    )
    rehearse = strategy.model.rehearse
    monkeypatch.setattr(strategy.model, "rehearse", lambda x, y, step: (steps.append(step), rehearse(x, y, step))[1])
    strategy.train(lamm_cl.base_to_novel("digits", shots=2, seed=1).train_stream[0])
    assert [(step.epoch, step.step, step.batch) for step in steps] == [
        (0, 0, 0),
        (0, 1, 1),
        (0, 2, 2),
        (1, 3, 0),
        (1, 4, 1),
        (1, 5, 2),
    ]
