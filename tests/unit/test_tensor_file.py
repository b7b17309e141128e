import random
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from lamm_cl import build_model, load_learner, save_learner
from lamm_cl.errors import UsageError
from lamm_cl.tensor_file import pack, unpack

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2]), "c": torch.empty(0, 3)}


def test_what_is_packed_comes_back_to_the_bit() -> None:
    header, tensors = unpack(pack({"about": "é"}, TENSORS))
    assert header == {"about": "é"}
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    assert {name: value.dtype for name, value in tensors.items()} == {n: v.dtype for n, v in TENSORS.items()}


def test_a_flipped_bit_anywhere_and_a_cut_are_found() -> None:
    data, dice = pack({"about": "text"}, TENSORS), random.Random(3)
    for _ in range(500):
        changed = bytearray(data)
        changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        with pytest.raises(ValueError):  # noqa: PT011 - what is wrong depends on the bit
            unpack(bytes(changed))
    for length in range(len(data)):
        with pytest.raises(ValueError):  # noqa: PT011
            unpack(data[:length])


def test_a_damaged_saved_learner_is_refused_by_name(tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "learned.safetensors"
    model = build_model("coop", tiny, ["zero", "one"], n_ctx=2)
    save_learner(model, path)
    data = path.read_bytes()
    path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    with pytest.raises(UsageError, match=r"learned\.safetensors is damaged .* digest is not that of its content"):
        load_learner(model, path)
    path.write_bytes(safetensors.torch.save(TENSORS))
    with pytest.raises(UsageError, match="no file of a saved learner"):
        load_learner(model, path)
