"""What cached features depend on, as text: weights, transform, and what computed them."""

import hashlib
import json
import platform
import random
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from lamm_cl.clip.backbone import ClipBackbone

FORMAT = 1
# Raised whenever the towers are computed by other kernels: features differ in the last bits then, and those of older
# versions are not mixed in.
KERNELS = 2
_NAMES = ("backbone", "pretrained")  # for people: the same weights under another name are the same
_PROBES = ((97, 61), (61, 97), (340, 300), (16, 16))
_TIMES = 8  # a transform with a generator of its own is known by its results alone


def describe(backbone: "ClipBackbone", batch_size: int) -> dict[str, Any]:
    """Return what a backbone's features depend on besides image and view, when `batch_size` are encoded at once.

    `transform` is None where the backbone's transform does not do the same each time.
    """
    return {
        "backbone": backbone.name,
        "pretrained": backbone.pretrained,
        "format": FORMAT,
        "weights": backbone.fingerprint,
        "transform": transform_key(backbone.preprocess),
        "engine": engine_of(backbone, batch_size),
    }


def engine_of(backbone: "ClipBackbone", batch_size: int) -> dict[str, Any]:
    """Return what computes a backbone's features: versions, kind of device, settings that change the last bits."""
    engine: dict[str, Any] = {
        "kernels": KERNELS,
        "torch": torch.__version__,
        "device": backbone.device.type,
        "batch_size": batch_size,
        "machine": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "matmul": torch.get_float32_matmul_precision(),
        "attention": _attention(),
    }
    if backbone.device.type == "cuda":
        engine["machine"] = torch.cuda.get_device_name(backbone.device)
        engine["convolutions"] = "tf32" if torch.backends.cudnn.allow_tf32 else "fp32"
        engine["deterministic"] = torch.are_deterministic_algorithms_enabled()
    return engine


def _attention() -> list[str]:
    """List which of torch's kernels for attention may be used: on the CPU too, though the switches say `cuda`."""
    kernels: Any = torch.backends.cuda
    allowed = {
        "flash": kernels.flash_sdp_enabled(),
        "memory-efficient": kernels.mem_efficient_sdp_enabled(),
        "math": kernels.math_sdp_enabled(),
    }
    return [name for name, enabled in allowed.items() if enabled]


def scope_of(about: dict[str, Any]) -> str:
    """Return the digest of what `describe` gave; names don't count."""
    return digest(json.dumps({k: v for k, v in about.items() if k not in _NAMES}, sort_keys=True))


def digest(text: str) -> str:
    """Return the hex digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def same_features(one: "ClipBackbone", other: "ClipBackbone") -> bool:
    """Whether two backbones give the same features of the same picture."""
    same = one is other
    return same or (one.fingerprint == other.fingerprint and same_transform(one.preprocess, other.preprocess))


def same_transform(one: Callable[[Any], Tensor], other: Callable[[Any], Tensor]) -> bool:
    """Whether two transforms make the same tensors of the same pictures, as far as can be told."""
    if one == other:
        return True
    key = transform_key(one)
    return key is not None and key == transform_key(other)


def transform_key(preprocess: Callable[[Any], Tensor]) -> str | None:
    """Return a digest of what a transform says of itself and of what it does to four drawn pictures.

    So a transform of the user's own counts as well, and so does a change in the library that resizes. None where it
    does not do the same each time, draws random numbers, or can't be applied to pictures. Leaves the global generators
    as they were.
    """
    shown = re.sub(r" at 0x[0-9a-f]+", "", repr(preprocess))
    first = hashlib.sha256()
    python, numbers, drawn = random.getstate(), np.random.get_state(), _generators()
    with torch.random.fork_rng(devices=[]):
        try:
            for size in _PROBES:
                once, *again = {_apply(preprocess, *size) for _ in range(_TIMES if max(size) < 100 else 2)}
                if again:
                    return None
                first.update(once)
            if drawn != _generators():
                return None  # it draws numbers: it does the same for most of them, but not for all
        except Exception:  # a transform may fail in any way; then nothing can be said of it
            return None
        finally:
            random.setstate(python)
            np.random.set_state(numbers)
    return digest(shown + first.hexdigest())


def _generators() -> tuple[Any, ...]:
    """Return the states of the global generators, which most random transforms draw from."""
    kind, words, *place = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), kind, np.asarray(words).tobytes(), *place


def _apply(preprocess: Callable[[Any], Tensor], width: int, height: int) -> bytes:
    """Apply a transform to a picture of coloured waves and noise, the same on every machine."""
    y, x = np.mgrid[:height, :width]
    noise = (x * 7919 + y * 104729 + (x * y) % 251 * 31) % 256
    channels = [(x * 3 + y) % 256, (noise + y * 5) % 256, noise]
    picture = Image.fromarray(np.stack(channels, -1).astype(np.uint8), "RGB")
    return bytes(torch.as_tensor(preprocess(picture)).float().contiguous().numpy().tobytes())
