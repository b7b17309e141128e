"""MG-CLIP's parts by hand: deltas of keys and values, rows that stay, and the ways to mix two classifiers."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import lamm_cl
from lamm_cl import build_model
from lamm_cl.methods.recipe import lr_at
from lamm_cl.methods.registry import get_method
from lamm_cl.methods.visual_classifier import VisualClassifier

NAMES = ["zero", "one", "two", "three"]


def images(tiny: Any, batch: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, *tiny.image_size, generator=torch.Generator().manual_seed(seed))


def taught(tiny: Any, **options: Any) -> Any:
    model = build_model("mg_clip", tiny, NAMES, **options)
    for classes in ([0, 1], [2, 3]):
        lamm_cl.fit_stage(model, images(tiny, seed=classes[0]), torch.tensor(classes * 4), lr=0.05)
    return model


def test_deltas_are_those_of_keys_and_values(tiny: Any) -> None:
    model = build_model("mg_clip", tiny, NAMES, lora_rank=4)
    names = {name.split(".", 1)[1] for name, _ in model.deltas.named_parameters()}  # without the tower
    layers = range(tiny.text.layers)
    assert {f"{layer}.{matrix}.{factor}" for layer in layers for matrix in "kv" for factor in "ab"} == names
    bound = (6 / (tiny.text.width + 4)) ** 0.5
    assert 0.9 * bound < float(model.deltas.text["0"]["k"].a.detach().abs().max()) <= bound
    assert model.deltas.scale == 1 / 4
    for encoder, in_image in (("vision", True), ("text", False)):
        one = build_model("mg_clip", tiny, NAMES, encoder=encoder)
        assert one.needs_images == bool(one.deltas.image) == in_image


def test_rows_of_older_classes_stay_and_later_ones_wait(tiny: Any) -> None:
    model = build_model("mg_clip", tiny, NAMES)
    x = images(tiny)
    text = model.training_output(x).logits.softmax(1)
    torch.testing.assert_close(model(x), text)
    lamm_cl.fit_stage(model, x, torch.tensor([0, 1] * 4), lr=0.05)
    before = model.head.weights.clone()
    assert model.head.known.tolist() == [True, True, False, False]
    assert torch.isneginf(model(x)[:, 2:]).all()
    assert torch.isfinite(model(x)[:, :2]).all()
    lamm_cl.fit_stage(model, images(tiny, seed=2), torch.tensor([2, 3] * 4), lr=0.05)
    assert torch.equal(model.head.weights[:2], before[:2])
    assert not torch.equal(model.head.weights[2:], before[2:])


def test_rows_are_means_where_they_do_not_train(tiny: Any) -> None:
    model = build_model("mg_clip", tiny, NAMES, visual_epochs=0)
    x, labels = images(tiny), torch.tensor([0, 1] * 4)
    lamm_cl.fit_stage(model, x, labels, lr=0.05)
    features = model.features(x).detach()
    torch.testing.assert_close(model.head.weights[0], features[labels == 0].mean(0))
    trained = taught(tiny)
    lamm_cl.fit_stage(trained, x, labels, [0, 1])  # classes that were there come again: their rows go on
    assert trained.head.known.all()


@pytest.mark.parametrize("fusion", ["official", "probabilities", "text", "visual"])
def test_fusion(fusion: str, tiny: Any) -> None:
    model, x = taught(tiny, fusion=fusion), images(tiny)
    p = model.training_output(x).logits.softmax(1)
    cosines = F.normalize(model.features(x), dim=-1) @ F.normalize(model.head.weights, dim=-1).t()
    expected = {
        "official": (p.softmax(1) + 4 * cosines.softmax(1)) / 5,
        "probabilities": (p + 4 * (tiny.logit_scale * cosines).softmax(1)) / 5,
        "text": p,
        "visual": cosines,
    }[fusion]
    torch.testing.assert_close(model(x), expected)


def test_rows_train_on_their_own_columns_along_a_cosine() -> None:
    head = VisualClassifier(
        3, torch.float64, lr=0.1, epochs=1, batch_size=2, weight=4, fusion="official", scale=torch.tensor(100.0)
    )
    head.grow(4)
    x = F.normalize(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).double(), dim=-1)
    labels = torch.tensor([1, 3, 1, 3, 1, 3])
    head.start(x, labels, [1, 3])
    rows = head.weights[[1, 3]].clone().requires_grad_()
    batches = [torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5])]
    losses = head.train_rows(x, labels, [1, 3], batches)
    optimizer = torch.optim.Adam([rows], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2, eta_min=0.001)
    for batch, loss in zip(batches, losses, strict=True):
        ce = F.cross_entropy(F.cosine_similarity(x[batch][:, None], rows[None], dim=-1), (labels[batch] == 3).long())
        assert float(ce.detach()) == pytest.approx(loss, rel=1e-12)
        optimizer.zero_grad()
        ce.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    torch.testing.assert_close(head.weights[[1, 3]], rows.detach())
    assert not head.weights[[0, 2]].any()


def test_rate_falls_to_a_hundredth_epoch_by_epoch() -> None:
    recipe = get_method("mg_clip").recipe.but(epochs=4)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4, eta_min=recipe.lr / 100)
    for epoch in range(4):
        assert lr_at(recipe, epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        schedule.step()
