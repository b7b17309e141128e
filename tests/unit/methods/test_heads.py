"""Heads and their statistics against other libraries and sums by hand."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import kernel_ridge as sklearn_kernel
from sklearn import linear_model
from torch import Tensor

import lamm_cl
from lamm_cl.methods import statistics
from lamm_cl.methods.cache import Cache, FeatureMemory, KernelRidge
from lamm_cl.methods.fusion import Gate
from lamm_cl.methods.head import Head, masked, no_text
from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.ridge import GRID, RandomLayer, Ridge, ridge_losses
from lamm_cl.methods.stage import Stage
from lamm_cl.methods.statistics import ClassStatistics
from lamm_cl.prompts.vectors import Initial

WIDTH = 6


def rows(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features and labels of four classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (n,), generator=generator)
    return torch.randn(n, WIDTH, generator=generator, dtype=torch.float64) + labels[:, None], labels


def data(features: Tensor, labels: Tensor, text: Callable[..., Tensor] = no_text) -> PartData:
    return PartData(lambda split, epoch: (features, labels), text)


def in_stages(head: Head, pieces: Sequence[tuple[Tensor, Tensor]], cumulative: bool = False) -> Head:
    """Fit a head on pieces, one a stage."""
    head.grow(4)
    for number, piece in enumerate(pieces, 1):
        stage = Stage(number, (0, 1, 2, 3), (), cumulative)
        head.begin_stage(stage, data(*piece))
        head.end_stage(stage, data(*piece))
    return head


def test_ridge_is_that_of_another_library() -> None:
    x, y = rows(40)
    other = linear_model.Ridge(alpha=0.3, fit_intercept=False, solver="svd").fit(x, np.eye(4)[y])
    for pieces in ([(x, y)], [(x[:7], y[:7]), (x[7:], y[7:])]):
        head = in_stages(Ridge(WIDTH, 0.3), pieces)
        torch.testing.assert_close(head(x, range(4), no_text), torch.tensor(other.predict(x)))
        # Not to the bit: for fewer columns some processors multiply in another order.
        torch.testing.assert_close(head(x, [2, 0], no_text), head(x, range(4), no_text)[:, [2, 0]], rtol=1e-12, atol=0)


def test_kernel_ridge_is_that_of_another_library() -> None:
    x, y = rows(40)
    other = sklearn_kernel.KernelRidge(alpha=0.3, kernel="rbf", gamma=0.2).fit(x, np.eye(4)[y])
    for pieces in ([(x, y)], [(x[:7], y[:7]), (x[7:], y[7:])]):
        head = in_stages(KernelRidge(WIDTH, torch.float64, 0.3, 0.2), pieces)
        torch.testing.assert_close(head(x[:9], range(4), no_text), torch.tensor(other.predict(x[:9])))


@pytest.mark.parametrize("make", [lambda: Ridge(WIDTH, 0.3), lambda: KernelRidge(WIDTH, torch.float64, 0.3, 0.2)])
def test_a_cumulative_stage_counts_no_image_twice(make: Callable[[], Head]) -> None:
    x, y = rows(20)
    once = in_stages(make(), [(x, y)])
    twice = in_stages(make(), [(x[:8], y[:8]), (x, y)], cumulative=True)
    torch.testing.assert_close(twice(x, range(4), no_text), once(x, range(4), no_text))


@pytest.mark.parametrize("n", [10, 60])  # fewer and more rows than random features
def test_the_ridge_is_chosen_by_the_error_on_the_last_fifth(n: int) -> None:
    x, y = rows(n)
    layer = RandomLayer(torch.randn(WIDTH, 20, generator=torch.Generator().manual_seed(1)))
    hidden, targets = layer(x), torch.eye(4).double()[y]
    fit, rest = slice(int(0.8 * n)), slice(int(0.8 * n), None)
    expected = []
    for ridge in GRID[6:]:
        other = linear_model.Ridge(alpha=ridge, fit_intercept=False, solver="cholesky").fit(hidden[fit], targets[fit])
        expected.append(((other.predict(hidden[rest]) - targets[rest].numpy()) ** 2).mean())
    np.testing.assert_allclose(ridge_losses(hidden, targets, GRID[6:]).numpy(), expected, rtol=1e-8)
    head = in_stages(Ridge(WIDTH, "select", layer), [(x, y)])
    assert isinstance(head, Ridge)
    assert float(head.ridge) == GRID[int(ridge_losses(hidden, targets).argmin())]


def test_a_stage_of_one_image_selects_a_ridge_too() -> None:
    x, y = rows(1)
    assert torch.isfinite(in_stages(Ridge(WIDTH, "select"), [(x, y)])(x, [int(y)], no_text)).all()


def test_classes_without_images_read_minus_infinity() -> None:
    x, y = rows(12)
    y = y.clamp(max=2)
    for head in (Ridge(WIDTH, 1.0), KernelRidge(WIDTH, torch.float64, 1.0, 0.1)):
        head.grow(4)
        assert torch.isneginf(head(x, range(4), no_text)).all()
        scores = in_stages(head, [(x, y)])(x, range(4), no_text)
        assert torch.isneginf(scores[:, 3]).all()
        assert torch.isfinite(scores[:, :3]).all()


def test_random_layers_are_drawn_as_the_released_codes_draw_them(tiny: Any) -> None:
    ranpac = lamm_cl.build_model("ranpac", tiny, ["a", "b"], M=4000).head.layer.weight
    acil = lamm_cl.build_model("acil", tiny, ["a", "b"], buffer_size=4000).head.layer.weight
    bound = 1 / math.sqrt(tiny.embed_dim)
    assert ranpac.shape == acil.shape == (tiny.embed_dim, 4000)
    assert float(ranpac.std()) == pytest.approx(1, rel=0.01)
    assert float(acil.abs().max()) == pytest.approx(bound, rel=0.001)
    assert float(acil.std()) == pytest.approx(bound / math.sqrt(3), rel=0.01)


@pytest.mark.parametrize("kind", ["raw", "unit", "unprojected"])
def test_takes_each_kind_of_image_feature(kind: str, tiny: Any) -> None:
    images, labels = (
        torch.randn(6, 3, *tiny.image_size, generator=torch.Generator().manual_seed(0)),
        torch.arange(6) % 2,
    )
    learner = lamm_cl.build_model("simplecil", tiny, ["a", "b"], image_features=kind)
    lamm_cl.fit_stage(learner, images, labels)
    features = tiny.encode_images(images, kind).double()
    means = torch.stack([features[labels == c].mean(0) for c in (0, 1)])
    expected = torch.nn.functional.cosine_similarity(features[:, None], means[None], dim=-1)
    torch.testing.assert_close(learner(images).double(), expected, atol=1e-5, rtol=0)


def test_statistics_do_not_depend_on_order_and_give_covariances() -> None:
    x, y = rows(30)
    one, other = (ClassStatistics(WIDTH, "class") for _ in range(2))
    for found in (one, other):
        found.grow(4)
    one.add(x, y)
    for piece in torch.randperm(30).split(4):
        other.add(x[piece], y[piece])
    for first, second in zip(one.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(first, second)
    for c in range(4):
        own = x[y == c].numpy()
        np.testing.assert_allclose(one.mean[c], own.mean(0))
        np.testing.assert_allclose(one.covariance(c), np.cov(own.T), atol=1e-12)
        np.testing.assert_allclose(one.covariance(c, 0), np.cov(own.T, ddof=0), atol=1e-12)


@pytest.mark.parametrize("strip", [1, 4, 6, 512])
def test_a_shared_gram_matrix_is_summed_in_strips_and_symmetric(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "STRIP", strip)
    (x, y), found = rows(30), ClassStatistics(WIDTH, "shared")
    found.grow(4)
    for piece in torch.arange(30).split(7):
        found.add(x[piece], y[piece])
    assert found.second is not None
    assert torch.equal(found.second, found.second.T)
    torch.testing.assert_close(found.second, x.T @ x)


class Fixed(Head):
    """Scores that are given."""

    def __init__(self, scores: Tensor, known: Sequence[bool]) -> None:
        super().__init__()
        self.scores, self.known = scores, torch.tensor(known)

    def forward(self, features: Tensor, columns: Sequence[int], text: Any) -> Tensor:
        return masked(self.scores, self.known)[:, list(columns)]


def test_the_gate_opens_where_the_text_names_a_class_that_the_head_knows() -> None:
    text = torch.tensor([[3.0, 0, 0], [0, 0, 3.0]])
    scores = torch.tensor([[0.1, 0.7, 9.0], [0.2, 0.9, 9.0]])
    p = text.softmax(1)
    head = Fixed(scores, [True, True, False])
    gate = Gate(head, 0.8)
    gate.grow(3)
    found = gate(text, (0, 1, 2), lambda columns: text[:, list(columns)])
    mixed = 0.2 * p[0] + 0.8 * torch.tensor([0.1, 0.7, 0.0])
    torch.testing.assert_close(found, torch.stack([mixed, p[1]]))  # the second image is a class to come
    seen = Gate(head, 0.8, "seen")
    seen.grow(3)
    among = torch.stack([0.2 * row[:2].softmax(0) + 0.8 * score[:2] for row, score in zip(text, scores, strict=True)])
    found = seen(text, (0, 1, 2), lambda columns: text[:, list(columns)])
    torch.testing.assert_close(found[:, :2], among)
    assert torch.isneginf(found[:, 2]).all()
    nothing = Gate(Fixed(scores, [False] * 3), 0.8, "seen")
    nothing.grow(3)
    torch.testing.assert_close(nothing(text, (0, 1, 2), lambda columns: text[:, list(columns)]), p)


def cache(**options: Any) -> Cache:
    chosen = {"alpha": 1.0, "beta": 1.0, "views": 0, "selection": "none", "scale": (7, 3), "step": (4, 3), **options}
    head = Cache(WIDTH, torch.float64, **chosen)
    head.grow(4)
    return head


def test_ties_keep_the_smallest_beta_then_the_smallest_alpha() -> None:
    x, y = torch.eye(WIDTH).double()[:4], torch.arange(4)
    text = torch.zeros(4, 4).double()
    head, stage = cache(selection="val"), Stage(1, (0, 1, 2, 3))
    head.begin_stage(stage, data(x, y))
    head.end_stage(stage, data(x, y, lambda features, columns: text))
    assert (float(head.alpha), float(head.beta)) == pytest.approx((0.1, 0.1))  # every pair is right


def test_alpha_and_beta_are_zero_where_no_pair_is_right() -> None:
    x, y = torch.eye(WIDTH).double()[:4], torch.arange(4)
    wrong = 1000 * torch.eye(4).double()[[1, 2, 3, 0]]
    head, stage = cache(selection="val"), Stage(1, (0, 1, 2, 3))
    head.begin_stage(stage, data(x, y))
    head.end_stage(stage, data(x, y, lambda features, columns: wrong))
    assert (float(head.alpha), float(head.beta)) == (0, 0)
    head.begin_stage(Stage(2, (0,), (0, 1, 2, 3)), data(x[:1], y[:1]))
    assert (float(head.alpha), float(head.beta)) == (1, 1)  # each stage starts from the initial values


def test_the_earliest_of_equally_good_epochs_is_kept() -> None:
    x, y = torch.eye(WIDTH).double()[:4], torch.arange(4)
    head, stage = cache(trains=True, best_epoch="val"), Stage(1, (0, 1, 2, 3))
    kept = data(x, y, lambda features, columns: torch.zeros(4, 4).double())
    head.begin_stage(stage, kept)
    keys = head.memory.features[0]
    for epoch, value in enumerate((0.5, 1.0, 2.0, -1.0)):  # the first three recognise all four images
        keys.data = value * x
        head.end_epoch(stage, epoch, kept)
    head.end_stage(stage, kept)
    torch.testing.assert_close(head.memory.every, 0.5 * x)
    assert not len(head.best)


def test_views_are_averaged_before_they_are_normalised() -> None:
    x, y = rows(5)
    views = {0: x, 1: 3 * x.flip(1), None: x}
    head = cache(views=2)
    head.begin_stage(Stage(1, (0, 1, 2, 3)), PartData(lambda split, epoch: (views[epoch], y), no_text))
    mean = (x + 3 * x.flip(1)) / 2
    torch.testing.assert_close(head.memory.every, mean / mean.norm(dim=1, keepdim=True))


def test_a_memory_keeps_one_tensor_a_stage() -> None:
    memory = FeatureMemory(WIDTH, torch.float32)
    assert memory.every.shape == (0, WIDTH)
    for trains in (True, True):
        memory.begin_stage(trains)
        memory.fill(*rows(3))
    assert [p.requires_grad for p in memory.features] == [False, True]
    assert memory.every.dtype == torch.float32
    assert memory.one_hot(torch.tensor([2, 0])).shape == (6, 2)
    memory.fill(*rows(4), instead=True)
    assert [len(p) for p in memory.features] == [0, 4]
    assert len(memory.labels) == 4


def test_initial_values_of_a_layer_without_bias_are_those_of_one_with() -> None:
    initial = Initial(3, torch.device("cpu"), torch.float32)
    assert torch.equal(initial.linear("name", 5, 4, bias=False).weight, initial.linear("name", 5, 4).weight)
    assert initial.linear("name", 5, 4, bias=False).bias is None


def test_a_learner_takes_no_foreign_tensors(tiny: Any) -> None:
    model = lamm_cl.build_model("clip_adapter", tiny, ["a", "b"])
    state = model.state_dict()
    assert model.misfits(state) == []
    assert model.misfits({**state, "more": torch.zeros(1)}) == ["more"]
    assert model.misfits({**state, "adapter.fc.0.weight": torch.zeros(1, 96)}) == ["adapter.fc.0.weight"]


def test_a_given_scale_keeps_its_digits() -> None:
    exact = math.exp(4.6052)
    backbone = lamm_cl.FeatureBackbone(torch.eye(3, dtype=torch.float64), logit_scale=exact)
    assert float(backbone.logit_scale) == exact
