"""The average over epochs, against a sum of weighted copies."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lamm_cl
from lamm_cl.methods.consolidation import EpochAverage


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(2, 3, dtype=torch.float64))
        self.second = nn.Parameter(torch.zeros(4, dtype=torch.float64))
        self.frozen = nn.Parameter(torch.ones(1, dtype=torch.float64), requires_grad=False)


@pytest.mark.parametrize(("mean", "std", "epochs"), [(3, 1, 4), (15, 1, 20), (30, 30, 50), (45, 5, 50), (6, 10, 20)])
def test_equals_the_weighted_sum(mean: float, std: float, epochs: int) -> None:
    model, average = Two(), EpochAverage(mean, std, torch.float64)
    values = torch.randn(epochs, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    average.begin()
    for epoch, row in enumerate(values):
        with torch.no_grad():
            model.first.copy_(row[:6].view(2, 3))
            model.second.copy_(row[6:])
        average.add(model, epoch)
    average.end(model)
    weights = np.exp(-0.5 * ((np.arange(1, epochs + 1) - mean) / std) ** 2)
    expected = (weights / weights.sum()) @ values.numpy()
    found = torch.cat([model.first.flatten(), model.second]).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    assert model.frozen.item() == 1
    assert not len(average.average)


def test_far_from_the_mean_the_nearest_epoch_counts() -> None:
    model, average = Two(), EpochAverage(10_000, 1, torch.float64)
    average.begin()
    for epoch in range(3):
        nn.init.constant_(model.first, epoch)
        average.add(model, epoch)
    average.end(model)
    assert torch.equal(model.first, torch.full_like(model.first, 2))


def test_without_an_epoch_nothing_changes() -> None:
    model, average = Two(), EpochAverage(1, 1, torch.float64)
    nn.init.constant_(model.first, 5)
    average.begin()
    average.end(model)
    assert torch.equal(model.first, torch.full_like(model.first, 5))


def test_one_epoch_is_its_own_average(tiny: Any) -> None:
    labels = torch.arange(4).repeat(2)
    images = torch.randn(8, 3, *tiny.image_size, generator=torch.Generator().manual_seed(0))
    found = []
    for average in (True, False):
        model = lamm_cl.build_model("promptsrc", tiny, ["a", "b", "c", "d"], average=average)
        lamm_cl.fit_stage(model, images, labels, epochs=1)
        found.append(dict(model.named_parameters()))
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())
