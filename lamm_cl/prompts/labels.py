"""Class names in a prompt: the words themselves, or learned vectors in their place (LAMM)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from lamm_cl.clip.words import spoken
from lamm_cl.prompts.vectors import ClassVectors, Initial
from lamm_cl.prompts.wording import LabelPlace

if TYPE_CHECKING:
    from lamm_cl.clip.backbone import ClipBackbone

Dialect = Literal["official", "paper"]


class FixedLabels(nn.Module):
    """The class names as words: no class has learned vectors."""

    place: LabelPlace = "name_start"

    def __init__(self) -> None:
        super().__init__()
        self.token_classes = ClassVectors()
        self._last: tuple[list[int], Tensor] | None = None

    def lengths(self, class_ids: Sequence[int]) -> list[int]:
        """Return the number of learned vectors of each class; 0 where the name is still words."""
        values = self.token_classes.values
        return [len(values[str(c)]) if str(c) in values else 0 for c in class_ids]

    def learn(self, names: dict[int, str]) -> None:
        """Make exactly these classes trainable, where labels are learned."""

    def joined(self, class_ids: Sequence[int]) -> Tensor:
        """Return the vectors of all these classes as one tensor (K, D), kept for the terms of the same step."""
        rows = self.token_classes.rows(class_ids)
        self._last = None  # before the next is made: nothing of an older step stays alive
        self._last = list(class_ids), torch.cat(rows)
        return self._last[1]

    def in_this_step(self, class_ids: Sequence[int]) -> list[Tensor]:
        """Return the vectors of these classes, joined where `joined` was last asked for just them, with gradients."""
        last, self._last = self._last, None
        known = last is not None and last[0] == list(class_ids) and last[1].requires_grad
        return [last[1]] if last is not None and known else self.token_classes.rows(class_ids)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}  # a copy has no step under way

    def anchors(self, class_ids: Sequence[int]) -> list[Tensor]:
        """Return what L_WC keeps the vectors (m, D) of each class near."""
        return [self.get_buffer(f"anchor_{class_id}") for class_id in class_ids]


class LearnedLabels(FixedLabels):
    """A trainable embedding for each class name (LAMM, Gao et al. 2024, section 3.2).

    The paper replaces a name by one vector <M_i>; the released code replaces the first m tokens of every name, m being
    the fewest tokens of any name that is learned together with it, and leaves the rest of a longer name as text.

    L_WC keeps the vectors near an anchor: the words' embeddings (equation 5), or, where the released code starts them
    at random, that random start, since it copies the anchor after filling in the noise (trainers/coop.py and maple.py,
    `_get_token_classes`).

    Args:
        backbone: its text tower embeds the names.
        dialect: "official" (the released code) or "paper".
        initialisation: "words" (embeddings of the name) or "random" (the paper's Table 5).
        initial: source of random values.
        place: where the vectors stand; by default where the dialect puts them.
    """

    def __init__(
        self,
        backbone: "ClipBackbone",
        dialect: Dialect,
        initialisation: Literal["words", "random"],
        initial: Initial,
        place: LabelPlace | None = None,
    ) -> None:
        super().__init__()
        self.place = place or ("whole_name" if dialect == "paper" else "name_start")
        self._backbone, self._initial = backbone, initial
        self._dialect, self._random = dialect, initialisation == "random"

    def learn(self, names: dict[int, str]) -> None:
        """Make exactly these classes trainable; new ones start from their names (or random values)."""
        known = set(self.token_classes.learned)
        words = self._embed({class_id: name for class_id, name in names.items() if class_id not in known})
        start = {class_id: self._start(class_id, embedding) for class_id, embedding in words.items()}  # of new classes
        noise = self._random and self._dialect == "official"
        for class_id, embedding in words.items():
            # Noise is saved with the learned values: a model of another seed could not make it again.
            self.register_buffer(f"anchor_{class_id}", start[class_id] if noise else embedding, persistent=noise)
        self.token_classes.learn({c: start.get(c, a) for c, a in zip(names, self.anchors(list(names)), strict=True)})

    def _embed(self, names: dict[int, str]) -> dict[int, Tensor]:
        tower = self._backbone.text
        ids = {class_id: tower.words.ids(spoken(name)) for class_id, name in names.items()}
        dtype = self._initial.dtype
        if self._dialect == "paper":
            return {c: tower.embed(tokens).to(dtype).mean(0, keepdim=True) for c, tokens in ids.items()}
        fewest = 1 if self.place == "after_context" else min((len(tokens) for tokens in ids.values()), default=0)
        return {c: tower.embed(tokens[:fewest]).to(dtype) for c, tokens in ids.items()}

    def _start(self, class_id: int, words: Tensor) -> Tensor:
        if not self._random:
            return words
        return self._initial.normal(f"token_classes/{class_id}", *words.shape)
