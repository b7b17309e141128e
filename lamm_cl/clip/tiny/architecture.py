"""What `tiny` is made of: its open_clip configuration, its tokenizer and the rows of words it never saw."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

CONFIG_FILE = Path(__file__).with_name("tiny.json")
TABLE_SEED = 20240717
INITIAL_STD = 0.02


def config() -> dict[str, Any]:
    """Return the open_clip model configuration that ships with the weights."""
    settings: dict[str, Any] = json.loads(CONFIG_FILE.read_text(encoding="utf-8"))
    return settings


def token_table(rows: int, width: int, std: float = INITIAL_STD) -> torch.Tensor:
    """Return a fixed pseudo-random token embedding, the same on every machine.

    NumPy promises that a bit generator's raw stream never changes, but not what its distributions make of it.
    So each entry is the centred sum of four raw 16-bit numbers (close to normal), which is integer arithmetic.

    Args:
        rows: Number of tokens.
        width: Width of an embedding.
        std: Standard deviation of the entries.

    Returns:
        Tensor (rows, width), float32.
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


def build_preprocess(model: Any) -> Any:
    """Build the evaluation transform (PIL image to (3, 32, 32) tensor) that belongs to `model`."""
    import open_clip

    settings = open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg)
    return open_clip.transform.image_transform_v2(settings, is_train=False)


def build_tokenizer() -> Any:
    """Build CLIP's own byte-pair tokenizer with tiny's window."""
    import open_clip

    return open_clip.SimpleTokenizer(context_length=config()["text_cfg"]["context_length"])
