"""The pretended GPU computes as the processor does, refuses what a GPU refuses, and counts what it would do."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from benchmarks.speed.pretended_gpu import pretended_gpu


def test_tensors_say_where_they_would_lie() -> None:
    with pretended_gpu():
        x = torch.ones(2, 3, device="cuda")
        views = (x, x.t(), x[0], x + 1, x.to("cuda:0"), torch.zeros_like(x), x.new_zeros(4))
        assert all(one.is_cuda and one.device == torch.device("cuda", 0) for one in views)
        assert x.cpu().is_cpu
        assert torch.ones(2).is_cpu
    assert x.is_cpu  # and outside it is what it is


def test_two_devices_do_not_mix() -> None:
    with pretended_gpu():
        x, y = torch.ones(3, device="cuda"), torch.ones(3)
        with pytest.raises(RuntimeError, match="two devices"):
            x + y
        with pytest.raises(RuntimeError, match="two devices"):
            torch.cat([x, y])
        assert (x + torch.tensor(2.0)).is_cuda  # a number goes along with the launch


def test_waits_and_copies_are_counted() -> None:
    with pretended_gpu() as seen:
        x = torch.ones(3, device="cuda")
        assert not seen.waits
        float(x.sum()), x.nonzero(), x[x > 0], x.tolist(), torch.cuda.synchronize()
        assert seen.waits.total() == 5
        assert not seen.copies
        torch.ones(3).to("cuda"), x.cpu(), x[torch.tensor([0, 1])]
        assert seen.copies.total() == 3


def test_launches_are_counted_forward_backward_and_in_the_optimizer() -> None:
    with pretended_gpu() as seen:
        linear = nn.Linear(4, 2).to("cuda")
        x = torch.ones(3, 4, device="cuda")
        optimizer = torch.optim.SGD(linear.parameters(), lr=0.1, momentum=0.9, fused=True)
        seen.clear()
        x.view(4, 3).t()[1:]  # views
        assert seen.launches == 0
        loss = linear(x).sum()
        assert dict(seen.launched) == {"addmm": 1, "sum": 1}
        loss.backward()
        assert {"mm", "ones_like"} <= set(seen.launched)
        optimizer.step()
        assert seen.launched["_fused_sgd_"] == 1


def test_what_is_computed_again_is_counted_again() -> None:
    with pretended_gpu() as seen:
        x = torch.ones(3, device="cuda", requires_grad=True)
        checkpoint(torch.exp, x, use_reentrant=False).sum().backward()
        assert seen.launched["exp"] == 2
        assert x.grad is not None
        assert x.grad.is_cuda


def test_the_numbers_are_those_of_the_processor() -> None:
    def compute(device: str) -> torch.Tensor:
        x = torch.linspace(-1, 1, 12).view(3, 4).to(device).requires_grad_()
        with torch.autocast(device, dtype=torch.bfloat16):
            (x @ x.t()).softmax(1).float().pow(2).sum().backward()
        assert x.grad is not None
        return x.grad.cpu()

    here = compute("cpu")
    with pretended_gpu():
        there = compute("cuda")
    assert torch.equal(here, there)


def test_it_lies_outside_the_package() -> None:
    import lamm_cl

    assert not list(Path(lamm_cl.__file__).parent.rglob("pretended*"))
