"""Tensors and text in one safetensors file, with a digest of all that it holds. Nothing is pickled."""

import hashlib
import json
from collections.abc import Mapping

import safetensors
import safetensors.torch
import torch
from torch import Tensor


def pack(header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> bytes:
    """Return the bytes of a file: a header of texts, and tensors by name, on the CPU."""
    return safetensors.torch.save(dict(tensors), {**header, "digest": _digest(header, tensors)})


def unpack(data: bytes) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return header and tensors of a file.

    Raises:
        ValueError: it is damaged, or no file of `pack`.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header: dict[str, str] = dict(json.loads(data[8 : 8 + length])["__metadata__"])
        tensors = safetensors.torch.load(data)
        if header.pop("digest") != _digest(header, tensors):
            raise ValueError("its digest is not that of its content")
    except (LookupError, TypeError, AttributeError, RuntimeError, OverflowError, safetensors.SafetensorError) as error:
        raise ValueError(str(error)) from error
    return header, tensors


def _digest(header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256(json.dumps(dict(header), sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        found.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
