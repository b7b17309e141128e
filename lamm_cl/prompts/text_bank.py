"""The text bank: hand-written words around the original names, whose features a method is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from lamm_cl.prompts.wording import Wording


@dataclass(frozen=True)
class TextBank:
    """Fixed templates, one or several a class; the features of several are averaged and normalised.

    Attributes:
        templates: the templates of each class, equally many, or one row for all classes.
        unit: whether the features of the templates are normalised before they are averaged as well.
    """

    templates: tuple[tuple[str, ...], ...]
    unit: bool = True

    @classmethod
    def of(cls, templates: Sequence[str | Sequence[str]], unit: bool = True) -> Self:
        """Return the bank of the templates of each class; those of all classes are written once where they agree."""
        rows = tuple((row,) if isinstance(row, str) else tuple(row) for row in templates)
        return cls(rows[:1] if len(set(rows)) == 1 else rows, unit)

    def wordings(self, class_id: int) -> list[Wording]:
        """Return the words around the name of a class, once a template."""
        row = self.templates[min(class_id, len(self.templates) - 1)]  # an added class has that of the last one
        return [Wording.of(template) for template in row]
