"""`tiny`: a CLIP of 0.7 million trained weights that ships inside the package.

It was pre-trained on captioned drawings only (`benchmarks/tiny_clip`), on no photograph and no data set.
"""

import copy
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from lamm_cl.clip.tiny.architecture import build_model, build_preprocess, build_tokenizer, config, token_table

WEIGHTS_FILE = Path(__file__).with_name("tiny.safetensors")

__all__ = ["WEIGHTS_FILE", "load_tiny", "provenance", "unknown_words"]


def provenance() -> dict[str, int | float]:
    """Return how the shipped weights were made: recipe version, seed, steps and the other settings."""
    from safetensors import safe_open

    with safe_open(WEIGHTS_FILE, framework="pt") as file:
        made: dict[str, int | float] = json.loads(file.metadata()["made"])
    return made


@lru_cache
def _trained_ids() -> frozenset[int]:
    from safetensors import safe_open

    with safe_open(WEIGHTS_FILE, framework="pt") as file:
        return frozenset(file.get_tensor("token_embedding.ids").tolist())


@lru_cache
def _tokenizer() -> Any:
    return build_tokenizer()


def unknown_words(texts: Iterable[str]) -> list[str]:
    """Return the words of `texts` that tiny's pre-training never showed, in order, each once.

    Such words work (their token embeddings are fixed pseudo-random vectors), but mean nothing to tiny before training.

    Args:
        texts: Class names, prompts, or any other text.
    """
    known, encode = _trained_ids(), _tokenizer().encode
    words = dict.fromkeys(word for text in texts for word in text.replace("_", " ").split())
    # A word is judged without the punctuation around it, which is trained or harmless.
    bare = dict.fromkeys(word.strip(".,;:!?\"'()[]{}") for word in words)
    return [word for word in bare if word and not known.issuperset(encode(word))]


@lru_cache
def _weights() -> dict[str, Any]:
    """Return the whole state of the model: the rows of trained words among those of the others."""
    from safetensors import safe_open

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
    tokenizer = copy.copy(_tokenizer())
    tokenizer.unknown_words = unknown_words
    return model, tokenizer, build_preprocess(model)
