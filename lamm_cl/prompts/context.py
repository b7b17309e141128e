"""The context of a prompt: the words around the class name, fixed or learned."""

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.errors import UsageError
from lamm_cl.prompts.vectors import ClassVectors, Initial
from lamm_cl.prompts.wording import Position, TextBank, Wording

if TYPE_CHECKING:
    from lamm_cl.clip.text_tower import TextTower

PLACEHOLDER = "X"  # the word that stands where a random vector goes, as in the papers' codes
QUICK_GELU = 1.702
CLASS_TOKENS = 4  # that TCP makes of a class


class Context(nn.Module):
    """What stands around the class names. Abstract: use one of the classes below."""

    variants: int = 1  # prompts a class has
    n_ctx: int = 0  # learned vectors a prompt has
    position: Position = "end"
    conditioned: bool = False  # whether the learned vectors depend on the image
    class_specific: bool = False  # whether each class has its own learned vectors
    whole: bool = False  # whether some prompts are sentences without a place for the name
    bank: TextBank | None = None  # words of the zero-shot features from which `class_tokens` makes vectors; None: none
    layer: int = 0  # of the text tower, from 0, before which those replace the first tokens after the start token

    def wording(self, class_id: int, variant: int) -> Wording:
        """Return the words around the name of a class in its prompt number `variant`."""
        raise NotImplementedError

    def vectors(self, variant: int, class_ids: Sequence[int]) -> Tensor | None:
        """Return the learned vectors (K, D) of a variant, n_ctx of them (n_ctx a class where class-specific)."""
        return None

    def for_images(self, image_features: Tensor) -> Tensor:
        """Return the vectors (batch, n_ctx, D) for normalised image features (batch, E), where `conditioned`."""
        raise NotImplementedError

    def counts(self, class_ids: Sequence[int]) -> list[int] | None:
        """Return how many of the variants are each class's own; None: all of every class."""
        return None

    def class_tokens(self, zero_shot: Tensor) -> Tensor:
        """Return the vectors (n, m, D) of classes with normalised zero-shot features (n, E); see `bank`."""
        raise NotImplementedError

    def learn(self, class_ids: Sequence[int]) -> None:
        """Make the vectors of these classes trainable, where each class has its own."""

    def freeze_classes(self) -> None:
        """Stop training the vectors of single classes."""


class FixedContext(Context):
    """Hand-written templates or sentences; several are averaged.

    Args:
        templates: the templates of each class, or one list of them for all;
            a text without "{}" is a sentence, which stands for the class without its name.
    """

    def __init__(self, templates: Sequence[Sequence[str]]) -> None:
        super().__init__()
        self.variants = max(map(len, templates))
        same = {len(row) for row in templates} == {self.variants}
        self._counts = None if same else [len(row) for row in templates]
        read = {text: Wording.read(text) for text in dict.fromkeys(chain.from_iterable(templates))}
        self._wordings = [[read[text] for text in row] for row in templates]
        self.whole = any(wording.whole for wording in read.values())

    def wording(self, class_id: int, variant: int) -> Wording:
        """Return the class's template; a class that was added later has that of the last one.

        Raises:
            UsageError: an added class, where each has sentences of its own.
        """
        if class_id >= len(self._wordings) > 1 and self.whole:
            raise UsageError("a class is added, and there are sentences for the first ones only: build a new model")
        row = self._wordings[min(class_id, len(self._wordings) - 1)]
        return row[min(variant, len(row) - 1)]

    def counts(self, class_ids: Sequence[int]) -> list[int] | None:
        """Return how many texts each class has; None: equally many."""
        last = 0 if self._counts is None else len(self._counts) - 1
        return None if self._counts is None else [self._counts[min(class_id, last)] for class_id in class_ids]


class LearnedContext(Context):
    """Learned vectors instead of the first words before the name (CoOp, Zhou et al. 2022, section 3.2).

    Args:
        tower: text tower, which embeds the initial words.
        n_ctx: number of learned vectors; 0 = as many as there are initial words.
        ctx_init: initial words; empty = random vectors. Words beyond n_ctx stay as fixed text (MaPLe).
        initial: source of random values.
        position: where the class name stands.
        variants: number of prompts; only the first starts from the words (ALIGN).
        zeros: number of vectors in front of the words that start at zero (ProGrad's released code).
    """

    def __init__(
        self,
        tower: "TextTower",
        n_ctx: int,
        ctx_init: str,
        initial: Initial,
        position: Position = "end",
        variants: int = 1,
        zeros: int = 0,
    ) -> None:
        super().__init__()
        ids = tower.words.ids(ctx_init.replace("_", " ")) if ctx_init else []
        self.n_ctx = n_ctx or zeros + len(ids)
        self._check(ids, ctx_init, position, zeros)
        self.position, self.variants = position, variants
        placeholder = Wording(" ".join([PLACEHOLDER] * self.n_ctx), ".")
        before = " ".join([*[PLACEHOLDER] * zeros, ctx_init.replace("_", " ")])
        first = Wording(before, ".") if ids else placeholder
        self._wordings = [first] + [placeholder] * (variants - 1)
        shape = (self.n_ctx, tower.width)
        if ids:
            words = tower.embed(ids[: self.n_ctx - zeros]).to(initial.dtype)
            start = torch.cat([words.new_zeros(zeros, tower.width), words])
        else:
            start = initial.normal("ctx/0", *shape)
        others = [initial.normal(f"ctx/{variant}", *shape) for variant in range(1, variants)]
        self.ctx = nn.Parameter(torch.stack([start, *others]) if others else start.clone())

    def wording(self, class_id: int, variant: int) -> Wording:
        """Return the words whose first n_ctx tokens are learned."""
        return self._wordings[variant]

    def vectors(self, variant: int, class_ids: Sequence[int]) -> Tensor | None:
        """Return the shared vectors (n_ctx, D)."""
        return self.ctx if self.variants == 1 else self.ctx[variant]

    def _check(self, ids: Sequence[int], ctx_init: str, position: Position, zeros: int) -> None:
        if self.n_ctx < 1:
            raise UsageError("n_ctx must be at least 1, or give the initial words with ctx_init")
        if ids and self.n_ctx > zeros + len(ids):
            raise UsageError(
                f"n_ctx={self.n_ctx} learned vectors need as many initial tokens, but ctx_init={ctx_init!r} has "
                f"{len(ids)}: lower n_ctx, give more words, or leave ctx_init empty for random vectors"
            )
        if ids and position != "end" and self.n_ctx != len(ids):
            raise UsageError(
                f"class_token_position={position!r} needs every word of ctx_init learned (n_ctx={len(ids)})"
            )


