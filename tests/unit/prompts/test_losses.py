"""Distances from a reference, against what they are by definition."""

import numpy as np
import pytest
import torch

from lamm_cl.prompts.losses import DISTANCES


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(drawn, dim=-1)


def test_each_is_what_its_formula_says() -> None:
    a, b = unit(5, 7), unit(5, 7, seed=1)
    x, y = a.numpy(), b.numpy()
    assert DISTANCES["l1"](a, b).item() == pytest.approx(np.abs(x - y).sum() / 35)
    assert DISTANCES["l2"](a, b).item() == pytest.approx(((x - y) ** 2).sum(1).mean())
    assert DISTANCES["cosine"](3 * a, b).item() == pytest.approx((1 - (x * y).sum(1)).mean())
    p, q = np.exp(4 * x), np.exp(4 * y)
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    assert DISTANCES["kl"](4 * a, 4 * b).item() == pytest.approx((q * np.log(q / p)).sum() / 35)


def test_squared_distance_of_unit_vectors_is_twice_the_cosine_distance() -> None:
    a, b = unit(5, 7), unit(5, 7, seed=1)
    assert torch.allclose(DISTANCES["l2"](a, b), 2 * DISTANCES["cosine"](a, b))


@pytest.mark.parametrize("name", DISTANCES)
def test_nothing_is_far_from_itself(name: str) -> None:
    a = unit(5, 7)
    assert DISTANCES[name](a, a).item() == pytest.approx(0, abs=1e-15)


def test_several_prompts_have_one_reference() -> None:
    several, one = unit(5, 3, 7), unit(5, 7, seed=1)
    each = torch.stack([DISTANCES["cosine"](several[:, v], one) for v in range(3)])
    assert torch.allclose(DISTANCES["cosine"](several, one[:, None]), each.mean())
