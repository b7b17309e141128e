"""How an image and a class are compared: cosine of one feature each, or transport between several."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.clip.precision import at_least_float, lasting
from lamm_cl.clip.room import room

LARGEST = 1 << 21  # similarities held at once by the token-level transport: more would leave a processor's cache
COPIES = 6  # of similarities that it holds at once: themselves, kernel, plan, and what is made on the way

A_LOOK = 10  # iterations on a GPU from one look to the next


@torch.no_grad()
def sinkhorn(kernel: Tensor, rows: Tensor, columns: Tensor, max_iter: int = 100, thresh: float = 1e-2) -> Tensor:
    """Scale positive matrices to given marginals (Cuturi 2013), all problems of a group stopping together.

    A group stops when the mean change of its row scalings falls below `thresh`; groups stop independently, and those
    that are done leave the computation. A group whose plan holds a NaN returns its kernel, as the released code does.

    Args:
        kernel: (G, p, m, k) exp(-cost / eps); G groups of p problems. Unused columns hold 0.
        rows: (G, p, m) row marginals.
        columns: (G, p, k) column marginals; 0 in unused columns.
        max_iter: most iterations.
        thresh: see above.

    Returns:
        (G, p, m, k) plans.
    """
    scale = _iterate if kernel.is_cuda else _iterate_shrinking
    row_scale, column_scale = scale(kernel, rows, columns, max_iter, thresh)
    plan = torch.mul(row_scale.unsqueeze(-1), column_scale.unsqueeze(-2), out=torch.empty_like(kernel)).mul_(kernel)
    broken = torch.isnan(plan.sum((1, 2, 3)))  # nothing in a plan is negative: a sum is NaN only where an entry is
    if kernel.is_cuda or bool(broken.any()):
        return torch.where(broken[:, None, None, None], kernel, plan)
    return plan


def _update(k: Tensor, u: Tensor, v: Tensor, c: Tensor, unused: Tensor) -> tuple[Tensor, Tensor]:
    """One iteration: new row and column scalings; `unused` is 1 in unused columns, where the kernel is 0, else 0."""
    # A row times a matrix is several times faster than a matrix times a column, for thousands of small ones.
    r = u / torch.matmul(c.unsqueeze(-2), k.transpose(-2, -1)).squeeze(-2)
    return r, v / (torch.matmul(r.unsqueeze(-2), k).squeeze(-2) + unused)


def _iterate(k: Tensor, u: Tensor, v: Tensor, max_iter: int, thresh: float) -> tuple[Tensor, Tensor]:
    """Iterate all groups together, and look every few iterations at which of them each group has stopped.

    A look waits for the device, and an iteration starts several operations there.
    """
    unused = (v <= 0).to(k.dtype)
    r, c = torch.ones_like(u), torch.ones_like(v)
    stopped_at, going = r, torch.ones(len(k), dtype=torch.bool, device=k.device)
    for first in range(0, max_iter, A_LOOK):
        rows = [r]
        for _ in range(min(A_LOOK, max_iter - first)):
            r, c = _update(k, u, v, c, unused)
            rows.append(r)
        every = torch.stack(rows)
        below = (every[1:] - every[:-1]).abs().flatten(2).mean(2) < thresh  # (iterations, G)
        stops = below.any(0)
        which = torch.where(stops, below.int().argmax(0), len(rows) - 2)
        reached = every[1:].take_along_dim(which[None, :, None, None], 0)[0]
        stopped_at = torch.where(going[:, None, None], reached, stopped_at)
        going = going & ~stops
        if not bool(going.any()):
            break
    return stopped_at, v / (torch.matmul(stopped_at.unsqueeze(-2), k).squeeze(-2) + unused)


def _iterate_shrinking(k: Tensor, u: Tensor, v: Tensor, max_iter: int, thresh: float) -> tuple[Tensor, Tensor]:
    """Iterate, and take groups that have stopped out of the computation."""
    row_scale, column_scale = torch.ones_like(u), torch.ones_like(v)
    active, r, c, unused = torch.arange(len(k)), row_scale, column_scale, (v <= 0).to(k.dtype)
    for _ in range(max_iter):
        before = r
        r, c = _update(k, u, v, c, unused)
        going = ~((r - before).abs().flatten(1).mean(1) < thresh)
        if not bool(going.all()):
            row_scale[active[~going]], column_scale[active[~going]] = r[~going], c[~going]
            active = active[going]
            k, u, v, r, c, unused = (each[going] for each in (k, u, v, r, c, unused))
        if len(active) == 0:
            return row_scale, column_scale
    row_scale[active], column_scale[active] = r, c
    return row_scale, column_scale


@dataclass(frozen=True)
class Side:
    """What one tower says, normalised."""

    features: Tensor  # images (batch, v, E); classes (n, v, E), or (batch, n, v, E) where they depend on the image
    tokens: Tensor | None = None  # (batch or n, v, L, E) of single tokens, without gradient, where the matching asks
    used: Tensor | None = None  # (n, L) which tokens of a class's prompts take part
    shared: int = 0  # first tokens that are the same for every class


def averaged(features: Tensor, counts: Sequence[int] | None) -> Tensor:
    """Return the mean (n, 1, E) over a class's prompts, normalised, of normalised features (n, v, E).

    Of the v as many are each class's own as `counts` says, the first ones; None: all.
    """
    if counts is None:
        return F.normalize(features.mean(1, keepdim=True), dim=-1)
    own = _own(tuple(counts), features.shape[1], features.device, features.dtype)
    return F.normalize((features * own).sum(1, keepdim=True), dim=-1)


@lru_cache(maxsize=16)
def _own(counts: tuple[int, ...], most: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return 1 for the prompts (n, most, 1) that are a class's own, else 0; kept, for a copy waits for a GPU."""
    with lasting():
        own = torch.arange(most) < torch.tensor(counts)[:, None]
        return own.to(device, dtype)[:, :, None]


