"""Load a backbone by name, with weights from a tag, from a local file, or none."""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from lamm_cl.clip import hub
from lamm_cl.clip.backbone import ClipBackbone
from lamm_cl.clip.library import RANDOM, Network, from_folder_or_hub, from_library
from lamm_cl.clip.precision import PRECISIONS, cast
from lamm_cl.clip.preprocess import RESIZE_MODES, evaluation_transform
from lamm_cl.errors import UsageError, nearest, unknown

LOG = logging.getLogger("lamm_cl")
DEVICES = ("cpu", "cuda", "mps")
EMBEDDED = "tiny"
FOREIGN = ("local-dir:", "hf-hub:")


def load_clip(
    name: str = EMBEDDED,
    pretrained: str | Path | None = None,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    cache_dir: str | Path | None = None,
    *,
    quick_gelu: bool | None = None,
    resize_mode: str | None = None,
    reach: hub.Reach = hub.reachable,
    download: hub.Download | None = None,
) -> ClipBackbone:
    """Load a frozen CLIP.

    Args:
        name: `tiny` (embedded, always there), an architecture of open_clip (`ViT-B-16-quickgelu`; also
            `ViT-B-16-quickgelu/openai`), `local-dir:PATH` or `hf-hub:ORG/NAME` as open_clip writes them.
        pretrained: a tag that open_clip lists, the path of a weights file (safetensors, .pt, OpenAI's
            TorchScript archive), or `random`: weights drawn from a fixed seed. None means `random` too, and says so.
        device: `cpu`, `cuda`, `cuda:1`, `mps`.
        precision: `fp32`, `fp64`, `fp16`, `bf16`: in which type the frozen matrices are kept and used.
        cache_dir: where fetched files are kept; None = the clients' own defaults.
        quick_gelu: which activation the weights of a local file were trained with, where the file doesn't tell.
        resize_mode: how the evaluation transform brings a picture to the tower's size, in open_clip's words:
            `shortest` (resized, the middle cut out), `longest` (resized, the rest filled), `squash` (squeezed whatever
            its shape). None = as the weights were trained. Features are cached apart.
        reach: says whether an address answers; replaced in tests.
        download: fetches a file; replaced in tests.

    Raises:
        UsageError: an unknown name, tag, device, precision or resize mode; a file that is missing or does not fit;
            weights that were trained with the other activation (QuickGELU or GELU); a hub that can't be reached; an
            architecture whose text tower takes no prompts.
    """
    place = check_device(device)
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if resize_mode not in (None, *RESIZE_MODES):
        raise unknown("resize_mode", resize_mode, RESIZE_MODES)
    network = Network(None if cache_dir is None else str(Path(cache_dir).expanduser()), reach, download)
    name, pretrained = split_name(str(name), None if pretrained is None else str(pretrained))
    preprocess: Any = None
    if name == EMBEDDED:
        model, tokenizer, preprocess = _embedded(pretrained)
    elif name.startswith(FOREIGN):
        model, tokenizer = from_folder_or_hub(name, pretrained, network)
    else:
        model, tokenizer = from_library(name, pretrained, quick_gelu, network)
    if resize_mode:
        preprocess = evaluation_transform(model, resize_mode)
    cast(model.to(device=place), PRECISIONS[precision])
    listed = name != EMBEDDED and not name.startswith(FOREIGN)
    shown = pretrained or (RANDOM if listed else "")
    backbone = ClipBackbone(model, tokenizer, preprocess, name=name, pretrained=shown)
    arguments = {
        "name": name,
        "pretrained": pretrained,
        "device": str(place),
        "precision": precision,
        "cache_dir": network.cache,
        "quick_gelu": quick_gelu,
        **({"resize_mode": resize_mode} if resize_mode else {}),
    }
    backbone.source = (load_clip, arguments)
    if not backbone.text.exact:
        LOG.warning(
            "backbone %r: each text is encoded over the whole window: %s. The numbers are right, a step takes longer.",
            name,
            backbone.text.why_plain,
        )
    return backbone


def check_device(device: str | torch.device, kinds: Collection[str] = DEVICES) -> torch.device:
    """Return the device if this machine has it.

    Args:
        device: such as "cpu" or "cuda:1".
        kinds: those that the caller can use.

    Raises:
        UsageError: an unknown kind of device, or one that isn't there.
    """
    kind, _, number = str(device).partition(":")
    if kind not in kinds or (number and not number.isdecimal()):
        raise UsageError(f"{unknown('device', device, kinds)} Others are not supported.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {str(device)!r} is not there: torch finds no CUDA device; use device='cpu'.")
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise UsageError(
            f"device {str(device)!r} is not there: this machine has {torch.cuda.device_count()} CUDA devices."
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' is not there: torch finds none on this machine; use device='cpu'.")
    return torch.device(str(device))


def split_name(name: str, pretrained: str | None) -> tuple[str, str | None]:
    """Return open_clip's name and the weights from what a user may write: `ViT-B/16`, `ViT-B-16/openai`.

    Raises:
        UsageError: no such architecture; names the nearest.
    """
    if name == EMBEDDED or name.startswith(FOREIGN):
        return name, pretrained
    from open_clip import list_models

    known = set(list_models())
    head, _, tag = name.rpartition("/")
    if name.replace("/", "-") in known:
        return name.replace("/", "-"), pretrained
    if head.replace("/", "-") in known:
        if pretrained not in (None, tag):
            raise UsageError(f"backbone {name!r} names the weights {tag!r}, and pretrained={pretrained!r} others.")
        return head.replace("/", "-"), tag
    by_lower = {choice.lower(): choice for choice in (*known, EMBEDDED)}
    guess = by_lower.get(nearest(name, sorted(by_lower)) or "")
    hint = f" Did you mean {guess!r}?" if guess else ""
    raise UsageError(
        f"unknown backbone {name!r}.{hint} It must be 'tiny' or one of the {len(known)} architectures that "
        "`lamm-cl list backbones` shows, e.g. 'ViT-B-16-quickgelu' with pretrained='openai'."
    )


def _embedded(pretrained: str | None) -> tuple[Any, ...]:
    if pretrained:
        raise UsageError(f"backbone 'tiny' has its weights embedded: leave out pretrained={pretrained!r}.")
    from lamm_cl.clip.tiny import load_tiny

    return tuple(load_tiny())
