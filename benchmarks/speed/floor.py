"""The floating-point floor of a step: matrix products that no exact method can avoid, counted while it runs."""

from collections.abc import Callable

from torch.utils.flop_counter import FlopCounterMode


def flops(call: Callable[[], object]) -> int:
    """Return the floating-point operations of the matrix products and attention in one call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())