class Cosine:
    """Cosine similarity of the image's feature and each class's (Radford et al. 2021)."""

    tokens = False
    looks = False

    def __call__(self, image: Side, text: Side) -> Tensor:
        """Return similarities (batch, n)."""
        pictures = image.features[:, 0]
        if text.features.dim() == 4:
            return torch.einsum("bd,bnd->bn", pictures, text.features[:, :, 0])
        return pictures @ text.features[:, 0].t()


class Transport:
    """Prompt-level optimal transport, its cost shaped by token-level transport (ALIGN, Wang et al. 2023).

    Args:
        hierarchical: whether the token level takes part.
        eps: entropic regularisation.
        max_iter: most Sinkhorn iterations.
        thresh: Sinkhorn stops when the mean change of the row scalings falls below it.
        sign: "released": the token level enters the cost as a similarity, as the released code has it; "paper": as the
            transport distance of the paper's equation 6.
    """

    looks = True  # at its values on the way, to stop early

    def __init__(
        self,
        hierarchical: bool = True,
        eps: float = 0.1,
        max_iter: int = 100,
        thresh: float = 1e-2,
        sign: Literal["released", "paper"] = "released",
    ) -> None:
        self.tokens = hierarchical
        self.eps, self.max_iter, self.thresh, self.sign = eps, max_iter, thresh, sign

    def __call__(self, image: Side, text: Side) -> Tensor:
        """Return the transported similarities (batch, n); the plans carry no gradient."""
        similarity = torch.einsum("bvd,nwd->bnvw", image.features, text.features)
        plan = self.plan(similarity.detach(), self.token_term(image, text) if self.tokens else None)
        return (plan * similarity).sum((2, 3))

    @torch.no_grad()
    def plan(self, similarity: Tensor, token_term: Tensor | None) -> Tensor:
        """Return the prompt-level plans (batch, n, v, w); all of a batch stop together, as in the released code."""
        # float32 even where all else is float16: the scalings, about 1 / kernel, soon overflow there.
        cost = 1 - at_least_float(similarity)
        cost = cost if token_term is None else cost + token_term
        kernel = torch.exp(-cost / self.eps).flatten(0, 1)[None]
        rows = torch.full_like(kernel[..., 0], 1 / kernel.shape[-2])
        columns = torch.full_like(kernel[..., 0, :], 1 / kernel.shape[-1])
        return sinkhorn(kernel, rows, columns, self.max_iter, self.thresh)[0].view_as(similarity).to(similarity.dtype)

    @torch.no_grad()
    def token_term(self, image: Side, text: Side) -> Tensor:
        """Return what the token level adds to the cost of each pair of prompts (batch, n, v, w)."""
        assert image.tokens is not None
        assert text.tokens is not None
        assert text.used is not None
        batch, v, patches, _ = image.tokens.shape
        _, w, length, _ = text.tokens.shape
        found = room(image.tokens.device)
        largest = LARGEST if found is None else found // (COPIES * 4)
        step = max(1, largest // (batch * v * w * patches * length))
        pieces = zip(torch.split(text.tokens, step), torch.split(text.used, step), strict=True)
        return torch.cat([self._token_part(image.tokens, *piece, text.shared) for piece in pieces], 1)

    def _token_part(self, images: Tensor, tokens: Tensor, used: Tensor, shared: int) -> Tensor:
        batch, v, patches, _ = images.shape
        n, w, length, _ = tokens.shape
        similarity = at_least_float(self._similarity(images, tokens, shared))
        similarity = similarity.reshape(-1, v * w, length, patches).transpose(2, 3)
        weight = used.to(similarity.dtype).expand(batch, -1, -1).reshape(batch * n, 1, length).expand(-1, v * w, -1)
        kernel = (similarity - 1).div_(self.eps).exp_().mul_(weight.unsqueeze(2))
        rows = torch.full_like(similarity[..., 0], 1 / patches)
        plan = sinkhorn(kernel, rows, weight / weight.sum(-1, keepdim=True), self.max_iter, self.thresh)
        gained = similarity.mul_(plan).sum((2, 3))
        term = gained if self.sign == "released" else plan.sum((2, 3)) - gained
        return term.view(batch, n, v, w)

    @staticmethod
    def _similarity(patches: Tensor, tokens: Tensor, shared: int) -> Tensor:
        """Compare patches (batch, v, P, E) with tokens (n, w, L, E): (batch, n, v, w, L, P).

        The first `shared` tokens are the same for every class and compared once. Patches are innermost in memory, since
        a prompt has ten tokens and an image two hundred.
        """
        first = torch.einsum("wkd,bvpd->bvwkp", tokens[0, :, :shared], patches)
        rest = torch.einsum("nwkd,bvpd->bnvwkp", tokens[:, :, shared:], patches)
        return torch.cat([first[:, None].expand(-1, len(tokens), -1, -1, -1, -1), rest], 4)
