"""Frozen linear maps, computed from weights that were laid out for the processor once.

A frozen weight is multiplied thousands of times, always the same. oneDNN, the library that torch uses for convolutions
on processors, can store such a weight in the order in which its kernel reads it: the same product, 10 to 40 % sooner
than the general one, which lays the weight out again in every call.
"""

import platform
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.clip.precision import lasting, number_type

SMALLEST = 1 << 17  # values of a weight below which a call costs more than it saves
LARGEST = 1 << 22  # values above which a copy in another order would take too much memory (of a ViT-H: gigabytes)
ROWS = 512  # rows for which a weight is laid out; other numbers of rows are as fast
Read = Callable[[], tuple[Tensor, Tensor | None]]
T = TypeVar("T")


class Derived(Generic[T]):
    """What is made of frozen weights, anew when they are not what they were. No module has it, so nothing saves it."""

    def __init__(self) -> None:
        # With the tensors themselves: while they are held, no other ones can take their addresses.
        self._known: tuple[tuple[object, ...], object, T] | None = None

    def of(self, *weights: Tensor | None, make: Callable[[], T], kind: object = None) -> T:
        """Return what `make` makes of these weights, from memory where they, and its kind, are still the same."""
        state = (kind, *state_of(*weights))
        if self._known is None or self._known[0] != state:
            with lasting(), torch.no_grad():
                self._known = (state, weights, make())
        return self._known[2]


class Rounded:
    """A frozen weight and its bias in the type that autocast computes in, which would cast them anew in every call.

    `read` gives them, the bias or None, as they are at the moment.
    """

    def __init__(self, read: Read) -> None:
        self._read, self._rounded = read, Derived[tuple[Tensor, Tensor | None]]()

    def __call__(self) -> tuple[Tensor, Tensor | None]:
        """Return both, rounded where autocast is on."""
        weight, bias = given = self._read()
        kind = number_type(weight.device)
        if kind is None or weight.dtype != torch.float32 or any(x is not None and x.requires_grad for x in given):
            return given
        return self._rounded.of(
            weight, bias, make=lambda: (weight.to(kind), None if bias is None else bias.to(kind)), kind=kind
        )


class FrozenLinear:
    """The map x -> x W^T + b of a weight that does not train; gradients flow to x only.

    `read` gives W (out, in) and b (out,) or None, as they are at the moment; the attribute gives them rounded where
    autocast is on. They are laid out anew whenever they are not the ones that were laid out before.
    """

    def __init__(self, read: Read) -> None:
        self.read = Rounded(read)
        self._laid_out = {"forward": Derived[Tensor](), "backward": Derived[Tensor]()}

    def __call__(self, x: Tensor) -> Tensor:
        """Map x (..., in) to (..., out)."""
        weight, bias = self.read()
        if not _pays(x, weight):
            return F.linear(x, weight, bias)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return self._product(x, weight, bias, "forward")
        out: Tensor = _Product.apply(x, self, weight, bias)
        return out

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None, way: str) -> Tensor:
        """Multiply in one direction: "forward", or "backward" by the transpose."""
        matrix = weight.detach() if way == "forward" else weight.detach().t()
        if matrix.numel() > LARGEST:  # the same kernel reads it as it lies, a little slower
            return _multiply(x, matrix, bias)
        laid_out = self._laid_out[way].of(
            matrix, make=lambda: torch.ops.mkldnn._reorder_linear_weight(matrix.contiguous(), ROWS)
        )
        return _multiply(x, laid_out, bias)


class _Product(torch.autograd.Function):
    """The product with its gradient: the one other product, with the transposed weight."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, linear: FrozenLinear, *frozen: Tensor) -> Tensor:
        weight, bias = frozen
        ctx.linear, ctx.weight = linear, weight  # type: ignore[attr-defined]
        return linear._product(x, weight, bias, "forward")

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        linear, weight = ctx.linear, ctx.weight  # type: ignore[attr-defined]
        if torch.is_grad_enabled():  # somebody will differentiate this again
            return grads[0] @ weight, None, None, None
        return linear._product(grads[0], weight, None, "backward"), None, None, None


def mixed(shares: Tensor, rows: Tensor, bias: Tensor) -> Tensor:
    """Return shares (n, m) of rows (m, out) and a bias (out,), summed (n, out), with gradients of all three.

    oneDNN's product is the faster one here too, most of all where m is no multiple of 16.
    """
    if not _suits(shares, rows):
        return torch.addmm(bias, shares, rows)
    found: Tensor = _Mixture.apply(shares, rows, bias)
    return found


class _Mixture(torch.autograd.Function):
    """The sum of rows with its gradients, each a product of its own."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, shares: Tensor, rows: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(shares, rows)
        return _multiply(shares, rows.t().contiguous(), bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shares, rows = ctx.saved_tensors  # type: ignore[attr-defined]
        return _multiply(grad, rows.contiguous(), None), shares.t() @ grad, grad.sum(0)


def _multiply(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """Return x (n, in) times a matrix (out, in), laid out or contiguous, by oneDNN's product."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), matrix, bias, "none", [], "")
    return out


def state_of(*weights: Tensor | None) -> tuple[object, ...]:
    """Return what changes whenever one of the weights is replaced, moved, converted or written to."""
    return tuple(None if w is None else (w.data_ptr(), writes(w), w.dtype, w.device, w.shape) for w in weights)


def writes(weight: Tensor) -> int:
    """Return how often a weight was written to (torch does not count that of tensors born in inference mode)."""
    return 0 if weight.is_inference() else weight._version


def _available() -> bool:
    """Tell whether this build of torch has the two operators, which it keeps for its own compiler."""
    operators = getattr(torch.ops, "mkldnn", None)
    found = all(hasattr(operators, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))
    built: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return found and built and platform.machine() in ("x86_64", "AMD64")


AVAILABLE = _available()


def _pays(x: Tensor, weight: Tensor) -> bool:
    """Tell whether the laid-out product is to be had and is the faster one."""
    return weight.numel() >= SMALLEST and x.numel() > x.shape[-1] and _suits(x, weight)


def _suits(x: Tensor, weight: Tensor) -> bool:
    """Tell whether oneDNN's product takes them."""
    floats = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return AVAILABLE and x.device.type == "cpu" and floats
