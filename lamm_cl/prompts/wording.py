"""How a prompt is written: words before a class's name, the name, words after it; and the bank of written texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from lamm_cl.clip.words import Words, spoken
from lamm_cl.errors import UsageError

Position = Literal["front", "middle", "end"]  # where a class name stands among the context (CoOp)
# The first tokens of the name (LAMM's released code), the name (LAMM's paper), or the words right after the learned
# context (released MaPLe+LAMM).
LabelPlace = Literal["name_start", "whole_name", "after_context"]


@dataclass(frozen=True)
class Wording:
    """The words around a class name."""

    before: str
    after: str
    whole: bool = False  # whether `before` is the whole text, without the name

    @classmethod
    def of(cls, template: str) -> "Wording":
        """Split a template such as "a photo of a {}."."""
        if template.count("{}") != 1:
            raise UsageError(f"template {template!r} must hold '{{}}' exactly once, where the class name goes")
        before, after = template.split("{}")
        return cls(before.strip(), after)

    @classmethod
    def read(cls, sentence: str) -> "Wording":
        """Take a sentence as it is, unless it is a template."""
        return cls.of(sentence) if "{}" in sentence else cls(sentence.strip(), "", whole=True)


def body(
    words: Words,
    wording: Wording,
    class_name: str,
    context: Sequence[int] = (),  # codes of vectors (`prompts_layout.slot`) in the place of the first words before it
    label: Sequence[int] = (),  # of those in the place of what `place` says
    place: LabelPlace = "name_start",
    position: Position = "end",
) -> list[int]:
    """Return the codes of one prompt, without start and end tokens.

    The text is tokenised whole, as the papers' codes do: a name that ends in punctuation may share a token with what
    follows it.
    """
    if wording.whole:
        return words.ids(wording.before)
    name = spoken(class_name)
    before = words.ids(wording.before) if wording.before else []
    rest = words.ids(f"{wording.before} {name}{wording.after}".strip())
    # Words are split at spaces before they become tokens, so what stands before the name keeps its tokens.
    rest = rest[len(before) :] if rest[: len(before)] == before else words.ids(f"{name}{wording.after}")
    name_length = min(len(words.ids(name)), len(rest))
    if label and place == "whole_name":
        rest = [*label, *(words.ids(wording.after.strip()) if wording.after.strip() else [])]
        name_length = len(label)
    elif label and place == "name_start":
        rest = [*label, *rest[len(label) :]]
    front = [*context, *before[len(context) :]]
    if label and place == "after_context":
        first, stop = len(context), len(context) + len(label)
        front = [*front[:first], *label, *front[stop:]]
    half = {"front": 0, "middle": len(front) // 2, "end": len(front)}[position]
    return [*front[:half], *rest[:name_length], *front[half:], *rest[name_length:]]


@dataclass(frozen=True)
class TextBank:
    """Fixed templates, one or several a class; the features of several are averaged and normalised."""

    templates: tuple[tuple[str, ...], ...]  # of each class, equally many, or one row for all classes
    unit: bool = True  # whether the features of the templates are normalised before they are averaged as well

    @classmethod
    def of(cls, templates: Sequence[str | Sequence[str]], unit: bool = True) -> Self:
        """Return the bank of the templates of each class; those of all classes are written once where they agree."""
        rows = tuple((row,) if isinstance(row, str) else tuple(row) for row in templates)
        return cls(rows[:1] if len(set(rows)) == 1 else rows, unit)

    def wordings(self, class_id: int) -> list[Wording]:
        """Return the words around the name of a class, once a template."""
        row = self.templates[min(class_id, len(self.templates) - 1)]  # an added class has that of the last one
        return [Wording.of(template) for template in row]
