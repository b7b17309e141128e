"""Characters of fonts as template pictures."""

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

TEMPLATE = 48
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
# Only the DejaVu family: the other fonts that matplotlib carries are left for the `glyphs` test set.
FONTS = tuple(
    f"DejaVu{face}.ttf"
    for face in (
        *("Sans", "Sans-Bold", "Sans-Oblique", "Sans-BoldOblique", "SansMono", "SansMono-Bold"),
        *("Serif", "Serif-Bold", "Serif-Italic", "Serif-BoldItalic"),
    )
)


def character(text: str, font: str) -> np.ndarray:
    """Draw one character as a mask (48, 48) in 0..1, its longer side 36 pixels."""
    face = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf" / font), 60)
    sheet = Image.new("L", (160, 160))
    ImageDraw.Draw(sheet).text((40, 30), text, font=face, fill=255)
    cut = sheet.crop(sheet.getbbox())
    scale = 36 / max(cut.size)
    cut = cut.resize((max(1, round(cut.width * scale)), max(1, round(cut.height * scale))), Image.Resampling.BICUBIC)
    out = Image.new("L", (TEMPLATE, TEMPLATE))
    out.paste(cut, ((TEMPLATE - cut.width) // 2, (TEMPLATE - cut.height) // 2))
    return np.asarray(out, np.float32) / 255


def font_bank(characters: tuple[str, ...]) -> np.ndarray:
    """Return masks (characters, fonts, 48, 48)."""
    return np.stack([np.stack([character(c, font) for font in FONTS]) for c in characters])
