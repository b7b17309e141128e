"""What is remembered must serve training later, wherever it was computed first."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def lasting() -> Iterator[None]:
    """Compute something that is kept: inside inference mode, leave it for plain no_grad.

    A tensor born in inference mode can never take part in a computation with gradients, so one evaluation in that mode
    would leave a model that cannot train.
    """
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        yield


def number_type(device: torch.device) -> torch.dtype | None:
    """Return the type that autocast computes in on a device at the moment; None where it is off."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
