"""Frozen linear maps: the laid-out weight gives what torch's own product gives."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.clip import linear
from lamm_cl.clip.linear import FrozenLinear, Rounded, mixed

LARGE = (512, 384)  # values enough to be laid out
needs_kernel = pytest.mark.skipif(not linear.AVAILABLE, reason="this build of torch has no laid-out product")


def made(shape: tuple[int, int] = LARGE, bias: bool = True, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator, dtype=dtype) / shape[1] ** 0.5
    x = torch.randn(3, 5, shape[1], generator=generator, dtype=dtype, requires_grad=True)
    return x, weight, torch.randn(shape[0], generator=generator, dtype=dtype) if bias else torch.zeros(0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [LARGE, (8, 16), (2100, 2000)], ids=["laid out", "too small", "too large"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_plain_product_with_gradient(shape: tuple[int, int], bias: bool, dtype: torch.dtype) -> None:
    x, weight, b = made(shape, bias, dtype)
    given = b if bias else None
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    results = []
    for compute in (FrozenLinear(lambda: (weight, given)), lambda x: F.linear(x, weight, given)):
        y = compute(x)
        (gradient,) = torch.autograd.grad((y * y.detach().roll(1)).sum(), x)
        results.append((y.detach(), gradient))
    for mine, plain in zip(*results, strict=True):
        assert float((mine - plain).norm() / plain.norm()) < tolerance


def test_gradient_of_an_expanded_sum() -> None:
    x, weight, b = made()
    (gradient,) = torch.autograd.grad(FrozenLinear(lambda: (weight, b))(x).sum(), x)
    torch.testing.assert_close(gradient, weight.sum(0).expand_as(x), rtol=1e-4, atol=1e-5)


def test_rows_that_do_not_lie_side_by_side() -> None:
    x, weight, b = made()
    compute = FrozenLinear(lambda: (weight, b))
    torch.testing.assert_close(compute(x.transpose(0, 1)), compute(x).transpose(0, 1))
    assert compute(x[:0]).shape == (0, 5, 512)


@needs_kernel
def test_a_weight_is_laid_out_once_and_anew_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    laid_out: list[tuple[int, ...]] = []
    original = torch.ops.mkldnn._reorder_linear_weight

    def counted(weight: Tensor, rows: int) -> Tensor:
        laid_out.append(tuple(weight.shape))
        found: Tensor = original(weight, rows)
        return found

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", counted)
    x, weight, b = made()
    compute = FrozenLinear(lambda: (weight, b))
    for _ in range(3):
        compute(x).sum().backward()
    assert laid_out == [(512, 384), (384, 512)]  # one for each direction
    weight.mul_(2)
    torch.testing.assert_close(compute(x), F.linear(x, weight, b), rtol=1e-4, atol=1e-4)
    assert len(laid_out) == 3


@needs_kernel
def test_serves_training_after_inference_mode() -> None:
    x, weight, b = made()
    compute = FrozenLinear(lambda: (weight, b))
    with torch.inference_mode():
        compute(x)
    compute(x).sum().backward()
    assert x.grad is not None


def test_second_derivatives_are_torchs_own() -> None:
    x, weight, b = made()
    found = []
    for compute in (FrozenLinear(lambda: (weight, b)), lambda x: F.linear(x, weight, b)):
        (first,) = torch.autograd.grad((compute(x) ** 3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad((first**2).sum(), x)
        found.append(second)
    assert float((found[0] - found[1]).norm() / found[1].norm()) < 1e-5


def test_leaves_autocast_to_torch() -> None:
    x, weight, b = made()
    with torch.autocast("cpu", torch.bfloat16):
        assert FrozenLinear(lambda: (weight, b))(x).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_weight_is_rounded_once_and_anew_when_it_changes(dtype: torch.dtype) -> None:
    x, weight, b = made()
    read = Rounded(lambda: (weight, b))
    assert read() == (weight, b)
    with torch.autocast("cpu", dtype):
        with torch.inference_mode():
            first = read()
        assert [one.dtype for one in first if one is not None] == [dtype, dtype]
        assert all(one is other for one, other in zip(read(), first, strict=True))
        compute = FrozenLinear(lambda: (weight, b))
        y, plain = compute(x), F.linear(x, weight, b)
        assert torch.equal(y, plain)
        assert torch.equal(*(torch.autograd.grad(one.float().sum(), x)[0] for one in (y, plain)))
        weight.mul_(2)
        assert torch.equal(compute(x), F.linear(x, weight, b))
    assert read() == (weight, b)


def test_what_trains_and_double_precision_are_left_to_torch() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        for weight in (made()[1].requires_grad_(), made(dtype=torch.float64)[1]):
            assert Rounded(lambda weight=weight: (weight, None))()[0] is weight  # type: ignore[misc]


@pytest.mark.parametrize("expanded", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_mixture_is_the_plain_product_with_all_gradients(expanded: bool, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    given = [
        torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in ((6, 13), (13, 8), (8,))
    ]
    towards = torch.ones((), dtype=dtype).expand(6, 8) if expanded else torch.randn(6, 8, generator=generator).to(dtype)
    results = []
    for y in (mixed(*given), given[0] @ given[1] + given[2]):
        results.append((y, *torch.autograd.grad(y, given, towards)))
    for mine, plain in zip(*results, strict=True):
        torch.testing.assert_close(mine, plain)