class ClassSpecificContext(Context):
    """Learned vectors that each class has for itself, n_ctx each, drawn by its id (CoOp's CSC)."""

    class_specific = True

    def __init__(self, tower: "TextTower", n_ctx: int, initial: Initial, position: Position = "end") -> None:
        super().__init__()
        self.n_ctx, self.position = n_ctx, position
        self.ctx = ClassVectors()
        self._width, self._initial = tower.width, initial
        self._wording = Wording(" ".join([PLACEHOLDER] * n_ctx), ".")

    def wording(self, class_id: int, variant: int) -> Wording:
        """Return the placeholder words."""
        return self._wording

    def vectors(self, variant: int, class_ids: Sequence[int]) -> Tensor | None:
        """Return the vectors of the classes one after the other (len(class_ids) * n_ctx, D)."""
        learned = set(self.ctx.learned)
        rows = [self.ctx.rows([c])[0] if c in learned else self._start(c) for c in class_ids]
        return torch.cat(rows)

    def learn(self, class_ids: Sequence[int]) -> None:
        """Make the vectors of exactly these classes trainable."""
        self.ctx.learn({class_id: self._start(class_id) for class_id in class_ids})

    def freeze_classes(self) -> None:
        """Stop training the vectors of single classes."""
        self.ctx.freeze()

    def _start(self, class_id: int) -> Tensor:
        return self._initial.normal(f"ctx/class/{class_id}", self.n_ctx, self._width)


class ConditionedContext(LearnedContext):
    """Learned vectors plus a bias computed from the image (CoCoOp, Zhou et al. 2022, equation 3).

    `features` is the width of an image feature; all else is as for `LearnedContext`.
    """

    conditioned = True

    def __init__(self, tower: "TextTower", features: int, n_ctx: int, ctx_init: str, initial: Initial) -> None:
        super().__init__(tower, n_ctx, ctx_init, initial)
        self.meta_net = _two_layers(initial, features, max(1, features // 16), tower.width)

    def for_images(self, image_features: Tensor) -> Tensor:
        """Return the vectors (batch, n_ctx, D) for normalised image features (batch, E)."""
        bias: Tensor = self.meta_net["linear2"](F.relu(self.meta_net["linear1"](image_features)))
        return self.ctx[None] + bias[:, None]


class ClassAwareContext(LearnedContext):
    """Learned vectors, and in one layer tokens made from each class's zero-shot feature (TCP, Yao et al. 2024, eq. 5).

    `features` is the width of a feature. Of each class's `templates`, or of one for all, the first n_ctx tokens before
    the name are the learned vectors, whatever they say, and there are as many where they are fewer.
    """

    def __init__(
        self,
        tower: "TextTower",
        features: int,
        n_ctx: int,
        ctx_init: str,
        initial: Initial,
        templates: Sequence[str],
        bank: TextBank,
        layer: int,
    ) -> None:
        super().__init__(tower, n_ctx, ctx_init, initial)
        self.bank, self.layer = bank, layer
        self._of_class = [self._padded(tower, Wording.of(template)) for template in templates]
        self.meta_net = _two_layers(initial, features, features // 4, CLASS_TOKENS * tower.width)

    def wording(self, class_id: int, variant: int) -> Wording:
        """Return the class's words, whose first n_ctx tokens are learned."""
        return self._of_class[min(class_id, len(self._of_class) - 1)]

    def class_tokens(self, zero_shot: Tensor) -> Tensor:
        """Return the tokens (n, m, D) of classes with normalised zero-shot features (n, E)."""
        hidden = self.meta_net["linear1"](zero_shot)
        made: Tensor = self.meta_net["linear2"](hidden * torch.sigmoid(QUICK_GELU * hidden))
        return made.view(len(zero_shot), CLASS_TOKENS, -1)

    def _padded(self, tower: "TextTower", wording: Wording) -> Wording:
        """Return words with at least n_ctx tokens before the name."""
        before = tower.words.ids(wording.before) if wording.before else []
        missing = [PLACEHOLDER] * (self.n_ctx - len(before))
        return Wording(" ".join([wording.before, *missing]).strip(), wording.after)


def _two_layers(initial: Initial, inputs: int, hidden: int, outputs: int) -> nn.ModuleDict:
    first, second = initial.linear("meta_net/1", inputs, hidden), initial.linear("meta_net/2", hidden, outputs)
    return nn.ModuleDict({"linear1": first, "linear2": second})
