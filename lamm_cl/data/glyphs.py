"""`glyphs`: 60 classes of synthetic pictures (letters, printed digits, shapes), drawn when they are asked for.

Nothing here was used to pre-train `tiny`: other fonts (STIX and Computer Modern), outlines, colours and effects.
"""

import colorsys
import math
import string
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from lamm_cl.errors import UsageError, check_known
from lamm_cl.seeds import seed_for

Outline = NDArray[np.float64]  # (points, 2) in about -1..1, y downwards
Parts = list[tuple[bool, Outline]]  # True adds ink, False cuts a hole
Vary = Callable[[float, float], float]  # a random number between two bounds
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIZES = {"train": 40, "val": 10, "test": 40}  # pictures per class
IMAGE_SIZE = 48
TEMPLATE = "a photo of a {}."
EFFECTS = ("flat", "shadow", "outline", "halo", "speckled")
_SHEET = 2 * IMAGE_SIZE  # drawn at twice the size, then averaged
_FONTS = (
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmb10", "cmss10", "cmtt10", "cmti10"),
)


def _at(radius: float | NDArray[np.float64], degrees: NDArray[np.float64]) -> Outline:
    angle = np.radians(degrees)
    points: Outline = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return points


def _shift(outline: Outline, x: float, y: float) -> Outline:
    moved: Outline = outline + np.array([x, y])
    return moved


def _oval(x: float, y: float, wide: float, high: float) -> Outline:
    return _shift(_at(1.0, np.arange(0, 360, 12.0)) * (wide, high), x, y)


def _polygon(*points: tuple[float, float]) -> Outline:
    return np.array(points)


def _bar(left: float, top: float, right: float, bottom: float) -> Outline:
    return _polygon((left, top), (right, top), (right, bottom), (left, bottom))


def _mirrored(*right: tuple[float, float]) -> Outline:
    """Close a right half (top to bottom) with its mirror image."""
    half = np.array(right)
    return np.concatenate([half, half[::-1] * (-1, 1)])


def _band(centre: Outline, width: float) -> Outline:
    """Turn a path into the outline of a thick line along it."""
    step = np.gradient(centre, axis=0)
    normal = np.stack([-step[:, 1], step[:, 0]], 1) / np.linalg.norm(step, axis=1, keepdims=True)
    return np.concatenate([centre + width * normal, (centre - width * normal)[::-1]])


def _cross(vary: Vary) -> Parts:
    a, b = vary(0.2, 0.36), vary(0.2, 0.36)
    return [(True, _bar(-a, -1, a, 1)), (True, _bar(-1, -b, 1, b))]


def _heart(vary: Vary) -> Parts:
    dip, side = vary(-0.5, -0.3), vary(-0.15, 0.05)
    half = [(0, dip), (0.25, -0.8), (0.6, -0.88), (0.9, -0.6), (0.95, -0.25), (0.75, side + 0.3), (0, 1)]
    return [(True, _mirrored(*half))]


def _arrow(vary: Vary) -> Parts:
    shaft, neck, barb = vary(0.14, 0.28), vary(0.0, 0.3), vary(0.6, 0.8)
    half = [(-1, shaft), (neck, shaft), (neck - 0.1, barb), (1, 0)]
    return [(True, _polygon(*half, *((x, -y) for x, y in reversed(half[:-1]))))]


def _moon(vary: Vary) -> Parts:
    horn = vary(42, 60)
    outer = _at(1.0, np.linspace(horn, 360 - horn, 24))
    x, y = outer[-1]
    across = np.linspace(y, -y, 20)[1:-1]
    hollow = x - (1 + x - vary(0.5, 0.8)) * (1 - (across / y) ** 2)
    return [(True, _shift(np.concatenate([outer, np.stack([hollow, across], 1)]), 0.25, 0))]


def _wave(vary: Vary) -> Parts:
    t = np.linspace(-1, 1, 60)
    return [(True, _band(np.stack([t, vary(0.22, 0.38) * np.cos(t * vary(6, 7.5))], 1), vary(0.1, 0.16)))]


