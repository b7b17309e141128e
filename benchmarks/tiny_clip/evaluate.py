"""Zero-shot accuracy on handwriting that the pre-training never saw."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from lamm_cl.clip.tiny.architecture import build_preprocess

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
    """Preprocessed pictures (n, 3, 32, 32) and their labels (n,)."""

    images: Tensor
    labels: Tensor


def digits(model: Any, part: str) -> Pictures:
    """Load scikit-learn's digits: `part` is "choice" (for decisions) or "test" (reported only)."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    rows = order[:HALF] if part == "choice" else order[HALF:]
    transform = build_preprocess(model)
    pixels = (data.images[rows] * 255 / 16).round().astype(np.uint8)
    images = torch.stack([transform(Image.fromarray(p).convert("RGB")) for p in pixels])
    return Pictures(images, torch.from_numpy(data.target[rows]))


@torch.no_grad()
def features(model: Any, pictures: Pictures) -> Tensor:
    return F.normalize(torch.cat([model.encode_image(part) for part in pictures.images.split(256)]), dim=-1)


@torch.no_grad()
def accuracies(model: Any, tokenizer: Any, pictures: Pictures, prompt: str = PROMPTS[0]) -> tuple[float, float, float]:
    """Return accuracy in percent: 10-way, 0-4 among themselves, 5-9 among themselves."""
    texts = F.normalize(model.encode_text(tokenizer([prompt.format(name) for name in DIGITS])), dim=-1)
    scores, labels = features(model, pictures) @ texts.T, pictures.labels

    def right(low: int, high: int) -> float:
        inside = (labels >= low) & (labels < high)
        return (scores[inside, low:high].argmax(1) + low == labels[inside]).double().mean().item() * 100

    return right(0, 10), right(0, 5), right(5, 10)
