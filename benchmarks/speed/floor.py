"""The floating-point floor of a step: matrix products that no exact method can avoid, counted while it runs."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.measure import seconds
from lamm_cl.clip.linear import AVAILABLE, FrozenLinear


def flops(call: Callable[[], object]) -> int:
    """Return the floating-point operations of the matrix products and attention in one call."""
    laid_out = {torch.ops.mkldnn._linear_pointwise: _linear_flops} if AVAILABLE else {}
    with FlopCounterMode(display=False, custom_mapping=laid_out) as counter:
        call()
    return int(counter.get_total_flops())


def peak_flops(size: int = 1536, repeat: int = 8) -> float:
    """Return the floating-point operations a second of a large matrix product, the floor's yardstick.

    It is the faster of torch's own product and of the one from a weight that was laid out before.
    """
    a, b = torch.randn(size, size), torch.randn(size, size)
    laid_out = FrozenLinear(lambda: (b, None))
    laid_out(a)
    return (
        2 * size**3 / min(seconds(product) for _ in range(repeat) for product in (lambda: a @ b, lambda: laid_out(a)))
    )


def _linear_flops(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Count x (..., in) times a weight (out, in)."""
    rows = 1
    for length in x[:-1]:
        rows *= length
    return int(2 * rows * weight[0] * weight[1])
