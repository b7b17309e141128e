"""The tensors of a TorchScript archive, read without running its code.

`torch.jit.load` runs what the archive brings (`__setstate__`), and a file of weights from elsewhere may bring anything.
The archive is a zip of a pickle, which names modules, attributes and tensors, and of the tensors' bytes: both can be
read with nothing but stand-ins. OpenAI published its weights in this form.
"""

import math
import pickle
import re
import shlex
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamm_cl.errors import UsageError

_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_MOST_CODE = 64 * 2**20
_CONTENT = re.compile(r"[^/]*/data\.pkl")


def is_torchscript(names: list[str]) -> bool:
    """Return whether a zip with these entries is a TorchScript archive, as torch tells it."""
    return any(name.endswith("constants.pkl") for name in names)


def read_torchscript(file: Path) -> tuple[dict[str, Tensor], bytes]:
    """Return the tensors of an archive by name, as `torch.jit.load(file).state_dict()` names them, and its code.

    Raises:
        UsageError: Loading the archive would run code of its own, or it holds what no weights need.
    """
    with zipfile.ZipFile(file) as archive:
        sources = [info for info in archive.infolist() if "/code/" in info.filename and info.filename.endswith(".py")]
        if sum(info.file_size for info in sources) > _MOST_CODE:
            raise UsageError(f"weights file {file} holds more code than any model has: it is not loaded.")
        code = b"\n".join(archive.read(info) for info in sources)
        if b"def __setstate__" in code:
            raise UsageError(
                f"weights file {file} is a TorchScript archive whose own code would run when it is loaded "
                f"(__setstate__): it is not loaded. {convert(file, 'torch.jit.load')}"
            )
        (root,) = [name.removesuffix("data.pkl") for name in archive.namelist() if _CONTENT.fullmatch(name)]
        with archive.open(f"{root}data.pkl") as content:
            module = _Reader(content, archive, root, file).load()
    if not isinstance(module, _Module):
        raise UsageError(f"weights file {file} is a TorchScript archive without a module: it holds no weights.")
    return dict(_tensors(module, "")), code


# Where checkpoints keep the weights, beside the epoch, the optimizer and what else there is.
WRAPPERS = ("state_dict", "model_state_dict", "model")


def convert(file: Path, load: str, more: str = "") -> str:
    """Return the advice to convert a file that is trusted: a line to run, in which `load(file, ..., more)` reads it."""
    code = (
        f"import sys, torch, safetensors.torch as s; c = {load}(sys.argv[1], map_location='cpu'{more}); "
        f"c = c if hasattr(c, 'state_dict') else next((c[k] for k in {WRAPPERS} if k in c), c); "
        "c = c.state_dict() if hasattr(c, 'state_dict') else c; "
        "s.save_file({k: v.contiguous().clone() for k, v in c.items() if torch.is_tensor(v)}, sys.argv[2])"
    )
    target = file.with_suffix(".safetensors")
    line = f'python -c "{code}" {shlex.quote(str(file))} {shlex.quote(str(target))}'
    return f"Where you trust the file, convert it to safetensors, which holds tensors only, and use that: {line}"


class _Module:
    """Stands for every module of the archive: a holder of attributes."""


def _tensors(module: _Module, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.")


class _Reader(pickle.Unpickler):
    """Builds modules, tensors and plain values, and refuses every other name."""

    def __init__(self, content: Any, archive: zipfile.ZipFile, root: str, file: Path) -> None:
        super().__init__(content)
        self._archive, self._root, self._file = archive, root, file
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a name of the pickle, made anew each time: a pickle may write on what it is given."""
        if module == "__torch__" or module.startswith("__torch__."):
            return type("Module", (_Module,), {})
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *given: self._tensor(*given)
        if (module, name) == ("collections", "OrderedDict"):
            return lambda *given: OrderedDict(*given)
        if (module, name) == ("torch", "device"):
            return lambda *_: None
        if module == "torch.jit._pickle" and (name.startswith("build_") or name == "restore_type_tag"):
            return lambda value, *_: value
        raise UsageError(
            f"weights file {self._file} is a TorchScript archive that names {module}.{name}, which no weights need: it "
            "is not loaded."
        )

    def persistent_load(self, pid: Any) -> Tensor:
        """Return the values of a storage, flat, on the CPU."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(count, int):
            raise pickle.UnpicklingError("a storage is described in an unknown way")
        if key not in self._storages:
            info = self._archive.getinfo(f"{self._root}data/{key}")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != count * dtype.itemsize:
                raise pickle.UnpicklingError(f"tensor {key} is not {count} values of {dtype}")
            data = bytearray(self._archive.read(info))
            self._storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return self._storages[key]

    @staticmethod
    def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
        if math.prod(size) > len(storage):
            raise pickle.UnpicklingError(f"a tensor of {tuple(size)} in a storage of {len(storage)} values")
        return storage.as_strided(tuple(size), tuple(stride), offset)
