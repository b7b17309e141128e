"""Seconds of a call on a device that works on while the host goes ahead, and of the kernels in it."""

from collections.abc import Callable
from time import perf_counter

import torch
from torch import Tensor
from torch.autograd import DeviceType

PROFILED = 3  # calls


def wait(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(call: Callable[[], Tensor], device: torch.device) -> tuple[float, Tensor]:
    """Return the seconds of one call, and what it returned."""
    wait(device)
    start = perf_counter()
    found = call()
    wait(device)
    return perf_counter() - start, found


def repeated(call: Callable[[], Tensor], device: torch.device, seconds: float, most: int = 50) -> list[float]:
    """Return the seconds of each of several calls."""
    found = [timed(call, device)[0]]
    while sum(found) < seconds and len(found) < most:
        found.append(timed(call, device)[0])
    return found


def kernel_seconds(step: Callable[[], Tensor], device: torch.device) -> float:
    """Return the seconds in which kernels and copies run in a step, as the profiler sees them."""
    watch = torch.profiler.ProfilerActivity.CUDA if device.type == "cuda" else torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[watch]) as profiler:
        for _ in range(PROFILED):
            step()
        wait(device)
    ranges = (
        event.time_range.elapsed_us()
        for event in profiler.events() or ()
        if event.device_type == DeviceType.CUDA
        and not getattr(event, "is_user_annotation", False)  # those span kernels
    )
    return sum(ranges) / 1e6 / PROFILED
