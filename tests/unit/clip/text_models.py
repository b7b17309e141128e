"""Small text towers in float64, prompts for them, and values that learn."""

from functools import cache
from typing import Any

import open_clip
import torch
from torch import Tensor

from lamm_cl.clip.prompts_layout import Layout, slot
from lamm_cl.clip.text_tower import TextTower

F64 = torch.float64
NAMES = ["pug", "american bulldog", "staffordshire bull terrier", "wheaten terrier", "C++"]
TEXTS = [f"a photo of a {name}." for name in NAMES]


@cache
def text_model(kind: str = "quick", **changes: Any) -> Any:
    """A frozen model with a flat text tower, of QuickGELU ("quick") or GELU ("gelu"), or one of its own ("custom")."""
    torch.manual_seed(0)
    text = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3, **changes}
    vision = {"image_size": 16, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16}
    made = open_clip.CustomTextCLIP if kind == "custom" else open_clip.CLIP
    return made(32, vision, text, quick_gelu=kind == "quick").double().eval().requires_grad_(False)


@cache
def bpe() -> Any:
    return open_clip.SimpleTokenizer(context_length=20)


def text_tower(model: Any = None) -> TextTower:
    return TextTower(model or text_model(), bpe())


def photos(tower: TextTower) -> Layout:
    """The prompts of `TEXTS`."""
    return tower.layout([tower.words.ids(text) for text in TEXTS])


def prompts(tower: TextTower) -> Layout:
    """[c0][c1] of a [label] NAME. with learned vectors in the beginning and in each rest."""
    words = tower.words
    tail = [[slot(2 + i), *words.ids(name + ".")] for i, name in enumerate(NAMES)]
    return tower.layout([[slot(0), slot(1), *words.ids("of a"), *rest] for rest in tail])


def learned(rows: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(rows, 32, generator=generator, dtype=F64) * 0.1).requires_grad_()
