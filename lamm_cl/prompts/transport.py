"""Entropic optimal transport, batched, with the stopping rule of ALIGN's released code."""

import torch
from torch import Tensor

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
