"""The floating-point floor of a step: matrix products that no exact method can avoid, counted while it runs."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from benchmarks.speed.measure import seconds
from lamm_cl.clip.linear import AVAILABLE, FrozenLinear


def flops(call: Callable[[], object]) -> int:
    """Return the floating-point operations of the matrix products and attention in one call."""
    unknown: dict[Any, Any] = {  # to torch's own counter
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
    }
    if AVAILABLE:
        unknown[torch.ops.mkldnn._linear_pointwise] = _linear_flops
    with FlopCounterMode(display=False, custom_mapping=unknown) as counter:
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


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward_flops(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(grad, query, key, value))