def _spiral(vary: Vary) -> Parts:
    t = np.linspace(0.05, 1, 90)
    return [(True, _band(_at(t * 0.92, t * vary(780, 920)), vary(0.08, 0.12)))]


def _house(vary: Vary) -> Parts:
    wall, door = vary(0.65, 0.8), vary(0.14, 0.24)
    roof = _polygon((0, -1), (1, vary(-0.2, 0)), (-1, vary(-0.2, 0)))
    return [(True, roof), (True, _bar(-wall, -0.2, wall, 0.9)), (False, _bar(-door, 0.35, door, 0.9))]


def _tree(vary: Vary) -> Parts:
    low = vary(0.6, 0.85)
    upper, lower = _mirrored((0, -1), (low * 0.75, -0.15)), _mirrored((0, -0.5), (low, 0.5))
    return [(True, upper), (True, lower), (True, _bar(-0.14, 0.4, 0.14, 1))]


def _flower(vary: Vary) -> Parts:
    size = vary(0.32, 0.4)
    middles = _at(0.6, np.arange(0, 360, 72.0) + vary(0, 72))
    petals = [(True, _oval(float(x), float(y), size, size)) for x, y in middles]
    return [*petals, (True, _oval(0, 0, 0.35, 0.35)), (False, _oval(0, 0, 0.24, 0.24))]


def _cloud(vary: Vary) -> Parts:
    puffs = [(-0.58, 0.25, 0.4), (-0.15, -0.2, vary(0.45, 0.58)), (0.4, 0.0, vary(0.4, 0.5)), (0.65, 0.3, 0.35)]
    return [*((True, _oval(x, y, r, r)) for x, y, r in puffs), (True, _bar(-0.58, 0.2, 0.65, 0.65))]


def _crown(vary: Vary) -> Parts:
    dip, base = vary(-0.1, 0.15), vary(0.75, 0.9)
    return [(True, _mirrored((0, vary(-0.95, -0.75)), (0.42, dip), (0.98, vary(-0.8, -0.55)), (base, 0.75)))]


def _lightning(vary: Vary) -> Parts:
    k = vary(0.1, 0.3)
    return [(True, _polygon((k + 0.1, -1), (-0.6, k), (-0.1, k), (-0.4, 1), (0.6, -k), (0.1, -k), (0.5, -1)))]


def _drop(vary: Vary) -> Parts:
    round_part = _shift(_at(vary(0.58, 0.68), np.arange(-25, 206, 11.0)), 0, 0.35)
    return [(True, np.concatenate([round_part, [(0.0, -1.0)]]))]


def _fish(vary: Vary) -> Parts:
    tail = vary(0.4, 0.6)
    parts: Parts = [(True, _oval(-0.25, 0, 0.72, vary(0.38, 0.5))), (True, _polygon((0.25, 0), (1, -tail), (1, tail)))]
    return [*parts, (False, _oval(-0.62, -0.1, 0.09, 0.09))]


def _cup(vary: Vary) -> Parts:
    foot = vary(0.4, 0.62)
    handle: Parts = [(True, _oval(0.6, -0.05, 0.4, 0.4)), (False, _oval(0.6, -0.05, 0.22, 0.22))]
    return [*handle, (True, _polygon((-0.85, -0.8), (0.6, -0.8), (foot - 0.1, 0.8), (-foot - 0.15, 0.8)))]


def _flag(vary: Vary) -> Parts:
    tip = vary(-0.6, -0.4)
    return [(True, _bar(-0.75, -1, -0.58, 1)), (True, _polygon((-0.6, -0.95), (0.9, tip), (-0.6, vary(-0.1, 0.1))))]


def _key(vary: Vary) -> Parts:
    bow, bit = vary(0.38, 0.46), vary(0.35, 0.5)
    ring: Parts = [(True, _oval(-0.55, 0, bow, bow)), (False, _oval(-0.55, 0, bow * 0.45, bow * 0.45))]
    teeth: Parts = [(True, _bar(0.74, 0, 0.94, bit)), (True, _bar(0.4, 0, 0.57, bit * 0.85))]
    return [*ring, (True, _bar(-0.2, -0.11, 1, 0.11)), *teeth]


