"""Tokens inside the layers: where they start."""

from typing import Any

import pytest
import torch

from lamm_cl import build_model

NAMES = ["zero", "one"]


def projections(model: Any) -> list[Any]:
    return [model.deep.proj, *model.deep.compound_prompt_projections]


@pytest.mark.parametrize("method", ["maple", "align", "maple+lamm"])
def test_deep_projections_start_as_copies_of_one_layer(method: str, tiny: Any) -> None:
    # MaPLe's trainers/maple.py and ALIGN's trainers/mmp.py: `_get_clones(single_layer, depth - 1)`; `proj` is its own.
    first, *deep = projections(build_model(method, tiny, NAMES, prompt_depth=4))
    assert len(deep) == 3
    assert all(torch.equal(layer.weight, deep[0].weight) and torch.equal(layer.bias, deep[0].bias) for layer in deep)
    assert len({layer.weight.data_ptr() for layer in deep}) == 3
    assert not torch.equal(first.weight, deep[0].weight)


def test_copies_train_apart(tiny: Any) -> None:
    model = build_model("maple", tiny, NAMES, prompt_depth=4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images = torch.randn(2, 3, *tiny.image_size, generator=torch.Generator().manual_seed(0))
    model.losses(images, torch.tensor([0, 1]))["total"].backward()
    optimizer.step()
    _, *deep = projections(model)
    assert len({layer.weight.detach().sum().item() for layer in deep}) == 3


@pytest.mark.parametrize("method", ["maple", "align"])
def test_each_projection_can_start_at_random(method: str, tiny: Any) -> None:
    copies = projections(build_model(method, tiny, NAMES, prompt_depth=3))
    own = projections(build_model(method, tiny, NAMES, prompt_depth=3, clone_projections=False))
    assert torch.equal(copies[1].weight, own[1].weight)
    assert not torch.equal(own[1].weight, own[2].weight)
