"""Low-rank deltas of frozen matrices: W + s B A for one call, W itself untouched (LoRA, Hu et al. 2022)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.seeds import seed_for

# The matrices of a layer: queries, keys, values, attention's output, and the two of the feed-forward part.
MATRICES = ("q", "k", "v", "o", "c_fc", "c_proj")


@dataclass(frozen=True)
class LowRank:
    """The delta s B A of one matrix (out, in)."""

    a: Tensor  # (r, in)
    b: Tensor  # (out, r)
    scale: float
    rate: float = 0.0  # share of its input that A does not see in a training step
    names: tuple[str | int, ...] = ()  # on which, and on the input's shape, it depends what is dropped

    def dropped(self, x: Tensor) -> Tensor:
        """Return `x` as A sees it: some values zero, the others unchanged, for which `factor` makes up."""
        if not self.rate:
            return x
        generator = torch.Generator(x.device).manual_seed(seed_for("dropout", *self.names))
        return x.masked_fill(torch.rand(x.shape, generator=generator, device=x.device) < self.rate, 0)

    @property
    def factor(self) -> float:
        """Factor of B: s, and what makes up for the values that are dropped."""
        return self.scale / (1 - self.rate)

    def times(self, factor: float) -> "LowRank":
        """Return the delta times a number."""
        return replace(self, scale=self.scale * factor)

    def at(self, names: tuple[str | int, ...]) -> "LowRank":
        """Return the delta with other draws, of which these are further names."""
        return replace(self, names=(*self.names, *names)) if self.rate else self


# The deltas of one layer, by matrix; those of a tower, by layer (counted from 0).
Delta = Mapping[str, LowRank]
Deltas = Mapping[int, Delta]
NONE: Delta = {}
NOWHERE: Deltas = {}
Shapes = Mapping[int, Mapping[str, tuple[int, int]]]


def drops(deltas: Deltas) -> bool:
    """Tell whether something is dropped: then like inputs have unlike outputs."""
    return any(low.rate for delta in deltas.values() for low in delta.values())


def at(delta: Delta, *names: str | int) -> Delta:
    """Return the same delta with draws of its own, for another group of inputs."""
    return {matrix: low.at(names) for matrix, low in delta.items()}


def reduced(x: Tensor, deltas: Collection[LowRank | None]) -> Tensor:
    """Return A x of each delta side by side: (..., in) to (..., sum of ranks)."""
    found = [low for low in deltas if low is not None]
    if not any(low.rate for low in found):
        return F.linear(x, torch.cat([low.a for low in found]).to(x.dtype))
    return torch.cat([F.linear(low.dropped(x), low.a.to(x.dtype)) for low in found], -1)


def raised(deltas: Sequence[LowRank | None], width: int, like: Tensor) -> Tensor:
    """Return the matrix that takes what `reduced` gives to the outputs of matrices (width, in), one below the other.

    That is the s B of each delta, zero elsewhere: (len(deltas) * width, sum of ranks).
    """
    blocks = [like.new_zeros(width, 0) if low is None else low.b * low.factor for low in deltas]
    found: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return found.to(like.dtype)


def plus(out: Tensor, x: Tensor, deltas: Sequence[LowRank | None]) -> Tensor:
    """Add deltas to `out` (..., n * width), the products of n matrices (width, in) with `x` (..., in), side by side."""
    if not any(deltas):
        return out
    up = raised(deltas, out.shape[-1] // len(deltas), out)
    return torch.addmm(out.flatten(0, -2), reduced(x, deltas).flatten(0, -2), up.t()).view_as(out)
