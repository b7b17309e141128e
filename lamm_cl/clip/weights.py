"""Weights from files on this machine: what is in them, whether they fit, and which activation they need."""

import json
import logging
import re
import shlex
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lamm_cl.clip.torchscript import WRAPPERS, convert, is_torchscript, read_torchscript
from lamm_cl.errors import UsageError

LOG = logging.getLogger("lamm_cl")

# Scalars that OpenAI's archives carry beside the weights, and nobody else's do.
OPENAI_SCALARS = ("input_resolution", "context_length", "vocab_size")
SHOWN = 3
# How torch names what it does not unpickle.
_FOREIGN = re.compile(r"Unsupported (?:global: GLOBAL|class) ([\w.]+)")
_PLAIN = re.compile(r"[\w.]+")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Weights:
    """What a weights file holds: tensors by name, on the CPU."""

    file: Path
    state: dict[str, Tensor]
    quick_gelu: bool | None  # whether they were trained with QuickGELU; None where the file doesn't tell
    told_by: str  # how one knows, for messages
    preprocess: dict[str, Any]  # settings of the image transform, where something beside the file gives them


def read_weights(path: str | Path) -> Weights:
    """Read a weights file: safetensors, a PyTorch state dict, or a TorchScript archive as OpenAI's.

    State dicts may lie under a key of `WRAPPERS`, with names that start with `module.`.

    Raises:
        UsageError: no such file, not a weights file, damaged, or one whose loading would run code.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        kind = "is a folder, not a file" if file.is_dir() else "does not exist"
        raise UsageError(f"weights file {file} {kind}: give the path of a .safetensors or .pt file.")
    try:
        state, quick_gelu, told_by = _read(file)
    except UsageError:
        raise
    except Exception as error:  # a damaged file can fail in any of three parsers
        foreign = _FOREIGN.search(str(error))
        if foreign:
            raise UsageError(
                f"weights file {file} can't be read: it holds {foreign[1]} beside tensors, and unpickling "
                f"that could run any code. {convert(file, 'torch.load', ', weights_only=False')}"
            ) from error
        text = _ESCAPES.sub("", str(error)).strip()
        said = f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"[:200]
        raise UsageError(
            f"weights file {file} can't be read ({said}): it must be a safetensors file, a PyTorch "
            "state dict that holds tensors only, or OpenAI's TorchScript archive. Is the download complete?"
        ) from error
    state = _unwrapped(state, file)
    if all(key in state for key in OPENAI_SCALARS):
        quick_gelu, told_by = True, "it has the layout of OpenAI's own files, which are trained with QuickGELU"
    for key in OPENAI_SCALARS:
        state.pop(key, None)
    if quick_gelu is None:
        quick_gelu, told_by = _known_name(file)
    beside = _config_beside(file)
    if quick_gelu is None and "model_cfg" in beside:
        quick_gelu = bool(beside["model_cfg"].get("quick_gelu", False))
        told_by = "open_clip_config.json beside it says so"
    return Weights(file, state, quick_gelu, told_by, dict(beside.get("preprocess_cfg", {})))


def fit(model: nn.Module, weights: Weights, architecture: str, resize: bool = False) -> None:
    """Put `weights` into a `model` of this architecture, all of them.

    With `resize`, open_clip may resize positional embeddings (only weights that open_clip lists need that).

    Raises:
        UsageError: tensors are missing, left over, of other shapes or not finite; the first are named.
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed

    state = convert_state_dict(model, dict(weights.state))
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    for name in {name for name, _ in model.named_buffers()} - model.state_dict().keys():
        state.pop(name, None)  # TorchScript keeps what a module makes itself, such as the causal mask
    for scalar in ("logit_scale", "logit_bias"):
        own = getattr(model, scalar, None)
        if own is not None and scalar in state and state[scalar].numel() == own.numel():
            state[scalar] = state[scalar].reshape(own.shape)
    if resize:
        resize_pos_embed(state, model)
        resize_text_pos_embed(state, model)
    if problems := misfits(model, state):
        raise UsageError(
            f"weights file {weights.file} does not fit {architecture}: {_some(problems)}. {_advice(weights)}"
        )
    infinite = [key for key, x in state.items() if x.is_floating_point() and not torch.isfinite(x).all()]
    if broken := [f"{key} has values that are not finite" for key in infinite]:
        raise UsageError(
            f"weights file {weights.file} fits {architecture}, but holds NaN or infinite numbers: {_some(broken)}. The "
            "file is damaged, or its training diverged: take another one."
        )
    model.load_state_dict(state)


def _some(problems: list[str]) -> str:
    more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return "; ".join(problems[:SHOWN]) + more


def _advice(weights: Weights) -> str:
    """Say what to do about weights that do not fit: their names may only stand under another one."""
    prefix = next((key.partition("visual.")[0] for key in weights.state if "visual." in key), "")
    if not _PLAIN.fullmatch(prefix):
        return "Name the architecture that the weights were trained as."
    code = (
        "import sys, safetensors.torch as s; from lamm_cl.clip.weights import read_weights; "
        f"c, start = read_weights(sys.argv[1]).state, '{prefix}'; "
        "s.save_file({k[len(start):]: v.clone() for k, v in c.items() if k.startswith(start)}, sys.argv[2])"
    )
    target = weights.file.with_suffix(".plain.safetensors")
    line = f'python -c "{code}" {shlex.quote(str(weights.file))} {shlex.quote(str(target))}'
    return (
        f"Its names begin with {prefix!r}, as training frameworks such as Lightning write them: take that away and use "
        f"the result: {line}"
    )


