"""Pictures with captions: ink masks, put through bad cameras, coloured, textured and described."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import strokes
from .captions import COLOURS, DIGITS, TEXTURES, Captions, Facts, say
from .shapes import NAMES as SHAPE_NAMES
from .shapes import shape_bank
from .strokes import SIZE
from .templates import FONTS, LETTERS, font_bank

SHARES = (0.24, 0.10, 0.33, 0.33)  # stroke digits, font digits, letters, shapes
PALETTE = np.array(list(COLOURS.values()), np.float32) / 255


def column(values: np.ndarray) -> Tensor:
    """Shape (batch,) numbers so that they multiply pictures."""
    return torch.from_numpy(np.asarray(values, np.float32)).view(-1, 1, 1, 1)


def warp(masks: np.ndarray, rng: np.random.Generator, turn: float, bend: float) -> Tensor:
    """Turn, scale, shear, shift and bend template masks (n, 48, 48) into ink masks (n, 1, 32, 32)."""
    n = len(masks)
    angle, shear = rng.normal(0, 1, n) * turn, rng.normal(0, 0.15, n)
    wide, high = np.exp(rng.normal(0, 0.18, (2, n)))
    zoom = rng.uniform(0.72, 1.25, n)
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.stack([cos * wide, -sin * high + shear, sin * wide, cos * high], 1).reshape(n, 2, 2)
    matrix = np.concatenate([matrix * zoom[:, None, None], rng.normal(0, 0.08, (n, 2, 1))], -1)
    grid = F.affine_grid(torch.from_numpy(matrix).float(), [n, 1, SIZE, SIZE], align_corners=False)
    push = rng.normal(0, 1, (n, 2, 4, 4)) * rng.uniform(0, bend, (n, 1, 1, 1))
    field = F.interpolate(torch.from_numpy(push).float(), (SIZE, SIZE), mode="bicubic", align_corners=True)
    source = torch.from_numpy(masks).unsqueeze(1)
    return F.grid_sample(source, grid + field.permute(0, 2, 3, 1), align_corners=False)


def thicken(masks: Tensor, rng: np.random.Generator) -> Tensor:
    """Make the ink of some masks thicker and of some thinner."""
    draw = torch.from_numpy(rng.random(len(masks)))
    thick, thin = draw > 0.78, draw < 0.12
    masks[thick] = F.max_pool2d(masks[thick], 3, 1, 1)
    masks[thin] = -F.max_pool2d(F.pad(-masks[thin], (0, 1, 0, 1)), 2, 1)
    return masks


def coarsen(masks: Tensor, allowed: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Pass a part of the masks through a scanner of 8, 12 or 16 pixels."""
    draw = np.where(allowed, rng.random(len(masks)), 1)
    for size, low, high in ((8, 0.0, 0.4), (12, 0.4, 0.5), (16, 0.5, 0.65)):
        rows = torch.from_numpy((draw >= low) & (draw < high))
        part = masks[rows]
        if size == 8 and rng.random() < 0.7:
            part = (part > 0.5).float()
        part = F.adaptive_avg_pool2d(part, size)
        if size == 8:
            part = (part * column(rng.uniform(0.9, 1.2, len(part)))).clamp(0, 1)
        mode = "bicubic" if rng.random() < 0.85 else "bilinear"
        masks[rows] = F.interpolate(part, (SIZE, SIZE), mode=mode, antialias=True).clamp(0, 1)
    return masks


def texture_masks(texture: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Return 1 where the first colour of each texture lies, (batch, 1, 32, 32)."""
    n = len(texture)
    axis = torch.arange(SIZE) + 0.5
    x, y = axis.view(1, 1, 1, -1), axis.view(1, 1, -1, 1)
    angle, pace = column(rng.uniform(0, np.pi, n)), column(rng.uniform(0.9, 1.5, n))
    u = ((x * angle.cos() + y * angle.sin()) * pace + column(rng.uniform(0, 6.28, n))).sin()
    v = ((y * angle.cos() - x * angle.sin()) * pace + column(rng.uniform(0, 6.28, n))).sin()
    patterns = torch.stack([torch.ones_like(u), (u > 0).float(), (u + v < 0.9).float(), (u * v > 0).float()])
    return patterns[torch.from_numpy(texture), torch.arange(n)]


class Artist:
    """An endless, seeded stream of captioned pictures."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.digits = font_bank(tuple("0123456789"))
        self.letters = np.concatenate([font_bank(LETTERS), font_bank(tuple(c.upper() for c in LETTERS))], axis=1)
        self.shapes = shape_bank()

    def batch(self, size: int) -> tuple[Tensor, Facts, Captions]:
        """Return pictures (batch, 3, 32, 32) in 0..1, what is true of them, and captions."""
        rng = self.rng
        kind = np.sort(rng.choice(4, size, p=SHARES))
        written, printed, letters, shapes = np.bincount(kind, minlength=4)
        digit = rng.integers(0, len(DIGITS), written)
        font_digit = rng.integers(0, len(DIGITS), printed)
        letter = rng.integers(0, len(LETTERS), letters)
        shape = rng.integers(0, len(SHAPE_NAMES), shapes)
        fonts = warp(self.digits[font_digit, rng.integers(0, len(FONTS), printed)], rng, 0.12, 0.10)
        glyphs = warp(self.letters[letter, rng.integers(0, 2 * len(FONTS), letters)], rng, 0.10, 0.08)
        masks = torch.cat(
            [
                strokes.draw(digit, rng),
                thicken(torch.cat([fonts, glyphs]), rng),
                warp(self.shapes[shape], rng, 0.2, 0.05),
            ]
        )
        content = np.concatenate([digit, font_digit, letter + 10, shape + 36])
        textured = rng.random(size) < np.where(kind == 3, 0.65, 0.03)
        texture = np.where(textured, rng.integers(0, len(TEXTURES), size), 0)
        masks = coarsen(masks, texture == 0, rng)
        pictures, colour = self.paint(masks, texture, scanned=kind < 3)
        facts = Facts(content, colour, texture, printed=(kind > 0).astype(int))
        return pictures, facts, say(facts, rng)

    def paint(self, masks: Tensor, texture: np.ndarray, scanned: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Colour ink and paper; two thirds of the `scanned` pictures are black and white."""
        rng, n = self.rng, len(masks)
        ink = rng.integers(0, len(PALETTE), n)
        paper = (ink + rng.integers(1, len(PALETTE), n)) % len(PALETTE)
        grey = scanned & (rng.random(n) < 0.65)
        bright = (rng.random(n) < 0.65).astype(int)  # black is 0 and white is 1: bright ink on dark paper more often
        ink, paper = np.where(grey, bright, ink), np.where(grey, 1 - bright, paper)
        pure = (grey & (rng.random(n) < 0.5))[:, None]
        shades = [PALETTE[c] + rng.normal(0, 0.05, (n, 3)) for c in (ink, paper)]
        shades = [np.where(pure, PALETTE[c].round(), s).clip(0, 1) for c, s in zip((ink, paper), shades, strict=True)]
        front, back = (torch.from_numpy(s).float().view(n, 3, 1, 1) for s in shades)
        second = 0.7 * back + 0.3 * (1 - front)
        pattern = texture_masks(texture, rng)
        picture = (front * pattern + second * (1 - pattern)) * masks + back * (1 - masks)
        noise = column(rng.uniform(0, 0.06, n) * (rng.random(n) < 0.5))
        grain = torch.from_numpy(rng.standard_normal(picture.shape, dtype=np.float32))
        return (picture + grain * noise).clamp(0, 1), ink
