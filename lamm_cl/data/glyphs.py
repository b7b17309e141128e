"""`glyphs`: 60 classes of synthetic pictures (letters, printed digits, shapes), drawn when they are asked for.

Made for streams of many steps that run anywhere. Nothing here was used to pre-train `tiny`: other fonts (STIX and
Computer Modern), other outlines, other colours and other effects.
"""

import colorsys
import string
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from lamm_cl.data.glyph_shapes import SHAPES, roughen
from lamm_cl.errors import UsageError, unknown
from lamm_cl.seeds import seed_for

Split = Literal["train", "val", "test"]
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLASS_NAMES: tuple[str, ...] = (
    *(f"letter {letter}" for letter in string.ascii_lowercase),
    *(f"printed {digit}" for digit in DIGITS),
    *SHAPES,
)
SIZES: dict[Split, int] = {"train": 40, "val": 10, "test": 40}  # pictures per class
IMAGE_SIZE = 48
TEMPLATE = "a photo of a {}."
EFFECTS = ("flat", "shadow", "outline", "halo", "speckled")

_SHEET = 2 * IMAGE_SIZE  # drawn at twice the size, then averaged
_FONTS = (
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmb10", "cmss10", "cmtt10", "cmti10"),
)

Mask = NDArray[np.float32]


@lru_cache
def _font(name: str) -> ImageFont.FreeTypeFont:
    spec = find_spec("matplotlib")  # finds the fonts without importing the package, which takes a while
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("glyphs takes its fonts from matplotlib, which is not installed: pip install matplotlib")
    folder = Path(spec.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / f"{name}.ttf"), 72)


def draw(split: Split, label: int, index: int) -> Image.Image:
    """Draw one picture; it depends on (split, label, index) alone.

    Args:
        split: "train", "val" or "test".
        label: Index into `CLASS_NAMES`.
        index: Number of the picture within its split and class, 0 to `SIZES[split]` - 1.

    Returns:
        RGB picture, 48 x 48.

    Raises:
        UsageError: There is no such split, class or picture.
    """
    if split not in get_args(Split):
        raise unknown("split of glyphs", split, SIZES)
    if not 0 <= label < len(CLASS_NAMES):
        raise UsageError(f"glyphs has labels 0 to {len(CLASS_NAMES) - 1}, not {label}")
    if not 0 <= index < SIZES[split]:
        raise UsageError(f"glyphs has pictures 0 to {SIZES[split] - 1} of each class in {split!r}, not {index}")
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


def _half(sheet: Image.Image) -> Mask:
    small: Mask = np.array(sheet.reduce(2), np.float32)[:, :, None] / np.float32(255)
    return small


def _shade(rng: np.random.Generator, bright: bool) -> NDArray[np.float32]:
    """Return a colour of any hue, clearly bright or clearly dark: (3,)."""
    hue = rng.random()
    strength, light = (
        (rng.uniform(0, 0.5), rng.uniform(0.75, 1)) if bright else (rng.uniform(0, 0.9), rng.uniform(0, 0.4))
    )
    return np.array(colorsys.hsv_to_rgb(hue, strength, light), np.float32)