SHAPES: dict[str, Callable[[Vary], Parts]] = {
    "circle": lambda vary: [(True, _oval(0, 0, 1, 1))],
    "square": lambda vary: [(True, _bar(-0.85, -vary(0.75, 0.9), 0.85, vary(0.75, 0.9)))],
    "triangle": lambda vary: [(True, _polygon((vary(-0.15, 0.15), -0.95), (1, 0.8), (-1, 0.8)))],
    "star": lambda vary: [(True, _at(np.where(np.arange(10) % 2, vary(0.36, 0.52), 1.0), np.arange(-90, 270, 36.0)))],
    "cross": _cross,
    "ring": lambda vary: [(True, _oval(0, 0, 1, 1)), (False, _oval(0, 0, hole := vary(0.5, 0.68), hole))],
    "heart": _heart,
    "diamond": lambda vary: [(True, _at(np.array([vary(0.55, 0.7), 1.0] * 2), np.arange(0, 360, 90.0)))],
    "hexagon": lambda vary: [(True, _at(1.0, np.arange(0, 360, 60.0)))],
    "arrow": _arrow,
    "moon": _moon,
    "wave": _wave,
    "spiral": _spiral,
    "house": _house,
    "tree": _tree,
    "flower": _flower,
    "cloud": _cloud,
    "crown": _crown,
    "lightning": _lightning,
    "drop": _drop,
    "fish": _fish,
    "cup": _cup,
    "flag": _flag,
    "key": _key,
}


def roughen(outline: Outline, rng: np.random.Generator, amount: float) -> Outline:
    """Redraw an outline with an unsteady hand: points are added along it and pushed by slow waves."""
    closed = np.concatenate([outline, outline[:1]])
    lengths = np.linalg.norm(np.diff(closed, axis=0), axis=1)
    where = np.r_[0, np.cumsum(lengths)]
    even = np.linspace(0, where[-1], max(24, len(closed)), endpoint=False)
    places = np.union1d(where[:-1], even)  # the corners stay
    points = np.stack([np.interp(places, where, closed[:, k]) for k in (0, 1)], 1)
    turns = 2 * math.pi * places[:, None] / where[-1] * rng.integers(2, 7, (1, 2))
    shaken: Outline = points + amount * np.sin(turns + rng.uniform(0, 2 * math.pi, (1, 2)))
    return shaken


CLASS_NAMES: tuple[str, ...] = (
    *(f"letter {letter}" for letter in string.ascii_lowercase),
    *(f"printed {digit}" for digit in DIGITS),
    *SHAPES,
)


@lru_cache
def _font(name: str) -> ImageFont.FreeTypeFont:
    spec = find_spec("matplotlib")  # finds the fonts without importing the package, which takes a while
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("glyphs takes its fonts from matplotlib, which is not installed: pip install matplotlib")
    folder = Path(spec.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / f"{name}.ttf"), 72)


def draw(split: str, label: int, index: int) -> Image.Image:
    """Draw one RGB picture, 48 x 48, or raise where there is none; it depends on (split, label, index) alone.

    The label is an index into `CLASS_NAMES`, and `index` counts the pictures of a split and class, from 0.
    """
    check_known("split of glyphs", [split], SIZES)
    if not (0 <= label < len(CLASS_NAMES) and 0 <= index < SIZES[split]):
        there = f"labels 0 to {len(CLASS_NAMES) - 1}, and in {split!r} pictures 0 to {SIZES[split] - 1} of each"
        raise UsageError(f"glyphs has {there}: not picture {index} of label {label}")
    rng = np.random.default_rng(seed_for("glyphs", split, label, index))
    name = CLASS_NAMES[label]
    sheet = _draw_shape(name, rng) if name in SHAPES else _draw_character(name, rng)
    return Image.fromarray(_colour(sheet, rng))


