"""Filled shapes as template pictures: each is a few outlines that add or remove ink."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from .templates import TEMPLATE

Points = list[tuple[float, float]]  # in -1..1, y downwards
Parts = list[tuple[int, Points]]  # 1 adds ink, 0 removes it


def disc(x: float = 0, y: float = 0, rx: float = 1, ry: float | None = None) -> Points:
    ry = rx if ry is None else ry
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 60)]


def box(left: float, top: float, right: float, bottom: float) -> Points:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def ngon(corners: int, turn: float = -90, inner: float = 1) -> Points:
    """Regular polygon; with `inner` < 1 a star whose notches lie at that radius."""
    radii = (1.0,) if inner == 1 else (1.0, inner)
    count = corners * len(radii)
    angles = [math.radians(turn + 360 * k / count) for k in range(count)]
    return [(radii[k % len(radii)] * math.cos(a), radii[k % len(radii)] * math.sin(a)) for k, a in enumerate(angles)]


def ribbon(path: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], width: float) -> Points:
    """Outline of a thick line along path(t), t in 0..1."""
    t = np.linspace(0, 1, 90)
    x, y = path(t)
    dx, dy = np.gradient(x), np.gradient(y)
    norm = np.hypot(dx, dy)
    left = np.stack([x - dy / norm * width, y + dx / norm * width], 1)
    right = np.stack([x + dy / norm * width, y - dx / norm * width], 1)
    return [(float(a), float(b)) for a, b in np.concatenate([left, right[::-1]])]


def heart() -> Points:
    t = np.linspace(0, 2 * math.pi, 90)
    x = np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 16
    return list(zip(x.tolist(), y.tolist(), strict=True))


def petals(count: int) -> Parts:
    turns = [2 * math.pi * k / count for k in range(count)]
    return [(1, disc(0.6 * math.cos(a), 0.6 * math.sin(a), 0.38)) for a in turns]


SHAPES: dict[str, Parts] = {
    "circle": [(1, disc())],
    "square": [(1, box(-0.85, -0.85, 0.85, 0.85))],
    "triangle": [(1, ngon(3))],
    "star": [(1, ngon(5, inner=0.42))],
    "cross": [(1, box(-0.3, -1, 0.3, 1)), (1, box(-1, -0.3, 1, 0.3))],
    "ring": [(1, disc()), (0, disc(rx=0.58))],
    "heart": [(1, heart())],
    "diamond": [(1, [(0, -1), (0.62, 0), (0, 1), (-0.62, 0)])],
    "hexagon": [(1, ngon(6, turn=0))],
    "arrow": [(1, [(-1, -0.24), (0.2, -0.24), (0.2, -0.7), (1, 0), (0.2, 0.7), (0.2, 0.24), (-1, 0.24)])],
    "moon": [(1, disc()), (0, disc(0.5, 0, 0.95))],
    "wave": [(1, ribbon(lambda t: (2 * t - 1, 0.3 * np.sin(4 * np.pi * t)), 0.15))],
    "spiral": [(1, ribbon(lambda t: (t * np.cos(15 * t) * 0.95, t * np.sin(15 * t) * 0.95), 0.12))],
    "house": [(1, [(0, -1), (1, -0.1), (0.75, -0.1), (0.75, 0.9), (-0.75, 0.9), (-0.75, -0.1), (-1, -0.1)]),
              (0, box(-0.2, 0.3, 0.2, 0.9))],
    "tree": [(1, [(0, -1), (0.75, 0.4), (-0.75, 0.4)]), (1, box(-0.17, 0.4, 0.17, 1))],
    "flower": [*petals(5), (0, disc(rx=0.25))],
    "cloud": [(1, disc(-0.5, 0.2, 0.48)), (1, disc(0.5, 0.22, 0.45)), (1, disc(0, -0.15, 0.58)),
              (1, box(-0.5, 0.2, 0.5, 0.67))],
    "crown": [(1, [(-1, -0.7), (-0.5, 0), (0, -0.9), (0.5, 0), (1, -0.7), (0.8, 0.8), (-0.8, 0.8)])],
    "lightning": [(1, [(0.3, -1), (-0.6, 0.2), (-0.05, 0.2), (-0.35, 1), (0.6, -0.25), (0.05, -0.25)])],
    "drop": [(1, disc(0, 0.35, 0.62)), (1, [(0, -1), (0.57, 0.12), (-0.57, 0.12)])],
    "fish": [(1, disc(-0.25, 0, 0.72, 0.45)), (1, [(0.2, 0), (1, -0.5), (1, 0.5)]), (0, disc(-0.6, -0.1, 0.1))],
    "cup": [(1, disc(0.6, 0, 0.4)), (0, disc(0.6, 0, 0.2)), (1, [(-0.9, -0.8), (0.6, -0.8), (0.4, 0.8), (-0.7, 0.8)])],
    "flag": [(1, box(-0.75, -1, -0.55, 1)), (1, [(-0.55, -0.95), (0.9, -0.5), (-0.55, 0)])],
    "key": [(1, disc(-0.55, 0, 0.45)), (0, disc(-0.55, 0, 0.2)), (1, box(-0.15, -0.12, 1, 0.12)),
            (1, box(0.75, 0, 0.95, 0.5)), (1, box(0.4, 0, 0.58, 0.4))],
}  # fmt: skip
NAMES = tuple(SHAPES)


def shape(name: str) -> np.ndarray:
    """Draw one shape as a mask (48, 48) in 0..1."""
    large = 4 * TEMPLATE
    sheet = Image.new("L", (large, large))
    pen = ImageDraw.Draw(sheet)
    for ink, points in SHAPES[name]:
        pen.polygon([(large * (0.5 + 0.37 * x), large * (0.5 + 0.37 * y)) for x, y in points], fill=255 * ink)
    small = sheet.resize((TEMPLATE, TEMPLATE), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / 255


def shape_bank() -> np.ndarray:
    """Return masks (shapes, 48, 48)."""
    return np.stack([shape(name) for name in NAMES])
