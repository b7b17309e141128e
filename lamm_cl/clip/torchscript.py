"""The tensors of a TorchScript archive, read without running its code.

`torch.jit.load` runs what the archive brings (`__setstate__`), and a file of weights from elsewhere may bring anything.
But for its code and constants the archive is what `torch.load` reads with `weights_only`, once it has a stand-in for
each module and for what marks types. OpenAI published its weights in this form.
"""

import io
import shlex
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from lamm_cl.errors import UsageError

_MOST_CODE = 64 * 2**20
_TYPES = "torch.jit._pickle."  # functions of this module say of which type a list or a dictionary is


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
        checkpoint = _without_code(archive)
    checkpoint.seek(0)
    names = get_unsafe_globals_in_checkpoint(checkpoint)
    for name in names:
        if not name.startswith(("__torch__.", _TYPES)):
            raise UsageError(
                f"weights file {file} is a TorchScript archive that names {name}, which no weights need: it is not "
                "loaded."
            )
    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (_as_it_is if name.startswith(_TYPES) else type("Module", (_Module,), {}), name) for name in names
    ]
    checkpoint.seek(0)
    with safe_globals(stand_ins):
        module = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if not isinstance(module, _Module):
        raise UsageError(f"weights file {file} is a TorchScript archive without a module: it holds no weights.")
    return dict(_tensors(module, "")), code


def _without_code(archive: zipfile.ZipFile) -> io.BytesIO:
    """Return the part of an archive that `torch.load` reads."""
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as checkpoint:
        for info in archive.infolist():
            if "/code/" not in info.filename and not is_torchscript([info.filename]):
                checkpoint.writestr(info.filename, archive.read(info))
    return found


def _as_it_is(value: Any, *_: Any) -> Any:
    """Return a value of the archive without the type that it is marked with."""
    return value


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