def misfits(model: nn.Module, state: dict[str, Tensor]) -> list[str]:
    """List what keeps `state` from being the weights of `model`: other shapes first, then missing, left over."""
    own = model.state_dict()
    shapes = [
        f"{key} is {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    missing = [f"{key} is missing" for key in own if key not in state]
    extra = [f"{key} is not part of it" for key in state if key not in own]
    return [*shapes, *missing, *extra]


def _read(file: Path) -> tuple[Any, bool | None, str]:
    """Return the content, whether it tells the activation, and how."""
    if _is_safetensors(file):
        from safetensors import safe_open

        with safe_open(file, framework="pt") as opened:
            said = (opened.metadata() or {}).get("quick_gelu")
            state = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (no mapping)
        if said is not None:
            return state, said.lower() in ("1", "true"), "its metadata says so"
        return state, None, ""
    names = zipfile.ZipFile(file).namelist() if zipfile.is_zipfile(file) else []
    if is_torchscript(names):
        state, code = read_torchscript(file)
        if b"QuickGELU" in code:
            return state, True, "its code uses QuickGELU"
        return state, (False if b"GELU" in code else None), "its code uses GELU"
    return torch.load(file, map_location="cpu", weights_only=True), None, ""


def _is_safetensors(file: Path) -> bool:
    """Recognise safetensors by what is inside: a header length, then JSON."""
    with file.open("rb") as opened:
        head = opened.read(9)
    return file.suffix == ".safetensors" or (len(head) == 9 and head[8:9] == b"{" and head[4:8] == bytes(4))


def _unwrapped(content: Any, file: Path) -> dict[str, Tensor]:
    """Find the tensors in a checkpoint and drop what parallel training and compiling put before their names."""
    if isinstance(content, dict):
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), content)
    tensors = isinstance(content, dict) and all(isinstance(v, Tensor) for v in content.values())
    if not tensors or not content:
        raise UsageError(f"weights file {file} holds no state dict (names with tensors), so nothing was loaded.")
    for prefix in ("module.", "_orig_mod."):
        if all(str(key).startswith(prefix) for key in content):
            content = {str(key).removeprefix(prefix): tensor for key, tensor in content.items()}
    return dict(content)


def _known_name(file: Path) -> tuple[bool | None, str]:
    """Look the file up among those that open_clip lists: by its name, or by its place in the hub's cache."""
    from open_clip.pretrained import _PRETRAINED

    hub = [part.removeprefix("models--").replace("--", "/") for part in file.parts if part.startswith("models--")]
    for name, tags in _PRETRAINED.items():
        for tag, settings in tags.items():
            url = settings.get("url", "")
            # OpenAI's names are plain ("RN50.pt"), so anyone may use them; its files are known by their layout.
            by_url = "openaipublic" not in url and url.rsplit("/", 1)[-1] == file.name
            if by_url or (hub and settings.get("hf_hub", "").startswith(hub[-1] + "/")):
                return bool(settings.get("quick_gelu", False)), f"its name is that of {name} {tag}"
    return None, ""


def _config_beside(file: Path) -> dict[str, Any]:
    """Return the open_clip_config.json in the same folder, as the hub's repositories have one."""
    try:
        found = json.loads(file.with_name("open_clip_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def other_name(name: str) -> str | None:
    """Return the same architecture with the other activation, where open_clip has one."""
    from open_clip import list_models

    other = name.removesuffix("-quickgelu") if name.endswith("-quickgelu") else f"{name}-quickgelu"
    return other if other in list_models() else None


def check_activation(name: str, pretrained: str, wanted: bool, needed: bool, why: str) -> None:
    """Refuse weights that were trained with the other activation.

    The architecture computes QuickGELU if `wanted`, the weights were trained with it if `needed`, as `why` says.

    Raises:
        UsageError: the two differ; names the architecture to use instead.
    """
    if wanted == needed:
        return
    words = {True: "QuickGELU", False: "GELU"}
    other = other_name(name)
    instead = f"use the name {other!r}" if other else "use an architecture with that activation"
    raise UsageError(
        f"QuickGELU mismatch: the weights {pretrained!r} were trained with {words[needed]} ({why}), and {name!r} "
        f"computes {words[wanted]}; the features would be wrong. Instead, {instead}."
    )


def check_file_activation(name: str, wanted: bool, weights: Weights, said: bool | None) -> None:
    """Check a file's activation against the architecture's and what the user `said` of the file, if anything.

    Where nothing tells and both kinds exist, log what was assumed.

    Raises:
        UsageError: architecture, file and user don't agree.
    """
    known, why = weights.quick_gelu, weights.told_by
    if said is not None and known is not None and said != known:
        raise UsageError(f"quick_gelu={said} contradicts the file {weights.file}: {why}.")
    if known is None and said is not None:
        known, why = said, f"quick_gelu={said} was given"
    if known is not None:
        check_activation(name, str(weights.file), wanted, known, why)
    elif not wanted and other_name(name):
        LOG.warning(
            "%s does not tell which activation its weights were trained with; %r computes GELU. Weights of OpenAI, "
            "DFN and MetaCLIP need %r. Give quick_gelu=False if GELU is right.",
            weights.file,
            name,
            other_name(name),
        )