def _draw_character(name: str, rng: np.random.Generator) -> Image.Image:
    """Print a letter (of either case) or a digit, turned and stretched a little: (96, 96) ink mask."""
    kind, word = name.split()
    character = word if kind == "letter" else str(DIGITS.index(word))
    if rng.random() < 0.5:
        character = character.upper()
    font = _font(_FONTS[rng.integers(len(_FONTS))])
    left, top, right, bottom = font.getbbox(character)
    sheet = Image.new("L", (_SHEET, _SHEET))
    ImageDraw.Draw(sheet).text((_SHEET / 2 - (left + right) / 2, _SHEET / 2 - (top + bottom) / 2), character, 255, font)
    zoom = max(right - left, bottom - top) / (_SHEET * rng.uniform(0.62, 0.85))
    angle, slant = rng.normal(0, 0.1), rng.normal(0, 0.12)
    wide = zoom * np.exp(rng.normal(0, 0.1))
    shift = rng.normal(0, 3, 2)
    turn = np.array([[np.cos(angle), np.sin(angle) + slant], [-np.sin(angle), np.cos(angle)]]) * [[wide], [zoom]]
    offset = _SHEET / 2 - turn @ (_SHEET / 2 + shift)
    matrix = (turn[0, 0], turn[0, 1], offset[0], turn[1, 0], turn[1, 1], offset[1])
    return sheet.transform(sheet.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


def _draw_shape(name: str, rng: np.random.Generator) -> Image.Image:
    """Draw a shape by an unsteady hand: (96, 96) ink mask."""
    angle, size = rng.normal(0, 0.15), _SHEET * rng.uniform(0.3, 0.42)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    stretch, centre = np.exp(rng.normal(0, 0.1, 2)) * size, _SHEET / 2 + rng.normal(0, 4, 2)
    sheet = Image.new("L", (_SHEET, _SHEET))
    pen = ImageDraw.Draw(sheet)
    for ink, outline in SHAPES[name](rng.uniform):
        points = roughen(outline, rng, 0.035) @ turn * stretch + centre
        pen.polygon(points.ravel().tolist(), fill=255 if ink else 0)
    return sheet


def _colour(sheet: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Put the ink mask on paper of a running shade, with one of the `EFFECTS`: (48, 48, 3)."""
    effect = EFFECTS[rng.integers(len(EFFECTS))]
    on_dark = rng.random() < 0.5
    ink, accent = (_shade(rng, bright=on_dark) for _ in range(2))
    paper_from, paper_to = (_shade(rng, bright=not on_dark) for _ in range(2))
    mask = _half(sheet)
    slope = np.linspace(0, 1, IMAGE_SIZE, dtype=np.float32)
    ramp = slope[:, None, None] if rng.random() < 0.5 else slope[None, :, None]
    picture = paper_from * (1 - ramp) + (0.5 * paper_from + 0.5 * paper_to) * ramp
    if effect == "shadow":
        dx, dy = rng.integers(2, 5, 2)
        shadow = np.roll(mask, (dy, dx), (0, 1)) * 0.6
        picture = picture * (1 - shadow) + 0.5 * picture.mean() * shadow
    elif effect == "outline":
        around = _half(sheet.filter(ImageFilter.MaxFilter(7)))
        picture = picture * (1 - around) + accent * 0.5 * around
    elif effect == "halo":
        around = np.minimum(1.5 * _half(sheet.filter(ImageFilter.BoxBlur(6))), 0.7)
        picture = picture * (1 - around) + (0.6 * picture + 0.4 * accent) * around
    elif effect == "speckled":
        holes = rng.random(mask.shape, dtype=np.float32) < rng.uniform(0.1, 0.35)
        mask[holes] = 0
    picture = picture * (1 - mask) + ink * mask
    picture = picture + rng.normal(0, 0.02, picture.shape)
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def _half(sheet: Image.Image) -> NDArray[np.float32]:
    return np.array(sheet.reduce(2), np.float32)[:, :, None] / np.float32(255)


def _shade(rng: np.random.Generator, bright: bool) -> NDArray[np.float32]:
    """Return a colour of any hue, clearly bright or clearly dark: (3,)."""
    hue = rng.random()
    strongest, darkest, lightest = (0.5, 0.75, 1) if bright else (0.9, 0, 0.4)
    colour = colorsys.hsv_to_rgb(hue, rng.uniform(0, strongest), rng.uniform(darkest, lightest))
    return np.array(colour, np.float32)
