"""The prompted CLIP: a frozen backbone and one choice of each part of the algebra that scores images by text."""

import copy
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.clip.backbone import ClipBackbone
from lamm_cl.clip.feature_backbone import Backbone, projected
from lamm_cl.clip.low_rank import NOWHERE
from lamm_cl.clip.words import spoken
from lamm_cl.errors import UsageError
from lamm_cl.files import write_atomic
from lamm_cl.methods import inputs
from lamm_cl.methods.composed import ComposedLearner, Parts
from lamm_cl.methods.head import Head, Text
from lamm_cl.methods.objective import PLAIN_IMAGE, PREVIOUS, Output
from lamm_cl.methods.stage import Stage, StageData, Step
from lamm_cl.prompts.given_text import GivenText
from lamm_cl.prompts.matching import Cosine, Side, averaged
from lamm_cl.prompts.text_side import TextSide
from lamm_cl.prompts.vectors import trains
from lamm_cl.prompts.wording import TextBank
from lamm_cl.tensor_file import pack


@dataclass(frozen=True)
class PromptedOutput(Output):
    """Everything of one forward pass of a prompted CLIP; what is not needed for the logits is computed when asked.

    Attributes:
        image: (batch, v, E) image features, normalised.
        text: (n, v, E) text features, normalised; (batch, n, v, E) where they depend on the image.
        scale: logit scale.
        given: (batch, ...) the images, or features as the model takes them.
        model: whose output this is.
    """

    image: Tensor
    text: Tensor
    scale: Tensor
    given: Tensor
    model: "PromptedCLIP"
    _asked: dict[Any, Any] = field(default_factory=dict)

    def zero_shot(self, bank: TextBank | None = None) -> Tensor:
        """Return features (n, E) of the original names in fixed templates, without gradient.

        Args:
            bank: the templates; None: the method's `teacher_wording`.
        """
        found: Tensor = self._once(("zero_shot", bank), lambda: self.model.text.original(self.columns, bank))
        return found

    def zero_shot_image(self) -> Tensor:
        """Return features (batch, E) of the images in the plain image tower, normalised, without gradient."""
        found: Tensor = self._once(PLAIN_IMAGE, lambda: self.model._plain_image(self.given)[: len(self.logits)])
        return found

    def supply(self, plain: Tensor) -> None:
        """Take what `zero_shot_image` would compute."""
        self._asked[PLAIN_IMAGE] = plain.to(self.image.device, self.model.dtype)

    def zero_shot_logits(self, bank: TextBank | None = None) -> Tensor:
        """Return the logits (batch, n) of zero-shot CLIP, without gradient."""
        image, text = self.zero_shot_image(), self.zero_shot(bank)
        found: Tensor = self._once(("logits", bank), lambda: self.model._cosines(image, text, self.scale))
        return found

    def previous(self) -> "PromptedOutput | None":
        """Return what the learner gave for the same images before the stage; None in the first stage."""
        before = self.model.previous
        if before is None:
            return None
        with torch.no_grad():
            found: PromptedOutput = self._once("previous", lambda: before.training_output(self.given, self.columns))
        return found

    def _once(self, name: Any, make: Callable[[], Any]) -> Any:
        """Return what was asked for under a name; it is made the first time."""
        if name not in self._asked:
            self._asked[name] = make()
        return self._asked[name]

    def current_names(self) -> Tensor:
        """Return features (n, E) of the original names in the context as it is now."""
        found: Tensor = self._once("current_names", lambda: self.model.text.current(self.columns))
        return found

    def found(self, name: str) -> Tensor:
        """Return what the head left for the terms of the objective."""
        left: Tensor = self._asked[name]
        return left

    def label_vectors(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the vectors (m, D) of the classes whose labels train, maybe joined, and what each is kept near."""
        labels = self.model.labels
        trainable = labels.token_classes.trainable  # it looks at every class: once a step
        moving = [c for c in self.columns if c in trainable]
        return labels.in_this_step(moving), labels.anchors(moving)

    def against(self, text: Tensor) -> Tensor:
        """Return the logits (batch, n) of the images with other text features (n, E), normalised."""
        return self.model._compare(Side(self.image), Side(text[:, None]), self.scale)

    def emptied(self) -> Self:
        """Return this output for no image at all."""
        text = self.text[:0] if self.text.dim() == 4 else self.text
        return replace(super().emptied(), image=self.image[:0], text=text, given=self.given[:0], _asked={})


class PromptedCLIP(ComposedLearner):
    """A CLIP whose prompts, adapters or head learn and whose weights do not.

    Args:
        backbone: the frozen CLIP; it is no child module: nothing copies, trains or saves it.
        class_names: the classes, one column of logits each.
        parts: the choices that make the method.
        method: name for messages and records.
        learn: whether the labels of all classes are learned from the start; otherwise see `learn_classes`.
        repeated_names: whether a name may stand for several classes (of several data sets).
        half: whether features and logits are float16, as the backbone and the prompts are.

    Raises:
        UsageError: a class name is empty, repeated, or does not fit the text window.
    """

    text: TextSide | GivenText

    def __init__(
        self,
        backbone: Backbone,
        class_names: Sequence[str],
        parts: Parts,
        *,
        method: str = "custom",
        learn: bool = True,
        repeated_names: bool = False,
        half: bool = False,
    ) -> None:
        super().__init__(backbone, (), parts, method=method, repeated_names=repeated_names)  # names need the text
        self.half_precision = half
        self.matching, self.text_adapter = parts.matching, parts.text_adapter
        assert parts.context is not None
        self.context, self.labels, self.deep, self.deltas = parts.context, parts.labels, parts.deep, parts.deltas
        if self.deep.vision or (self.deltas is not None and self.deltas.image):
            self.takes = "images"
        if isinstance(backbone, ClipBackbone):
            self._check_vision(backbone)
            self.text = TextSide(
                backbone,
                parts.context,
                parts.labels,
                parts.deep,
                parts.teacher_wording,
                dtype=self.dtype,
                average=parts.average_variants,
                tokens=parts.matching.tokens,
                together="current_names" in parts.objective.wants,
                unit=not self._late,
                deltas=parts.deltas,
            )
        else:
            self.text = GivenText(backbone, unit=not self._late)
        self.previous: PromptedCLIP | None = None  # as it was before the stage, where the objective wants that
        self._append(class_names)
        if learn:
            self.learn_classes(range(len(self.class_names)))

    @property
    def dtype(self) -> torch.dtype:
        """Data type of features and logits: float32, float64 for a float64 backbone, or float16 where all is."""
        return torch.float16 if self.half_precision else super().dtype

    @property
    def groups(self) -> list[tuple[int, ...]]:
        """Class ids learned together, in order."""
        return self.text.groups

    @property
    def keeps_old_logits(self) -> bool:
        """Whether nothing that all classes share trains, and the head keeps them."""
        shared = [part for part in (self.deep, self.deltas, self.text_adapter) if part is not None]
        context = [] if self.context.class_specific else [self.context]
        return super().keeps_old_logits and not trains(*context, *shared)

    @property
    def same_steps(self) -> bool:
        """See `Learner.same_steps`: heads and rehearsals depend on the step, deltas may drop, transport looks.

        What a part from outside the package does in a step is not known.
        """
        objective, drops = self.parts.objective, self.deltas is not None and self.deltas.dropout > 0
        alike = self.head is None and self.rehearsal is None and not drops and not self.matching.looks
        alike = alike and PREVIOUS not in objective.wants  # it looks whether its values have changed
        terms = [objective.logits, objective.ce, objective.projection, *(term for term, _ in objective.terms.values())]
        return alike and all(_of_package(part) for part in (*self.modules(), *terms) if part is not None)

    @property
    def wants_plain(self) -> bool:
        """See `Learner.wants_plain`: terms or a projection that ask for `PromptedOutput.zero_shot_image`."""
        objective = self.parts.objective
        return self.takes == "images" and (PLAIN_IMAGE in objective.wants or objective.projection is not None)

    def output(self, x: Tensor, columns: Sequence[int] | Tensor | None = None) -> PromptedOutput:
        """Return everything of one forward pass.

        Args:
            x: as for `forward`, but the length of features is not looked at: this is every training step.
            columns: class ids to score; default: all.

        Raises:
            UsageError: other shapes, or columns that the model does not have.
        """
        return self._output(x, columns, self.head, training=False)

    def training_output(self, x: Tensor, columns: Sequence[int] | Tensor | None = None) -> PromptedOutput:
        """Return what the loss sees: the logits of the text, where the head is not trained by gradient."""
        return self._output(x, columns, self.head if self.head is not None and self.head.trains else None, True)

    def _output(
        self, x: Tensor, columns: Sequence[int] | Tensor | None, head: Head | None, training: bool
    ) -> PromptedOutput:
        inputs.check_pictures(self.expected, x)
        if not len(x):  # neither the towers nor text that depends on the image take an empty batch
            return self._output(x.new_zeros(1, *x.shape[1:]), columns, head, training).emptied()
        ids = inputs.label_space(columns, len(self.class_names))
        if self.takes == "images":
            image = self._encoded_images(x)
            given = shown = image.features[:, 0]
        else:
            features = self.features(x)
            given = self.adapted(features, training)
            image = self._image(given)
            shown = features if head is not None and head.in_front else given
        asked: dict[Any, Any] = {}
        if self.context.conditioned:
            assert isinstance(self.text, TextSide)
            text = self.text.encode_for_images(ids, self.context.for_images(image.features[:, 0]))
        else:
            text, current = self.text.encode(ids)
            text = self._adapted_text(text, ids, training and self.parts.trains_on_first)
            if current is not None:
                asked["current_names"] = current
        scale = self._scale
        logits = self._compare(image, text, scale)
        if head is not None:
            with torch.autocast(given.device.type, enabled=False):
                logits = head(shown, ids, self._text_for_head(logits, text, given, ids, asked, training))
        return PromptedOutput(logits, ids, image.features, text.features, scale, x, self, asked)

    def image_features(self, x: Tensor) -> Tensor:
        """Return what the loss compares with the text (batch, E) of features as `takes` says."""
        return self._image(self.adapted(x, training=True)).features[:, 0]

    def text_features(self, columns: Sequence[int], training: bool = True) -> Tensor:
        """Return text features (n, E), normalised, of classes that have one prompt or the mean of several.

        Args:
            columns: class ids.
            training: as the loss sees them; otherwise as they score.
        """
        return self._text(columns, training and self.parts.trains_on_first).features[:, 0]

    @torch.no_grad()
    def export_text(self, path: str | Path) -> None:
        """Write class names, text features, scale and the backbone's name for plain open_clip; README.md has its lines.

        Args:
            path: a safetensors file: `text` (n, E) normalised, `scale` and, of SigLIP, `bias`; the metadata hold
                `model`, `pretrained` and `class_names` (JSON).

        Raises:
            UsageError: something else scores as well: prompts in the image tower, an adapter, a head, text that
                depends on the image, or several prompts that are compared one by one.
        """
        plain = self.takes != "images" and self.head is None and self.adapter is None and not self.context.conditioned
        text = self._text(range(len(self.class_names))).features if plain else None
        if text is None or not isinstance(self.matching, Cosine) or text.shape[1] != 1:
            super().export_text(path)
            return
        tensors = {"text": text[:, 0], "scale": self._scale, "bias": self.backbone.logit_bias}
        about = {"model": self.backbone.name, "pretrained": self.backbone.pretrained}
        header = {**about, "class_names": json.dumps(self.class_names), "method": self.method}
        found = {name: value.detach().cpu().contiguous() for name, value in tensors.items() if value is not None}
        write_atomic(Path(path), pack(header, found))

    def _text_for_head(
        self, logits: Tensor, text: Side, given: Tensor, ids: tuple[int, ...], asked: dict[str, Tensor], training: bool
    ) -> Text:
        """Return the text as a head asks for it; only of classes that are not scored anyway it is encoded once more."""
        places = {class_id: place for place, class_id in enumerate(ids)}

        def its_logits(columns: Sequence[int]) -> Tensor:
            if tuple(columns) == ids:
                return logits
            known = [places.get(c, -1) for c in columns]
            return logits[:, known] if min(known, default=0) >= 0 else self.text_logits(given, columns)

        def its_features(columns: Sequence[int]) -> Tensor:
            known = [places.get(c, -1) for c in columns]
            return text.features[known, 0] if min(known, default=0) >= 0 else self.text_features(columns, training)

        return Text(its_logits, its_features, asked, training)

    def features(self, x: Tensor) -> Tensor:
        """Return image features (batch, width) as `takes` says; normalised, where something acts inside the tower."""
        if self.takes == "images":
            return self._encoded_images(x).features[:, 0]
        return super().features(x)

    def text_logits(self, features: Tensor, columns: Sequence[int]) -> Tensor:
        """Return the logits (batch, n) of the text for features behind the adapter."""
        return self._compare(self._image(features), self._text(columns), self._scale)

    def add_classes(self, names: Sequence[str]) -> None:
        """Add classes whose labels are learned from now on; every label learned before is frozen."""
        super().add_classes(names)
        ids = {name: class_id for class_id, name in enumerate(self.class_names)}
        self.learn_classes([ids[name] for name in names])

    def begin_stage(self, stage: Stage, data: StageData | None = None) -> None:
        """Make the labels of the stage's classes trainable, all others frozen."""
        if PREVIOUS in self.parts.objective.wants and stage.number > 1:
            self.previous = self._as_it_is()
        super().begin_stage(stage, data)
        self.learn_classes(stage.classes)

    def rehearse(self, x: Tensor, labels: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Return the mini-batch that trains; what deltas drop in it is drawn for this step."""
        if self.deltas is not None:
            self.deltas.step = (step.seed, step.stage.number, step.step)
        return super().rehearse(x, labels, step)

    def growth(self) -> dict[str, list[list[int]]]:
        """Return how the model grew; labels that were learned together are named together."""
        before = {} if self.previous is None else {"previous": [list(group) for group in self.previous.groups]}
        return {**super().growth(), "groups": [list(group) for group in self.groups], **before}

    def regrow(self, growth: dict[str, list[list[int]]]) -> None:
        """Grow as another model of the same classes did."""
        for group in growth.get("previous", ()):
            self.learn_classes(group)
        previous = self._as_it_is() if "previous" in growth else None
        for group in growth["groups"]:
            self.learn_classes(group)
        super().regrow(growth)
        self.previous = previous  # not what the stages made of it: they know every class by now

    def end_epoch(self, stage: Stage, epoch: int, data: StageData) -> None:
        """Let the parts look at the epoch; deltas drop nothing outside of training steps."""
        if self.deltas is not None:
            self.deltas.step = None
        super().end_epoch(stage, epoch, data)

    def learn_classes(self, class_ids: Sequence[int]) -> None:
        """Make the labels of exactly these classes trainable; other learned labels are frozen."""
        ids = [int(class_id) for class_id in class_ids]
        known = {c for group in self.groups for c in group}
        new = tuple(c for c in ids if c not in known)
        if new:
            self.groups.append(new)
        self.labels.learn({c: self.class_names[c] for c in ids})
        self.context.learn(ids)
        self.text.forget()

    def freeze_classes(self) -> None:
        """Stop training every learned label, and the head."""
        super().freeze_classes()
        self.labels.token_classes.freeze()
        self.context.freeze_classes()
        self.text.forget()

    def freeze_shared(self) -> None:
        """Stop training context, deep prompts, projections, deltas and adapters; labels and the head go on."""
        super().freeze_shared()
        for part in (self.context, self.deep, self.deltas, self.text_adapter):
            if part is not None:
                part.requires_grad_(False)
        self.text.forget()

    def forget_features(self) -> None:
        """Drop remembered text features; needed after values were changed by hand."""
        self.text.forget()
        if self.previous is not None:
            self.previous.text.forget()

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load learned values and drop remembered text features."""
        self.forget_features()
        return super().load_state_dict(state_dict, strict, assign)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self.forget_features()
        return cast(Self, super()._apply(fn, recurse))  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def _append(self, names: Sequence[str]) -> None:
        before = self.class_names
        super()._append(names)
        if not names:
            return
        try:
            self.text.add(names, distinct=not self.repeated_names)
        except UsageError:
            self.class_names = before
            raise
        if isinstance(self.backbone, ClipBackbone):
            self._warn_of_unknown_words(self.backbone, names)

    def _check_vision(self, backbone: ClipBackbone) -> None:
        if self.deep.vision and not backbone.image.supports_prompts:
            raise UsageError(
                f"{self.method} puts prompts into the image tower, which {backbone.name} does not take: "
                "use a backbone with open_clip's own VisionTransformer, or a text-side method such as coop or lamm"
            )

    @staticmethod
    def _warn_of_unknown_words(backbone: ClipBackbone, names: Sequence[str]) -> None:
        """Name the words that the embedded backbone was never trained on: they work, but mean nothing to it."""
        find = getattr(backbone.tokenizer, "unknown_words", None)
        words = find([spoken(name) for name in names]) if find else []
        if words:
            shown = ", ".join(words[:10]) + (f" and {len(words) - 10} more" if len(words) > 10 else "")
            warnings.warn(
                f"{backbone.name} has not learned the words {shown}: their classes start from random meanings",
                UserWarning,
                stacklevel=4,
            )

    def _as_it_is(self) -> "PromptedCLIP":
        """Return a copy that nothing trains: its values are part of the state."""
        self.forget_features()
        self.previous = None
        found = copy.deepcopy(self)
        found.requires_grad_(False)
        found.text.forget()
        if found.deltas is not None:
            found.deltas.step = None
        return found

    @torch.no_grad()
    def _plain_image(self, given: Tensor) -> Tensor:
        """Return image features (batch, E) of the tower as it came, normalised."""
        if self.takes != "images":
            features = self.features(given)
            if self.takes == "unit":
                return features
            return F.normalize(projected(features, self.backbone) if self.takes == "unprojected" else features, dim=-1)
        if not len(given):
            return given.new_zeros(0, self.backbone.embed_dim, dtype=self.dtype)
        found = cast(Tensor, self.backbone.image(given.to(self.backbone.device, self.backbone.dtype)))
        return F.normalize(found.to(self.dtype), dim=-1)

    def _cosines(self, image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        """Return the logits (batch, n) of single features, whatever compares the learned ones."""
        with torch.autocast(image.device.type, enabled=False):
            logits = scale * image @ text.to(image.dtype).t()
            return logits if self.backbone.logit_bias is None else logits + self.backbone.logit_bias.to(self.dtype)

    @property
    def _late(self) -> bool:
        """Whether text features are normalised and averaged here, not where they are encoded."""
        return self.parts.text_adapter is not None or self.parts.trains_on_first

    def _text(self, columns: Sequence[int], first: bool = False) -> Side:
        """Return the text of classes as it is compared; see `_adapted_text`."""
        ids = tuple(columns)
        return self._adapted_text(self.text.encode(ids)[0], ids, first)

    def _adapted_text(self, text: Side, columns: tuple[int, ...], first: bool = False) -> Side:
        """Map text features where there is a text adapter, and normalise them; of several prompts, the first or all."""
        if not self._late:
            return text
        features = text.features[:, :1] if first else text.features
        features = F.normalize(features if self.text_adapter is None else self.text_adapter(features), dim=-1)
        if self.parts.average_variants and features.shape[1] > 1:
            counts = self.context.counts(columns) if isinstance(self.text, TextSide) else None
            features = averaged(features, counts)
        return replace(text, features=features)

    def _image(self, features: Tensor) -> Side:
        """Return what is compared of features behind the adapter."""
        exact = self.adapter is None and self.takes == "unit"
        return Side((features if exact else F.normalize(features, dim=-1))[:, None])

    @property
    def _scale(self) -> Tensor:
        """Factor of the similarities, a scalar."""
        own = self.backbone.exp_logit_scale.to(self.dtype)
        return own if self.parts.logit_scale is None else torch.full_like(own, self.parts.logit_scale)

    def _compare(self, image: Side, text: Side, scale: Tensor) -> Tensor:
        """Return the logits (batch, n) of the text."""
        with torch.autocast(image.features.device.type, enabled=False):
            logits = scale * self.matching(image, text)
            if self.backbone.logit_bias is not None:
                logits = logits + self.backbone.logit_bias.to(self.dtype)
        return logits

    def _encoded_images(self, images: Tensor) -> Side:
        """Encode images where something learned acts inside the tower."""
        tower, dtype = self.backbone.image, self.backbone.dtype
        context = getattr(self.context, "ctx", None)
        first, deep = self.deep.image(context if isinstance(context, Tensor) else None)
        deltas = NOWHERE if self.deltas is None else self.deltas.of("image")
        batch, variants = len(images), 1 if first is None else self.context.variants
        images = images.to(self.backbone.device, dtype)
        if first is not None and variants > 1:  # each image once a prompt, with that prompt's tokens
            first, deep = first.repeat(batch, 1, 1), tuple(layer.repeat(batch, 1, 1) for layer in deep)
        found = tower(images, first, deep, self.matching.tokens, deltas)
        features, tokens = found if isinstance(found, tuple) else (found, None)
        features = F.normalize(features.to(self.dtype), dim=-1).view(batch, variants, -1)
        if tokens is None:
            return Side(features)
        patches = F.normalize(tokens[:, 1:].to(self.dtype), dim=-1)  # the class token takes no part
        return Side(features, patches.view(batch, variants, *patches.shape[1:]))


def _of_package(part: Any) -> bool:
    """Return whether a module, term or function is the package's own, or torch's."""
    module = getattr(getattr(part, "func", part), "__module__", "")
    return str(module).partition(".")[0] in ("lamm_cl", "torch")
