"""Where to compute."""

import torch

from lamm_cl.errors import UsageError


def usable_device(name: str | torch.device) -> torch.device:
    """Return the device of that name.

    Raises:
        UsageError: When there is no such device here.
    """
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"unknown device {str(name)!r}. Use cpu, cuda or cuda:<number>.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {str(name)!r} is not there: torch finds no CUDA device. Use device='cpu'.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {str(name)!r} is not there: torch finds {torch.cuda.device_count()} CUDA device(s).")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {str(name)!r} is not supported. Use cpu, cuda or cuda:<number>.")
    return device
