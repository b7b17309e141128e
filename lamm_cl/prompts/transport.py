"""Entropic optimal transport, batched, with the stopping rule of ALIGN's released code."""

import torch
from torch import Tensor


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


def _update(k: Tensor, u: Tensor, v: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One iteration: new row and column scalings."""
    # A row times a matrix is several times faster than a matrix times a column, for thousands of small ones.
    r = u / torch.matmul(c.unsqueeze(-2), k.transpose(-2, -1)).squeeze(-2)
    reached = torch.matmul(r.unsqueeze(-2), k).squeeze(-2)
    used = v > 0
    return r, torch.where(used, v / torch.where(used, reached, torch.ones_like(reached)), torch.zeros_like(v))


def _iterate(k: Tensor, u: Tensor, v: Tensor, max_iter: int, thresh: float) -> tuple[Tensor, Tensor]:
    """Iterate every group max_iter times and keep a group's scalings once it has stopped: no wait for the device."""
    r, c = torch.ones_like(u), torch.ones_like(v)
    going = torch.ones(len(k), dtype=torch.bool, device=k.device)
    for _ in range(max_iter):
        new_r, new_c = _update(k, u, v, c)
        change = (new_r - r).abs().flatten(1).mean(1)
        r = torch.where(going[:, None, None], new_r, r)
        c = torch.where(going[:, None, None], new_c, c)
        going = going & ~(change < thresh)
    return r, c


def _iterate_shrinking(k: Tensor, u: Tensor, v: Tensor, max_iter: int, thresh: float) -> tuple[Tensor, Tensor]:
    """Iterate, and take groups that have stopped out of the computation."""
    row_scale, column_scale = torch.ones_like(u), torch.ones_like(v)
    active, r, c = torch.arange(len(k)), row_scale, column_scale
    for _ in range(max_iter):
        before = r
        r, c = _update(k, u, v, c)
        going = ~((r - before).abs().flatten(1).mean(1) < thresh)
        if not bool(going.all()):
            row_scale[active[~going]], column_scale[active[~going]] = r[~going], c[~going]
            active = active[going]
            k, u, v, r, c = k[going], u[going], v[going], r[going], c[going]
        if len(active) == 0:
            return row_scale, column_scale
    row_scale[active], column_scale[active] = r, c
    return row_scale, column_scale
