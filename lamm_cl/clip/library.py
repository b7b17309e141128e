"""Backbones that open_clip describes: by name, in a folder, or in a repository of the hub."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lamm_cl.clip import hub
from lamm_cl.clip.families import FAMILIES, require_text
from lamm_cl.clip.weights import Weights, check_activation, check_file_activation, fit, listed_elsewhere, read_weights
from lamm_cl.errors import UsageError, unknown
from lamm_cl.seeds import seed_for

LOG = logging.getLogger("lamm_cl")
RANDOM = "random"
# Endings on which a `pretrained` is taken to be a file.
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


@dataclass(frozen=True)
class Network:
    """How files may be fetched; both functions are replaced in tests.

    Attributes:
        cache: where fetched files are kept; None = the clients' own defaults.
        reach: says whether an address answers.
        download: fetches the file that an entry of open_clip describes; None = open_clip's own.
    """

    cache: str | None = None
    reach: hub.Reach = hub.reachable
    download: hub.Download | None = None


def from_library(name: str, pretrained: str | None, quick_gelu: bool | None, network: Network) -> tuple[nn.Module, Any]:
    """Return model and tokenizer of an architecture that open_clip lists, on the CPU in float32.

    Args:
        name: open_clip's name.
        pretrained: tag, file, `random` or None.
        quick_gelu: activation that a local file was trained with, where the file doesn't tell.
        network: how to fetch what isn't here.

    Raises:
        UsageError: as `lamm_cl.load_clip`.
    """
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
    name: str, pretrained: str | None, wanted: bool, said: bool | None, network: Network
) -> tuple[Weights | None, dict[str, Any]]:
    """Return the weights to use (None: random ones) and the image settings that go with them."""
    from open_clip.pretrained import get_pretrained_cfg

    if not pretrained or pretrained == RANDOM:
        if not pretrained:
            LOG.warning("backbone %r has random weights: no pretrained=... was given.", name)
        return None, _shared_settings(name)
    if _is_tag(name, pretrained) or listed_elsewhere(name, pretrained):
        settings = get_pretrained_cfg(name, pretrained)
        needed = bool(settings.get("quick_gelu", False)) if settings else not wanted
        check_activation(name, pretrained, wanted, needed, "open_clip lists them so")
        file = hub.pretrained_file(name, pretrained, network.cache, network.reach, network.download)
        return read_weights(file), settings
    _require_file_or_tag(name, pretrained)
    weights = read_weights(pretrained)
    check_file_activation(name, wanted, weights, said)
    return weights, _shared_settings(name) | weights.preprocess


def _is_tag(name: str, pretrained: str | None) -> bool:
    from open_clip.pretrained import is_pretrained_cfg

    return bool(pretrained) and bool(is_pretrained_cfg(name, pretrained))


def from_folder_or_hub(name: str, pretrained: str | None, network: Network) -> tuple[nn.Module, Any]:
    """Return model and tokenizer of what brings its own configuration, as open_clip reads it.

    Args:
        name: `local-dir:PATH` or `hf-hub:ORG/NAME`.
        pretrained: must be empty: the weights come along.
        network: how to fetch what isn't here.

    Raises:
        UsageError: no such folder or repository, nothing usable in it, or the hub can't be reached.
    """
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
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        raise UsageError(f"backbone {name!r} could not be loaded ({reason}).") from error


def tokenizer_of(name: str, network: Network) -> Any:
    """Return the tokenizer of an architecture; some need files from the hub and the package transformers.

    Raises:
        UsageError: the files or the package are missing.
    """
    import open_clip

    text = open_clip.get_model_config(name)["text_cfg"]
    repository = text.get("hf_tokenizer_name")
    if repository:
        advice = f"Copy the cache of a machine that has used {repository!r} and set HF_HOME."
        what = f"the tokenizer's files of {name!r}"
        _ask_unless_here(repository, "tokenizer_config.json", what, advice, network)
    try:
        with quiet():
            return open_clip.get_tokenizer(name, cache_dir=network.cache)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        raise UsageError(
            f"the tokenizer of {name!r} could not be made ({reason}). It is one of Hugging Face: "
            "`pip install transformers sentencepiece` and its files are needed."
        ) from error


def _ask_unless_here(repository: str, file: str, what: str, advice: str, network: Network) -> None:
    """Ask the hub before its client does, unless `file` of `repository` is in the cache."""
    from huggingface_hub import try_to_load_from_cache

    if not isinstance(try_to_load_from_cache(repository, file, cache_dir=network.cache), str):
        hub.ask_first(hub.endpoint(), what, advice, network.reach)


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


def _require_file_or_tag(name: str, pretrained: str) -> None:
    """Raise when `pretrained` is neither a file nor looks like one."""
    from open_clip.pretrained import list_pretrained_tags_by_model

    looks_like_file = pretrained.endswith(SUFFIXES) or "/" in pretrained or "\\" in pretrained
    if not looks_like_file and not Path(pretrained).exists():
        tags = [*list_pretrained_tags_by_model(name), RANDOM]
        raise unknown(f"pretrained weights of {name!r} (nor is there a file)", pretrained, tags)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep open_clip's notes about random weights off the root logger: the caller says what matters."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
