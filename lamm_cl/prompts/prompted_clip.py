"""The prompted CLIP: a frozen backbone and one choice each of context, labels, deep prompts, matching and objective."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.clip.backbone import ClipBackbone
from lamm_cl.clip.words import spoken
from lamm_cl.errors import UsageError
from lamm_cl.prompts import inputs
from lamm_cl.prompts.context import ConditionedContext, Context
from lamm_cl.prompts.deep import Deep
from lamm_cl.prompts.labels import FixedLabels
from lamm_cl.prompts.matching import Cosine, Side, Transport
from lamm_cl.prompts.objective import Objective
from lamm_cl.prompts.text_side import TextSide
from lamm_cl.prompts.wording import Wording

TEACHER_WORDING = Wording("a photo of a", ".")


@dataclass(frozen=True)
class Parts:
    """The choices that make a method.

    Attributes:
        context: words around the names.
        labels: the names.
        deep: tokens inside the layers.
        matching: how an image and a class are compared.
        objective: what is minimised.
        average_variants: whether a class's prompts are averaged to one feature (hand-written templates).
        teacher_wording: fixed template of the zero-shot teacher.
    """

    context: Context
    labels: FixedLabels
    deep: Deep
    matching: Cosine | Transport
    objective: Objective
    average_variants: bool = False
    teacher_wording: Wording = TEACHER_WORDING


@dataclass(frozen=True)
class Output:
    """Everything of one forward pass.

    Attributes:
        logits: (batch, n).
        columns: class id of each of the n columns.
        image: (batch, v, E) image features, normalised.
        text: (n, v, E) text features, normalised; (batch, n, v, E) where they depend on the image.
        teacher: (n, E) features of the original names, where the objective asks for them.
        labels: vectors (m, D) of the classes whose labels train, and the word embeddings they started from.
        scale: logit scale.
        zero_shot: computes the zero-shot features (n, E) of these columns.
    """

    logits: Tensor
    columns: tuple[int, ...]
    image: Tensor
    text: Tensor
    teacher: Tensor | None
    labels: tuple[list[Tensor], list[Tensor]]
    scale: Tensor
    zero_shot: Callable[[], Tensor]

    def teacher_logits(self) -> Tensor:
        """Return the logits (batch, n) of the original names."""
        assert self.teacher is not None
        image = self.image[:, 0] if self.image.shape[1] == 1 else F.normalize(self.image.mean(1), dim=-1)
        with torch.autocast(image.device.type, enabled=False):  # as the learned logits
            return self.scale * image @ self.teacher.to(image.dtype).t()

    def emptied(self) -> "Output":
        """Return this output for no image at all."""
        text = self.text[:0] if self.text.dim() == 4 else self.text
        return replace(self, logits=self.logits[:0], image=self.image[:0], text=text)


class PromptedCLIP(nn.Module):
    """A CLIP whose prompts learn and whose weights do not.

    Args:
        backbone: the frozen CLIP; it is no child module: nothing copies, trains or saves it.
        class_names: the classes, one column of logits each.
        parts: the choices that make the method.
        method: name for messages and records.
        learn: whether the labels of all classes are learned from the start; otherwise see `learn_classes`.
        repeated_names: whether a name may stand for several classes (of several data sets).

    Raises:
        UsageError: a class name is empty, repeated, or does not fit the text window.
    """

    def __init__(
        self,
        backbone: ClipBackbone,
        class_names: Sequence[str],
        parts: Parts,
        *,
        method: str = "custom",
        learn: bool = True,
        repeated_names: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, self.parts, self.method = backbone, parts, method
        self.context, self.labels, self.deep = parts.context, parts.labels, parts.deep
        self.matching, self.objective, self.average_variants = parts.matching, parts.objective, parts.average_variants
        self.repeated_names = repeated_names
        self.class_names: tuple[str, ...] = ()
        self.groups: list[tuple[int, ...]] = []  # classes learned together, in order
        self.options: dict[str, Any] = {}
        self._text = TextSide(self)
        if self.deep.vision and not backbone.image.supports_prompts:
            raise UsageError(
                f"{method} puts prompts into the image tower, which {backbone.name} does not take: "
                "use a backbone with open_clip's own VisionTransformer, or a text-side method such as coop or lamm"
            )
        self._append(class_names)
        if learn:
            self.learn_classes(range(len(self.class_names)))

    @property
    def dtype(self) -> torch.dtype:
        """Data type of prompts, features and logits: float32, or float64 for a float64 backbone."""
        return torch.float64 if self.backbone.dtype == torch.float64 else torch.float32

    @property
    def needs_images(self) -> bool:
        """Whether prompts enter the image tower, so that images cannot be replaced by cached features."""
        return self.deep.vision

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, n_classes).

        Args:
            images: (batch, 3, H, W) preprocessed, or, where no prompt enters the image tower, features (batch, E)
                of length 1.

        Raises:
            UsageError: other shapes, or features of another length.
        """
        inputs.check_values(self, images)
        return self.output(images).logits

    def output(self, images: Tensor, columns: Sequence[int] | Tensor | None = None) -> Output:
        """Return everything of one forward pass.

        Args:
            images: as for `forward`, but the length of features is not looked at: this is every training step.
            columns: class ids to score; default: all.

        Raises:
            UsageError: other shapes, or columns that the model does not have.
        """
        inputs.check_pictures(self, images)
        if not len(images):  # neither the towers nor text that depends on the image take an empty batch
            return self.output(images.new_zeros(1, *images.shape[1:]), columns).emptied()
        ids = inputs.label_space(columns, len(self.class_names))
        image = self._image_side(images)
        if isinstance(self.context, ConditionedContext):
            text, teacher = self._text.encode_for_images(ids, self.context.for_images(image.features[:, 0])), None
        else:
            text, teacher = self._text.encode(ids)
        if self.objective.teacher and teacher is None:
            teacher = self._text.original(ids)
        with torch.autocast(image.features.device.type, enabled=False):
            scale = self.backbone.logit_scale.to(self.dtype)
            logits = scale * self.matching(image, text)
            if self.backbone.logit_bias is not None:
                logits = logits + self.backbone.logit_bias.to(self.dtype)
        trainable = self.labels.trainable
        moving = [c for c in ids if c in trainable]
        labels = (self.labels.rows(moving), self.labels.anchors(moving))
        zero_shot = lambda: self._text.original(ids)  # noqa: E731
        return Output(logits, ids, image.features, text.features, teacher, labels, scale, zero_shot)

    def losses(
        self,
        images: Tensor | None,
        labels: Tensor,
        *,
        image_features: Tensor | None = None,
        classes: Sequence[int] | Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the training loss "total" and its terms, unweighted: "ce" and, where they apply, "wc", "cos", "kd".

        Args:
            images: (batch, 3, H, W) preprocessed, or None with `image_features`.
            labels: (batch,) class ids.
            image_features: (batch, E) of length 1, instead of images, where no prompt enters the image tower.
            classes: label space: class ids that compete; default: all.

        Raises:
            UsageError: inputs of other shapes, types or lengths, an empty batch, a label that does not compete.
        """
        given = inputs.pictures(self, images, image_features)
        space = inputs.label_space(classes, len(self.class_names))
        inputs.label_rows(labels, space, len(given))  # once more than needed, but before the forward pass
        return self.objective(self.output(given, space), labels, space)

    def add_classes(self, names: Sequence[str]) -> None:
        """Add classes whose labels are learned from now on; every label learned before is frozen."""
        known = {name: class_id for class_id, name in enumerate(self.class_names)}
        new = [name for name in names if name not in known]
        self._append(new)
        known = {name: class_id for class_id, name in enumerate(self.class_names)}
        self.learn_classes([known[name] for name in names])

    def learn_classes(self, class_ids: Sequence[int]) -> None:
        """Make the labels of exactly these classes trainable; other learned labels are frozen."""
        ids = [int(class_id) for class_id in class_ids]
        known = {c for group in self.groups for c in group}
        new = tuple(c for c in ids if c not in known)
        if new:
            self.groups.append(new)
        self.labels.learn({c: self.class_names[c] for c in ids})
        self.context.learn(ids)
        self._text.forget()

    def freeze_classes(self) -> None:
        """Stop training every learned label."""
        self.labels.freeze()
        self.context.freeze_classes()
        self._text.forget()

    def freeze_context(self) -> None:
        """Stop training the context, the deep prompts and the projections; labels go on."""
        for part in (self.context, self.deep):
            for parameter in part.parameters():
                parameter.requires_grad_(False)
        self._text.forget()

    def forget_features(self) -> None:
        """Drop remembered text features; needed after values were changed by hand."""
        self._text.forget()

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load learned values and drop remembered text features."""
        self._text.forget()
        return super().load_state_dict(state_dict, strict, assign)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._text.forget()
        return cast(Self, super()._apply(fn, recurse))  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def _append(self, names: Sequence[str]) -> None:
        words = self.backbone.text.words
        words.check_names(names)
        every = [*self.class_names, *names]
        twice = next((name for name in every if every.count(name) > 1), None) if not self.repeated_names else None
        if twice is not None:
            raise UsageError(f"class name {twice!r} is given more than once: every class needs a name of its own")
        self.class_names = tuple(every)
        self._text.forget()
        self._text.check(range(len(every) - len(names), len(every)))
        self._warn_of_unknown_words(names)

    def _warn_of_unknown_words(self, names: Sequence[str]) -> None:
        """Name the words that the embedded backbone was never trained on: they work, but mean nothing to it."""
        find = getattr(self.backbone.tokenizer, "unknown_words", None)
        words = find([spoken(name) for name in names]) if find else []
        if words:
            shown = ", ".join(words[:10]) + (f" and {len(words) - 10} more" if len(words) > 10 else "")
            warnings.warn(
                f"{self.backbone.name} has not learned the words {shown}: their classes start from random meanings",
                UserWarning,
                stacklevel=4,
            )

    def _image_side(self, images: Tensor) -> Side:
        if images.dim() == 2:
            return Side(images.to(self.backbone.device, self.dtype)[:, None])
        if not self.deep.vision:
            return Side(self.backbone.encode_images(images).to(self.dtype)[:, None])
        return self._prompted_images(images)

    def _prompted_images(self, images: Tensor) -> Side:
        tower, dtype = self.backbone.image, self.backbone.dtype
        context = getattr(self.context, "ctx", None)
        first, deep = self.deep.image(context if isinstance(context, Tensor) else None)
        assert first is not None
        batch, variants = len(images), self.context.variants
        images = images.to(self.backbone.device, dtype)
        if variants > 1:  # each image once a prompt, with that prompt's tokens
            first, deep = first.repeat(batch, 1, 1), tuple(layer.repeat(batch, 1, 1) for layer in deep)
        found = tower(images, first, deep, tokens=self.matching.tokens)
        features, tokens = found if isinstance(found, tuple) else (found, None)
        features = F.normalize(features.to(self.dtype), dim=-1).view(batch, variants, -1)
        if tokens is None:
            return Side(features)
        patches = F.normalize(tokens[:, 1:].to(self.dtype), dim=-1)  # the class token takes no part
        return Side(features, patches.view(batch, variants, *patches.shape[1:]))
