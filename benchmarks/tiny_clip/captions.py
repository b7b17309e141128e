"""The captions: what may be said about a picture, and in which words."""

from dataclasses import dataclass

import numpy as np

from .shapes import NAMES as SHAPE_NAMES
from .templates import LETTERS

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (8, 8, 8),
    "white": (248, 248, 248),
    "gray": (128, 128, 128),
    "red": (215, 30, 35),
    "green": (35, 165, 55),
    "blue": (40, 65, 215),
    "yellow": (238, 220, 45),
    "orange": (245, 140, 25),
    "purple": (140, 45, 170),
    "pink": (245, 135, 180),
    "cyan": (45, 205, 215),
    "brown": (125, 80, 40),
}
COLOUR_NAMES = tuple(COLOURS)
TEXTURES = ("plain", "striped", "dotted", "checkered")
CONTENTS = (*DIGITS, *LETTERS, *SHAPE_NAMES)
DIGIT_WORDS = ("{}", "{}", "{}", "digit {}", "number {}")
# How a digit came to the paper: said of those that it is true of.
MEDIUM_WORDS = (("handwritten {}", "handwritten digit {}"), ("printed {}", "printed digit {}"))
LETTER_WORDS = ("letter {}", "letter {}", "letter {}", "{}", "character {}", "capital letter {}")
SHAPE_WORDS = ("{}", "{}", "{}", "{}", "{} shape", "symbol {}", "{} sign")
ANY_WORDS = ("object", "thing", "shape", "texture", "pattern", "surface", "picture")
MAIN = "a photo of a {}."
# The prompts that papers use for their data sets, and for ensembles over ImageNet.
OTHERS = (
    *("{}", "{}.", "a {}.", "the {}.", "this is a {}.", "there is a {} here.", "one {}."),
    *("an image of a {}.", "a picture of a {}.", "a drawing of a {}.", "a rendering of a {}.", "a painting of a {}."),
    *("a photo of the {}.", "a photo of one {}.", "a photo of my {}.", "a photo of many {}.", "a photo of an {}."),
    *("a bad photo of the {}.", "a bad photo of a {}.", "a good photo of a {}.", "a photo of the large {}."),
    *("a photo of the small {}.", "itap of a {}.", "itap of my {}.", "art of the {}.", "a origami {}."),
    *("a {} in a video game.", "a blurry photo of a {}.", "a low resolution photo of a {}.", "a bright photo of a {}."),
    *("a dark photo of the {}.", "a clean photo of a {}.", "a dirty photo of a {}.", "a close-up photo of a {}."),
    *("a cropped photo of the {}.", "a pixelated photo of a {}.", "a black and white photo of the {}."),
    *("a jpeg corrupted photo of the {}.", "a photo of the hard to see {}.", "a photo of a weird {}."),
    *("a photo of a cool {}.", "a photo of a nice {}.", "a sculpture of a {}.", "a sketch of a {}.", "a cartoon {}."),
    *("a tattoo of the {}.", "graffiti of a {}.", "a toy {}.", "a plastic {}.", "the embroidered {}."),
    *("a photo of a {}, a type of symbol.", "a photo of a {}, a type of pet.", "a photo of a {}, a type of flower."),
    *("a photo of {}, a type of food.", "a photo of a {}, a type of aircraft.", "a photo of a {}, a type of bird."),
    *("a photo of a {}, a type of character.", "a photo of a {}, a type of shape.", "a photo of the digit {}."),
    *("{} texture.", "a photo of a {} texture.", "a centered satellite photo of {}.", "a satellite photo of {}."),
    *("a photo of a person doing {}.", "a photo of the {} building.", "a photo of a {} car.", "a small {}."),
    *("a {} on a plain background.", "in this small picture we can see a {}.", "a synthetic image of a {}."),
    *("an example image of the object called {}.", "a scan of a handwritten {}.", "a font with the symbol {}."),
)  # fmt: skip
LONGEST_CONTEXT = 16  # "x x x ... {}.": the place holder of randomly initialised contexts


@dataclass(frozen=True)
class Facts:
    """What is true of each picture of a batch: ids (batch,) into CONTENTS, COLOUR_NAMES and TEXTURES.

    `printed` is 0 for pen strokes and 1 for everything else.
    """

    content: np.ndarray
    colour: np.ndarray
    texture: np.ndarray
    printed: np.ndarray


@dataclass(frozen=True)
class Captions:
    """Distinct captions of a batch and what each claims; -1 claims nothing."""

    texts: list[str]
    content: np.ndarray
    colour: np.ndarray
    texture: np.ndarray
    printed: np.ndarray

    def true_of(self, facts: Facts) -> np.ndarray:
        """Return booleans (pictures, captions): which captions are true of which pictures."""
        kinds = ("content", "colour", "texture", "printed")
        pairs = [(getattr(self, kind), getattr(facts, kind)[:, None]) for kind in kinds]
        return np.logical_and.reduce([(said < 0) | (said == fact) for said, fact in pairs])


def phrases(content: int, printed: int) -> list[tuple[str, int]]:
    """Return the ways to name a content, each with what it says of the medium (-1: nothing)."""
    name = CONTENTS[content]
    if content >= len(DIGITS):
        words = LETTER_WORDS if content < len(DIGITS) + len(LETTERS) else SHAPE_WORDS
        return [(word.format(name), -1) for word in words]
    spelled = [(word.format(name), -1) for word in DIGIT_WORDS]
    numeral = [(word.format(content), -1) for word in ("{}", "digit {}")]
    return spelled + numeral + [(word.format(name), printed) for word in MEDIUM_WORDS[printed]]


def vocabulary() -> list[str]:
    """Return texts that together hold every word that a caption may use."""
    things = [text for content in range(len(CONTENTS)) for printed in (0, 1) for text, _ in phrases(content, printed)]
    return [*things, *COLOUR_NAMES, *TEXTURES, *ANY_WORDS, *(t.format("x") for t in (MAIN, *OTHERS))]


def say(facts: Facts, rng: np.random.Generator) -> Captions:
    """Write one true caption per picture, in few templates per batch, and keep the distinct ones."""
    padded = " ".join(["x"] * int(rng.integers(1, LONGEST_CONTEXT + 1))) + " {}."
    others = [OTHERS[k] for k in rng.choice(len(OTHERS), 2, replace=False)]
    templates = [MAIN, MAIN, padded, *others]
    style = int(rng.integers(1 << 30))  # one way to name things per batch, else hardly any caption repeats
    claims: dict[str, tuple[int, ...]] = {}
    draws = rng.random((len(facts.content), 4))
    rows = zip(facts.content, facts.colour, facts.texture, facts.printed, draws, strict=True)
    for content, colour, texture, printed, draw in rows:
        shape = content >= len(DIGITS) + len(LETTERS)
        names_colour = draw[0] < (0.5 if shape else 0.12)
        names_texture = draw[1] < (0.5 if shape else 0.0)
        names_content = draw[2] < 0.93 or not (names_colour or names_texture)
        ways = phrases(content, printed) if names_content else [(word, -1) for word in ANY_WORDS]
        noun, medium = ways[style % len(ways)]
        words = [COLOUR_NAMES[colour]] if names_colour else []
        words += [TEXTURES[texture]] if names_texture else []
        text = templates[int(draw[3] * len(templates))].format(" ".join([*words, noun]))
        claims[text] = (
            content if names_content else -1,
            colour if names_colour else -1,
            texture if names_texture else -1,
            medium,
        )
    return Captions(list(claims), *np.array(list(claims.values())).T)
