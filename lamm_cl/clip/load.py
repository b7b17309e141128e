"""Load a backbone that open_clip describes: by name, in a folder, or in a repository of the hub."""

import contextlib
import logging
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lamm_cl.clip import hub
from lamm_cl.clip.backbone import ClipBackbone
from lamm_cl.clip.families import EMBEDDED, FAMILIES, FOREIGN, require_text, split_name
from lamm_cl.clip.image_tower import RESIZE_MODES, evaluation_transform
from lamm_cl.clip.precision import PRECISIONS, cast
from lamm_cl.clip.tiny import load_tiny
from lamm_cl.clip.weights import Weights, check_activation, check_file_activation, fit, other_name, read_weights
from lamm_cl.errors import UsageError, unknown
from lamm_cl.seeds import seed_for

LOG = logging.getLogger("lamm_cl")
DEVICES = ("cpu", "cuda", "mps")
RANDOM = "random"
# Endings on which a `pretrained` is taken to be a file.
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


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
    from open_clip import list_models

    network = hub.Network(None if cache_dir is None else str(Path(cache_dir).expanduser()), reach, download)
    name, pretrained = split_name(str(name), None if pretrained is None else str(pretrained), list_models)
    preprocess: Any = None
    if name == EMBEDDED:
        if pretrained:
            raise UsageError(f"backbone 'tiny' has its weights embedded: leave out pretrained={pretrained!r}.")
        model, tokenizer, preprocess = load_tiny()
    elif name.startswith(FOREIGN):
        model, tokenizer = from_folder_or_hub(name, pretrained, network)
    else:
        model, tokenizer = from_library(name, pretrained, quick_gelu, network)
    if resize_mode:
        preprocess = evaluation_transform(model, resize_mode)
    cast(model.to(device=place), PRECISIONS[precision])
    drawn = not pretrained and name != EMBEDDED and not name.startswith(FOREIGN)
    backbone = ClipBackbone(model, tokenizer, preprocess, name=name, pretrained=RANDOM if drawn else pretrained)
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
    """Return the device, such as "cpu" or "cuda:1", if this machine has it and the caller can use its kind.

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


def from_library(
    name: str, pretrained: str | None, quick_gelu: bool | None, network: hub.Network
) -> tuple[nn.Module, Any]:
    """Return model and tokenizer of an architecture that open_clip lists, on the CPU in float32; see `load_clip`."""
    from open_clip import get_model_config

    config = get_model_config(name)
    _refuse_early(name, config)
    weights, settings = _weights(name, pretrained, bool(config.get("quick_gelu", False)), quick_gelu, network)
    tokenizer = tokenizer_of(name, network)
    model = _build(name, settings)
    if weights is not None:
        fit(model, weights, name, resize=_is_tag(name, pretrained))
    return model, tokenizer


def _weights(
    name: str, pretrained: str | None, wanted: bool, said: bool | None, network: hub.Network
) -> tuple[Weights | None, dict[str, Any]]:
    """Return the weights to use (None: random ones) and the image settings that go with them."""
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    if not pretrained or pretrained == RANDOM:
        if not pretrained:
            LOG.warning("backbone %r has random weights: no pretrained=... was given.", name)
        return None, _shared_settings(name)
    if _is_tag(name, pretrained) or _is_tag(other_name(name), pretrained):
        settings = get_pretrained_cfg(name, pretrained)
        needed = bool(settings.get("quick_gelu", False)) if settings else not wanted
        check_activation(name, pretrained, wanted, needed, "open_clip lists them so")
        file = hub.pretrained_file(name, pretrained, network)
        return read_weights(file), settings
    looks_like_file = pretrained.endswith(SUFFIXES) or "/" in pretrained or "\\" in pretrained
    if not looks_like_file and not Path(pretrained).exists():
        tags = [*list_pretrained_tags_by_model(name), RANDOM]
        raise unknown(f"pretrained weights of {name!r} (nor is there a file)", pretrained, tags)
    weights = read_weights(pretrained)
    check_file_activation(name, wanted, weights, said)
    return weights, _shared_settings(name) | weights.preprocess


def _is_tag(name: str | None, pretrained: str | None) -> bool:
    from open_clip.pretrained import is_pretrained_cfg

    return bool(name and pretrained) and bool(is_pretrained_cfg(name, pretrained))


def from_folder_or_hub(name: str, pretrained: str | None, network: hub.Network) -> tuple[nn.Module, Any]:
    """Return model and tokenizer of what brings its own configuration, as open_clip reads it: of `FOREIGN`."""
    import open_clip

    kind, _, where = name.partition(":")
    if pretrained:
        raise UsageError(f"{name!r} brings its own weights: leave out pretrained={pretrained!r}.")
    if kind == "local-dir" and not (Path(where).expanduser() / "open_clip_config.json").is_file():
        raise UsageError(f"{name!r}: there is no folder {where} with an open_clip_config.json in it.")
    if kind == "hf-hub":
        advice = "Fetch the repository where there is a network and use 'local-dir:PATH'."
        _ask_unless_here(where, "open_clip_config.json", f"the files of {where!r}", advice, network)
    try:
        _refuse_early(name, open_clip.get_model_config(name))
        with quiet():
            model = open_clip.create_model(name, cache_dir=network.cache, require_pretrained=True)
            return model, open_clip.get_tokenizer(name, cache_dir=network.cache)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"backbone {name!r} could not be loaded ({hub.reason(error)}).") from error


def tokenizer_of(name: str, network: hub.Network) -> Any:
    """Return the tokenizer of an architecture; UsageError where files or the package are missing that some need."""
    import open_clip

    if repository := open_clip.get_model_config(name)["text_cfg"].get("hf_tokenizer_name"):
        advice = f"Copy the cache of a machine that has used {repository!r} and set HF_HOME."
        what = f"the tokenizer's files of {name!r}"
        _ask_unless_here(repository, "tokenizer_config.json", what, advice, network)
    try:
        with quiet():
            return open_clip.get_tokenizer(name, cache_dir=network.cache)
    except Exception as error:
        raise UsageError(
            f"the tokenizer of {name!r} could not be made ({hub.reason(error)}). It is one of Hugging Face: "
            "`pip install transformers sentencepiece` and its files are needed."
        ) from error


def _ask_unless_here(repository: str, file: str, what: str, advice: str, network: hub.Network) -> None:
    """Ask the hub before its client does, unless `file` of `repository` is in the cache."""
    from huggingface_hub import try_to_load_from_cache

    if not isinstance(try_to_load_from_cache(repository, file, cache_dir=network.cache), str):
        hub.ask_first(hub.endpoint(), what, advice, network)


def _build(name: str, settings: dict[str, Any]) -> nn.Module:
    """Return the architecture with weights drawn from a seed that is its name, without touching any generator."""
    import open_clip

    keys = ("mean", "std", "interpolation", "resize_mode", "fill_color")
    transform = {key: settings[key] for key in keys if settings.get(key) is not None}
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for("weights", name))
        model: nn.Module = open_clip.create_model(name, force_preprocess_cfg=transform)
    return model


def _shared_settings(name: str) -> dict[str, Any]:
    """Return the image settings on which all weights that open_clip lists for an architecture agree."""
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    listed = [get_pretrained_cfg(name, tag) for tag in list_pretrained_tags_by_model(name)]
    shared = dict(listed[0]) if listed else {}
    return {key: value for key, value in shared.items() if all(other.get(key) == value for other in listed)}


def _refuse_early(name: str, config: dict[str, Any]) -> None:
    """Refuse the families that take no prompts before their parts are built or fetched."""
    if "multimodal_cfg" in config:
        require_text(FAMILIES["G"], name)
    if config["text_cfg"].get("hf_model_name"):
        require_text(FAMILIES["H"], name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep open_clip's notes about random weights off the root logger: the caller says what matters."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
