"""Zero-shot accuracy on pictures that the pre-training never saw."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from lamm_cl.clip.image_tower import evaluation_transform
from lamm_cl.data import glyphs

from .captions import DIGITS

HALF = 898
PROMPTS = (
    "a photo of a {}.",
    "{}",
    "a photo of the digit {}.",
    "a bad photo of the {}.",
    "itap of a {}.",
    "a photo of a {}, a type of symbol.",
    "X X X X {}.",
)


@dataclass(frozen=True)
class Pictures:
    """Preprocessed pictures (n, 3, 32, 32), their labels (n,) and the names of the classes."""

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]


def digits(model: Any, part: str) -> Pictures:
    """Load scikit-learn's digits: `part` is "choice" (for decisions) or "test" (reported only)."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    rows = order[:HALF] if part == "choice" else order[HALF:]
    transform = evaluation_transform(model)
    pixels = (data.images[rows] * 255 / 16).round().astype(np.uint8)
    images = torch.stack([transform(Image.fromarray(p).convert("RGB")) for p in pixels])
    return Pictures(images, torch.from_numpy(data.target[rows]), DIGITS)


def drawn(model: Any, split: str) -> Pictures:
    """Draw one split of the synthetic `glyphs`."""
    transform, size = evaluation_transform(model), glyphs.SIZES[split]
    labels = torch.arange(len(glyphs.CLASS_NAMES)).repeat_interleave(size)
    images = torch.stack([transform(glyphs.draw(split, int(k), i % size)) for i, k in enumerate(labels)])
    return Pictures(images, labels, glyphs.CLASS_NAMES)


@torch.no_grad()
def scores(model: Any, tokenizer: Any, pictures: Pictures, prompt: str = PROMPTS[0]) -> Tensor:
    """Return cosine similarities (pictures, classes)."""
    texts = F.normalize(model.encode_text(tokenizer([prompt.format(name) for name in pictures.names])), dim=-1)
    images = torch.cat([model.encode_image(part) for part in pictures.images.split(256)])
    return F.normalize(images, dim=-1) @ texts.T


def accuracy(scored: Tensor, labels: Tensor, low: int, high: int) -> float:
    """Return the percentage of right answers for classes low..high - 1 among themselves."""
    inside = (labels >= low) & (labels < high)
    return (scored[inside, low:high].argmax(1) + low == labels[inside]).double().mean().item() * 100


def summary(model: Any, tokenizer: Any, pictures: Pictures, prompt: str = PROMPTS[0]) -> str:
    """Print accuracy over all classes, and within the first and the second half of them."""
    scored, count = scores(model, tokenizer, pictures, prompt), len(pictures.names)
    parts = ((0, count), (0, count // 2), (count // 2, count))
    return " ".join(f"{accuracy(scored, pictures.labels, *part):5.1f}" for part in parts)
