"""TorchScript archives: the tensors that torch itself reads, and nothing that an archive brings is run."""

import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from lamm_cl.clip.load import load_clip
from lamm_cl.clip.torchscript import read_torchscript
from lamm_cl.errors import UsageError
from tests.unit.clip.weight_files import never, torchscript

pytestmark = pytest.mark.usefixtures("no_network")


def by_torch(file: Path) -> dict[str, torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(file, map_location="cpu").state_dict()


@pytest.mark.parametrize("half", [False, True])
def test_tensors_are_those_that_torch_reads(small: Any, tmp_path: Path, half: bool) -> None:
    model = small(seed=3)
    for parameter in model.transformer.parameters() if half else ():  # as in OpenAI's archives
        parameter.data = parameter.data.half()
    file = torchscript(model, tmp_path / "ViT.pt")
    state, code = read_torchscript(file)
    expected = by_torch(file)
    assert set(state) == set(expected)
    for name, tensor in expected.items():
        assert (state[name].dtype, state[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(state[name], tensor)
    assert half == any(tensor.dtype == torch.float16 for tensor in state.values())
    assert b"class Visual" in code


class Shared(torch.nn.Module):
    """Tensors of all kinds: views of one storage, other layouts, other types, empty, of no dimension."""

    def __init__(self) -> None:
        super().__init__()
        whole = torch.arange(24, dtype=torch.float64).reshape(4, 6)
        self.register_buffer("whole", whole)
        self.register_buffer("row", whole[1, 2:])
        self.register_buffer("turned", whole.t())
        self.register_buffer("scalar", torch.tensor(3))
        self.register_buffer("nothing", torch.zeros(0, 3))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("bf16", torch.tensor([1.5, -2.0], dtype=torch.bfloat16))
        self.sizes = [1, 2, 3]
        self.name = "text"
        self.inner = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def test_views_and_types(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Shared()).save(str(tmp_path / "x.pt"))
    state, _ = read_torchscript(tmp_path / "x.pt")
    expected = by_torch(tmp_path / "x.pt")
    assert set(state) == set(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert all(state[name].dtype == expected[name].dtype for name in expected)


VICTIM = "precious data"


class Evil(torch.nn.Module):
    """Overwrites a file when it is loaded."""

    def __init__(self, victim: str) -> None:
        super().__init__()
        self.register_buffer("w", torch.zeros(3))
        self.victim = victim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, str, bool]:
        return (torch.zeros(3), self.victim, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, str, bool]) -> None:
        self.w = torch.from_file(state[1], True, 8, dtype=torch.uint8).zero_().to(torch.float32)
        self.victim = state[1]
        self.training = state[2]


def test_code_of_an_archive_is_never_run(listed: str, tmp_path: Path) -> None:
    victim, file = tmp_path / "victim.txt", tmp_path / "evil.pt"
    victim.write_text(VICTIM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Evil(str(victim))).save(str(file))
    with pytest.raises(UsageError, match=r"evil.pt is a TorchScript archive whose own code would run .*__setstate__"):
        load_clip(listed, file, reach=never)
    assert victim.read_text() == VICTIM
    by_torch(file)
    assert victim.read_text() != VICTIM  # the file does what it is made for


def archive(file: Path, content: bytes, compress: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(file, "w", compress) as made:
        made.writestr("x/data.pkl", content)
        made.writestr("x/version", "3\n")
        made.writestr("x/constants.pkl", pickle.dumps(()))
        made.writestr("x/data/0", struct.pack("<2f", 1, 2))
        made.writestr("x/code/__torch__.py", "class M(Module):\n  pass\n")
    return file


@pytest.mark.parametrize("name", ["os system", "builtins eval", "torch load", "torch.jit _load", "torch.nn Linear"])
def test_names_that_no_weights_need_are_refused(listed: str, tmp_path: Path, name: str) -> None:
    module, function = name.split()
    content = b"\x80\x02c" + f"{module}\n{function}\n".encode() + b"X\x04\x00\x00\x00true\x85R."
    file = archive(tmp_path / "named.pt", content)
    with pytest.raises(UsageError, match=rf"names {module}.{function}, which no weights need: it is not loaded"):
        load_clip(listed, file, reach=never)


TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ"
)


@pytest.mark.parametrize(
    ("content", "compress"),
    [
        (b"\x80\x02" + TENSOR + b"K\x00(K\x02t(K\x01t\x89NtR.", zipfile.ZIP_STORED),  # a tensor, but no module
        (b"\x80\x02" + TENSOR + b"K\x00(J\xff\xff\xff\x7ft(K\x00t\x89NtR.", zipfile.ZIP_STORED),  # 8 GB out of 8 bytes
        (b"\x80\x02" + TENSOR + b"K\x01(K\x02t(K\x01t\x89NtR.", zipfile.ZIP_STORED),  # past the end
        (b"\x80\x02" + TENSOR.replace(b"K\x02tQ", b"K\x09tQ") + b"K\x00(K\x02t(K\x01t\x89NtR.", zipfile.ZIP_STORED),
        (b"\x80\x02" + TENSOR + b"K\x00(K\x02t(K\x01t\x89NtR.", zipfile.ZIP_DEFLATED),
        (b"\x80\x02c__torch__\nM\n)\x81}X\x01\x00\x00\x00ah\x00sb.", zipfile.ZIP_STORED),
        (b"", zipfile.ZIP_STORED),
        (b"\x80\x02N.", zipfile.ZIP_STORED),
    ],
)
def test_what_is_no_archive_of_weights(listed: str, tmp_path: Path, content: bytes, compress: int) -> None:
    with pytest.raises(UsageError, match=r"weights file .*odd.pt"):
        load_clip(listed, archive(tmp_path / "odd.pt", content, compress), reach=never)


def test_a_damaged_tensor_is_noticed(small: Any, listed: str, tmp_path: Path) -> None:
    file = torchscript(small(), tmp_path / "ViT.pt")
    with zipfile.ZipFile(file) as made:
        info = next(info for info in made.infolist() if info.filename.endswith("/data/5"))
    data = bytearray(file.read_bytes())
    at = data.index(b"/data/5", info.header_offset) + 600  # behind the padding
    data[at] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(UsageError, match="can't be read"):
        load_clip(listed, file, reach=never)
