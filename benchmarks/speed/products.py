"""What a step's products take alone, and with its norms, activations and sums: how near to the floor it can come.

They run in the order of the step, so that frozen weights come from memory as they do there. What else goes in is one
tensor for each shape, which stays in the processor's cache: better than any step has it.
"""

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

FROZEN = "_linear_pointwise"
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", FROZEN, "_scaled_dot_product")
POINTWISE = ("silu", "native_layer_norm", "add")  # forward and backward
ROUNDS = 12


@dataclass(frozen=True)
class Products:
    """One row: a training step on cached features, and parts of it alone, all measured in turn.

    Attributes:
        method: its name.
        classes: that compete.
        step_seconds: of the whole step.
        products_seconds: of its matrix products and attentions.
        needed_seconds: of these and its activations, norms and sums, which no order of the tokens avoids.
        share_of_floor: how much of the step the products would take at the rate of the fastest large one.
        products_share_of_floor: the same of the products: what a step of nothing else would reach.
        needed_share_of_floor: the same of products, activations, norms and sums.
    """

    method: str
    classes: int
    step_seconds: float
    products_seconds: float
    needed_seconds: float
    share_of_floor: float
    products_share_of_floor: float
    needed_share_of_floor: float


class _Recorder(TorchDispatchMode):
    """Keeps the operators of a computation whose names begin in one of some ways, with inputs of the same shapes."""

    def __init__(self, beginnings: tuple[str, ...]) -> None:
        super().__init__()
        self._beginnings = beginnings
        self._known: dict[object, Tensor] = {}
        self.calls: list[Callable[[], object]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name.startswith(self._beginnings):
            taken = (self._input(name, place, x) if isinstance(x, Tensor) else x for place, x in enumerate(args))
            self.calls.append(partial(func, *taken, **(kwargs or {})))
        return func(*args, **(kwargs or {}))

    def _input(self, name: str, place: int, x: Tensor) -> Tensor:
        """Return the first tensor that had this place and shape; a frozen weight, and its bias, is always its own."""
        if place and name == FROZEN:
            return x
        return self._known.setdefault((name, place, x.shape, x.stride()), x)


def recorded(step: Callable[[], object], beginnings: tuple[str, ...]) -> Callable[[], None]:
    """Return what repeats some operators of a computation, one after the other, on the same numbers."""
    with _Recorder(beginnings) as recorder, torch.enable_grad():
        step()

    @torch.no_grad()
    def again() -> None:
        for call in recorder.calls:
            call()

    return again


def measure_products(backbone: ClipBackbone, method: str, classes: int, rounds: int = ROUNDS) -> Products:
    """Time a step of a method that reads cached features, and its parts, in turn; the best of each counts."""
    torch.manual_seed(0)
    batch = BATCH.get(method, 32)
    model = built(method, backbone, names(classes))
    images, labels = torch.randn(batch, 3, *backbone.image_size), torch.arange(batch) % classes
    features = F.normalize(backbone.encode_images(images), dim=-1)

    def step() -> Tensor:
        return exact_step(model, images, features, labels)

    step()
    timed = (step, recorded(step, PRODUCTS), recorded(step, PRODUCTS + POINTWISE))
    took = [(*(seconds(call) for call in timed), flops(step) / peak_flops(repeat=1)) for _ in range(rounds)]
    whole, products, needed, floor = (min(times) for times in zip(*took, strict=True))
    return Products(method, classes, whole, products, needed, floor / whole, floor / products, floor / needed)
