"""Pieces of text follow the memory of the GPU; on the CPU they do not depend on the machine."""

import pytest
import torch

from benchmarks.speed.launches import GPU, small_backbone
from benchmarks.speed.pretended_gpu import pretended_gpu
from lamm_cl.clip.text_tower import GPU_SHARE, KEPT_BYTES, PIECE_BYTES


@pytest.mark.parametrize("free", [1 << 36, 1 << 24])
def test_text_pieces_follow_the_free_memory(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    here = small_backbone(2).text
    with pretended_gpu():
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 1 << 36))
        tower = small_backbone(2).to(GPU).text
        layout = tower.layout([[1, 2, 3]] * 500)
        chunk = tower._chunk(layout, layout.widest)
        assert tower._bytes() == (free // GPU_SHARE, free // GPU_SHARE)
        if free == 1 << 36:
            assert chunk is None
        else:
            assert chunk is not None
            assert 1 < chunk < 500
            whole = tower.encode(layout)
            tower.chunk = 0
            assert torch.allclose(tower.encode(layout), whole, atol=1e-5)
    assert here._bytes() == (KEPT_BYTES, PIECE_BYTES)
