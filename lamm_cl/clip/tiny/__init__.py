"""`tiny`: a CLIP of 0.7 million trained weights that ships inside the package.

It was pre-trained on captioned drawings only (`benchmarks/tiny_clip`), on no photograph and no data set.
"""

import copy
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from lamm_cl.clip.image_tower import evaluation_transform

WEIGHTS_FILE = Path(__file__).with_name("tiny.safetensors")
CONFIG_FILE = Path(__file__).with_name("tiny.json")
TABLE_SEED = 20240717
INITIAL_STD = 0.02


def config() -> dict[str, Any]:
    """Return the open_clip model configuration that ships with the weights."""
    settings: dict[str, Any] = json.loads(CONFIG_FILE.read_text(encoding="utf-8"))
    return settings


def token_table(rows: int, width: int, std: float = INITIAL_STD) -> torch.Tensor:
    """Return a fixed pseudo-random token embedding (rows, width) in float32, the same on every machine.

    NumPy promises that a bit generator's raw stream never changes, but not what its distributions make of it.
    So each entry is the centred sum of four raw 16-bit numbers (close to normal), which is integer arithmetic.
    """
    raw = np.random.Philox(key=TABLE_SEED).random_raw(rows * width)
    parts = raw.astype("<u8").view("<u2").reshape(rows, width, 4)
    centred = parts.sum(axis=-1, dtype=np.int32) - 2 * 65535
    scale = np.float32(std * (3.0**0.5) / 65536)  # four uniform numbers of width w have variance w^2 / 3
    return torch.from_numpy(centred.astype(np.float32) * scale)


def build_model() -> Any:
    """Build the open_clip `CLIP` with untrained weights, leaving torch's random state as it was."""
    import open_clip

    settings = config()
    with torch.random.fork_rng(devices=[]):
        model = open_clip.CLIP(**settings)
    preprocessing = open_clip.transform.PreprocessCfg(size=settings["vision_cfg"]["image_size"])
    open_clip.model.set_model_preprocess_cfg(model, vars(preprocessing))
    return model


@lru_cache
def build_tokenizer() -> Any:
    """Build CLIP's own byte-pair tokenizer with tiny's window, once."""
    import open_clip

    return open_clip.SimpleTokenizer(context_length=config()["text_cfg"]["context_length"])


def provenance() -> dict[str, int | float]:
    """Return how the shipped weights were made: recipe version, seed, steps and the other settings."""
    with safe_open(WEIGHTS_FILE, framework="pt") as file:
        made: dict[str, int | float] = json.loads(file.metadata()["made"])
    return made


@lru_cache
def _trained_ids() -> frozenset[int]:
    with safe_open(WEIGHTS_FILE, framework="pt") as file:
        return frozenset(file.get_tensor("token_embedding.ids").tolist())


def unknown_words(texts: Iterable[str]) -> list[str]:
    """Return the words of `texts` that tiny's pre-training never showed, in order, each once.

    Such words work (their token embeddings are fixed pseudo-random vectors), but mean nothing to tiny before training.
    """
    known, encode = _trained_ids(), build_tokenizer().encode
    words = dict.fromkeys(word for text in texts for word in text.replace("_", " ").split())
    # A word is judged without the punctuation around it, which is trained or harmless.
    bare = dict.fromkeys(word.strip(".,;:!?\"'()[]{}") for word in words)
    return [word for word in bare if word and not known.issuperset(encode(word))]


@lru_cache
def _weights() -> dict[str, Any]:
    """Return the whole state of the model: the rows of trained words among those of the others."""
    with safe_open(WEIGHTS_FILE, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    text = config()["text_cfg"]
    table = token_table(text["vocab_size"], text["width"], provenance()["row_std"])
    table[weights.pop("token_embedding.ids").long()] = weights.pop("token_embedding.rows").float()
    return {"token_embedding.weight": table, **{name: value.float() for name, value in weights.items()}}


def load_tiny() -> tuple[Any, Any, Any]:
    """Load the embedded CLIP: offline, without touching torch's random state or logging.

    Returns:
        The open_clip `CLIP` (float32, evaluation mode, nothing trainable), its tokenizer (with `unknown_words`
        as an attribute), and its evaluation transform (PIL image to (3, 32, 32) float32).
    """
    model = build_model()
    model.load_state_dict(_weights())
    model.eval().requires_grad_(False)
    tokenizer = copy.copy(build_tokenizer())
    tokenizer.unknown_words = unknown_words
    return model, tokenizer, evaluation_transform(model)
