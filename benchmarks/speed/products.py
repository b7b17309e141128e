"""What a step's matrix products and attention take by themselves: how near to the floor an exact step could come."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.speed.floor import flops, peak_flops
from benchmarks.speed.measure import seconds
from benchmarks.speed.reference import exact_step
from benchmarks.speed.steps import BATCH, built, names
from lamm_cl import ClipBackbone

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "_linear_pointwise")
ATTENTION = "_scaled_dot_product"


@dataclass(frozen=True)
class Products:
    """One row: a training step on cached features, and its products alone.

    Attributes:
        method: its name.
        classes: that compete.
        step_seconds: of the whole step.
        products_seconds: of its matrix products and attention, each repeated by itself on the same numbers.
        share_of_floor: how much of the step the products would take at the rate of the fastest large one.
        products_share_of_floor: the same of the products alone: what a step of nothing else would reach.
    """

    method: str
    classes: int
    step_seconds: float
    products_seconds: float
    share_of_floor: float
    products_share_of_floor: float


class _Recorder(TorchDispatchMode):
    """Keeps every product of a computation, with what went in."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], object]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in PRODUCTS or name.startswith(ATTENTION):
            self.calls.append(partial(func, *args, **(kwargs or {})))
        return func(*args, **(kwargs or {}))


def products(step: Callable[[], object]) -> list[Callable[[], object]]:
    """Return the matrix products and attentions of a computation, each to be repeated."""
    with _Recorder() as recorder, torch.enable_grad():
        step()
    return recorder.calls


def measure_products(backbone: ClipBackbone, method: str, classes: int, repeat: int = 5) -> Products:
    """Time a step of a method that reads cached features, and each of its products alone."""
    torch.manual_seed(0)
    batch = BATCH.get(method, 32)
    model = built(method, backbone, names(classes))
    images, labels = torch.randn(batch, 3, *backbone.image_size), torch.arange(batch) % classes
    features = F.normalize(backbone.encode_images(images), dim=-1)

    def step() -> Tensor:
        return exact_step(model, images, features, labels)

    step()
    whole = min(seconds(step) for _ in range(3 * repeat))
    with torch.no_grad():
        alone = sum(min(seconds(call) for _ in range(repeat)) for call in products(step))
    floor = flops(step) / peak_flops()
    return Products(method, classes, whole, alone, floor / whole, floor / alone)
