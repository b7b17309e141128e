"""Sizes of pieces follow the memory of the GPU and the runs that share it; on the CPU they depend on nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import lamm_cl
from benchmarks.speed.launches import GPU, small_backbone
from benchmarks.speed.pretended_gpu import pretended_gpu
from lamm_cl.clip.room import SHARE, fitting, room, shared
from lamm_cl.clip.text_tower import ACTIVATIONS_PER_TOKEN
from lamm_cl.prompts.matching import Side, Transport

CPU = torch.device("cpu")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def say(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (count, 1 << 36))

    return say


def test_the_runs_of_a_gpu_share_what_is_free(free: Callable[[int], None]) -> None:
    with pretended_gpu(), shared():
        free(1 << 30)
        assert room(CPU) is None
        assert room(GPU) == (1 << 30) // SHARE
        free(1 << 20)
        assert room(GPU) == (1 << 30) // SHARE  # steps of one run have pieces of one size
        with shared(runs=4):
            assert room(GPU) == (1 << 20) // SHARE // 4
        with shared(runs=4, halved=True):
            assert room(GPU) == (1 << 20) // SHARE // 8
            assert fitting(256, 1, GPU) == 128
            assert fitting(256, 1, CPU) == 256
            assert fitting(1, 1 << 40, GPU) == 1
        assert room(GPU) == (1 << 30) // SHARE


def test_sizes_are_fixed_where_bits_are_to_be_repeated(free: Callable[[int], None]) -> None:
    with pretended_gpu(), shared(runs=4):
        free(1 << 20)
        torch.use_deterministic_algorithms(True)
        try:
            assert room(GPU) is None
        finally:
            torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("count", [1 << 36, 1 << 24])
def test_text_pieces_follow_the_free_memory(count: int, free: Callable[[int], None]) -> None:
    with pretended_gpu(), shared(runs=2):
        free(count)
        tower = small_backbone(2).to(GPU).text
        layout = tower.layout([[1, 2, 3]] * 500)
        chunk = tower._chunk(layout, layout.widest)
        bytes_each = layout.widest * tower.layers * ACTIVATIONS_PER_TOKEN * tower.width * 4
        if count == 1 << 36:
            assert chunk is None
        else:
            assert chunk == count // SHARE // 2 // bytes_each
            assert 1 < chunk < 500
            whole = tower.encode(layout)
            tower.chunk = 0
            assert torch.allclose(tower.encode(layout), whole, atol=1e-5)


@pytest.mark.parametrize(("count", "pieces"), [(1 << 36, 1), (1 << 16, 10)])
def test_transport_pieces_follow_the_free_memory(
    count: int, pieces: int, free: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    part, calls = Transport._token_part, []

    def counted(self: Transport, *given: Any) -> Any:
        calls.append(given[-1])
        return part(self, *given)

    monkeypatch.setattr(Transport, "_token_part", counted)

    def term(place: torch.device) -> torch.Tensor:
        generator, unit = torch.Generator().manual_seed(0), torch.nn.functional.normalize
        tokens = [unit(torch.randn(n, 2, length, 8, generator=generator), dim=-1) for n, length in ((4, 9), (10, 6))]
        used = torch.ones(10, 6, dtype=torch.bool)
        sides = [Side(one[:, :, 0].to(place), one.to(place), used.to(place)) for one in tokens]
        return Transport().token_term(*sides).cpu()

    here = term(CPU)
    assert len(calls) == 1
    with pretended_gpu(), shared():
        free(count)
        there = term(GPU)
    assert len(calls) - 1 == pieces
    assert torch.allclose(there, here, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "options", "batches"),
    [("vpt", {}, {8}), ("coop", {}, {16}), ("proof", {}, {32}), ("proof", {"average": "image"}, {16})],
)
def test_evaluation_batches_follow_the_free_memory(
    method: str, options: dict[str, Any], batches: set[int], free: Callable[[int], None]
) -> None:
    """Features take next to nothing, and where a prediction depends on the others of its mini-batch, it keeps them."""
    data = lamm_cl.base_to_novel("digits", shots=1, seed=1)

    def sizes(place: str) -> set[int]:
        backbone = lamm_cl.load_clip("tiny", device=place)
        free(backbone.image.bytes_an_image * 8 * SHARE * 3 * 2)
        strategy = lamm_cl.build_strategy(
            method, backbone, data, device=place, eval_mb_size=32, epochs=1, num_workers=0, **options
        )
        seen: list[int] = []
        output = strategy.model.output
        strategy.model.output = lambda x, *more: (seen.append(len(x)), output(x, *more))[1]  # type: ignore[method-assign]
        strategy.eval(data.test_stream[0])
        assert strategy.eval_mb_size == 32
        return set(seen[:-1])

    with shared(runs=3, halved=True):
        assert sizes("cpu") == {32}
        with pretended_gpu():
            assert sizes("cuda") == batches
