"""Learners that are composed of parts: the parts, how they are told about stages, and the learner without text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from lamm_cl.clip.feature_backbone import Backbone
from lamm_cl.methods import inputs
from lamm_cl.methods.adapters import Adapter
from lamm_cl.methods.consolidation import EpochAverage
from lamm_cl.methods.head import Head, no_text
from lamm_cl.methods.learner import Learner
from lamm_cl.methods.learner_part import LearnerPart, PartData, Rates
from lamm_cl.methods.objective import Objective, Output
from lamm_cl.methods.optimizer import trainable
from lamm_cl.methods.rehearsal import Exemplars, Rehearsal
from lamm_cl.methods.stage import Split, Stage, StageData, Step
from lamm_cl.prompts.context import Context
from lamm_cl.prompts.deep import Deep
from lamm_cl.prompts.deltas import Deltas
from lamm_cl.prompts.labels import FixedLabels
from lamm_cl.prompts.matching import Cosine, Transport
from lamm_cl.prompts.wording import Wording

TEACHER_WORDING = Wording("a photo of a", ".")


@dataclass(frozen=True)
class Parts:
    """The choices that make a method.

    Attributes:
        context: words around the names; None: the method has no text, and `head` alone scores.
        labels: the names.
        deep: tokens inside the layers.
        deltas: low-rank deltas of the towers' matrices; None: none.
        matching: how an image and a class are compared.
        objective: what is minimised.
        average_variants: whether a class's prompts are averaged to one feature (hand-written templates).
        teacher_wording: fixed template of the zero-shot features; of several, the features are averaged.
        logit_scale: factor of the similarities; None: the backbone's.
        adapter: maps image features; None: as they are.
        text_adapter: maps text features before they are normalised; None: as they are.
        head: makes the logits from those of the text and from the training set; None: those of the text.
        rehearsal: remembers older classes; None: nothing does.
        exemplars: training images of older classes that come along; None: none.
        trains_on_first: whether the loss sees the first of a class's prompts alone, and the score their average.
        average: averages over the epochs of a stage what trains in it; None: the last epoch counts alone.
    """

    context: Context | None = None
    labels: FixedLabels = field(default_factory=FixedLabels)
    deep: Deep = field(default_factory=Deep)
    deltas: Deltas | None = None
    matching: Cosine | Transport = field(default_factory=Cosine)
    objective: Objective = field(default_factory=Objective)
    average_variants: bool = False
    teacher_wording: Wording | Sequence[Wording] = TEACHER_WORDING
    logit_scale: float | None = None
    adapter: Adapter | None = None
    text_adapter: Adapter | None = None
    head: Head | None = None
    rehearsal: Rehearsal | None = None
    exemplars: Exemplars | None = None
    trains_on_first: bool = False
    average: EpochAverage | None = None


class ComposedLearner(Learner):
    """A learner made of parts. Abstract: a subclass gives `output`.

    Args:
        backbone: the frozen CLIP, or given features.
        class_names: the classes, one column of logits each.
        parts: the choices that make the method.
        method: name for messages and records.
        repeated_names: whether a name may stand for several classes (of several data sets).
    """

    def __init__(
        self,
        backbone: Backbone,
        class_names: Sequence[str],
        parts: Parts,
        *,
        method: str = "custom",
        repeated_names: bool = False,
    ) -> None:
        super().__init__(backbone, (), method=method, repeated_names=repeated_names)
        self.adapter, self.head, self.rehearsal = parts.adapter, parts.head, parts.rehearsal
        self.parts, self.average, self.exemplars = parts, parts.average, parts.exemplars
        self.takes = next((part.takes for part in (self.adapter, self.head) if part is not None), "unit")
        self._append(class_names)

    def objective(
        self, output: Output, labels: Tensor, columns: Sequence[int] | Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the method's loss and its terms; see `Learner.objective`."""
        return self.parts.objective(output, labels, columns)

    def backward(self, loss: Tensor, terms: Mapping[str, Tensor], retain_graph: bool = False) -> None:
        """Set the gradients of one step as the objective says."""
        self.parts.objective.backward(loss, terms, [p for _, p in trainable(self)], retain_graph)

    @property
    def learner_parts(self) -> list[LearnerPart]:
        """The parts that are told when stages begin and end."""
        return [part for part in self.children() if isinstance(part, LearnerPart)]

    @property
    def looks_at(self) -> frozenset[Split]:
        """What the parts look at."""
        return frozenset().union(*(part.looks_at for part in self.learner_parts))

    @property
    def needs_images(self) -> bool:
        """Whether something acts inside the image tower, or a part looks at pixels."""
        return super().needs_images or any(part.needs_images for part in self.learner_parts)

    @property
    def rehearses(self) -> bool:
        """Whether older classes come along, or a part compares with them."""
        return super().rehearses or self.rehearsal is not None or any(part.among_seen for part in self.learner_parts)

    @property
    def scores_by_batch(self) -> bool:
        """Whether some part's outputs depend on the mini-batch."""
        return any(part.scores_by_batch for part in self.learner_parts)

    @property
    def rates(self) -> Rates:
        """What the parts train at a rate of their own."""
        named = [(name, part) for name, part in self.named_children() if isinstance(part, LearnerPart)]
        return {f"{name}.{own}": rate for name, part in named for own, rate in part.rates.items()}

    @property
    def keeps_old_logits(self) -> bool:
        """Whether nothing that all classes share trains, and the head keeps them."""
        trains = self.adapter is not None and bool(trainable(self.adapter))
        return not trains and (self.head is None or self.head.keeps_old_logits)

    def begin_stage(self, stage: Stage, data: StageData | None = None) -> None:
        """Start a stage."""
        super().begin_stage(stage, data)
        if self.average is not None:
            self.average.begin()
        for part in self.learner_parts:
            part.begin_stage(stage, None if data is None else self._data(part, data))

    def begin_epoch(self, stage: Stage, epoch: int) -> None:
        """Start an epoch of a stage."""
        for part in self.learner_parts:
            part.begin_epoch(stage, epoch)

    def rehearse(self, x: Tensor, labels: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Add what is remembered of older classes, to features."""
        if self.head is not None:
            self.head.begin_step(step)
        if self.rehearsal is None:
            return x, labels
        self.rehearsal.look(x, self.features, step)
        return self.rehearsal.rehearse(self.features(x), labels, step)

    def end_epoch(self, stage: Stage, epoch: int, data: StageData) -> None:
        """Let the parts look at the epoch."""
        if self.head is not None:
            self.head.begin_step(None)
        if self.average is not None:
            self.average.add(self, epoch)
        for part in self.learner_parts:
            part.end_epoch(stage, epoch, self._data(part, data))

    def end_stage(self, stage: Stage, data: StageData) -> None:
        """Put the average over epochs in place; let the parts take what they keep of the training set."""
        if self.average is not None:
            self.average.end(self)
        for part in self.learner_parts:
            part.end_stage(stage, self._data(part, data))

    def freeze_shared(self) -> None:
        """Stop training the adapter; a head belongs to its classes."""
        if self.adapter is not None:
            self.adapter.requires_grad_(False)

    def freeze_classes(self) -> None:
        """Stop training the head."""
        if self.head is not None:
            self.head.requires_grad_(False)

    def adapted(self, features: Tensor, training: bool = False) -> Tensor:
        """Return what the head, or in training the loss, sees of features as `takes` says."""
        if self.adapter is None:
            return features
        found: Tensor = self.adapter.in_training(features) if training else self.adapter(features)
        return found

    def text_logits(self, features: Tensor, columns: Sequence[int]) -> Tensor:
        """Return the logits (batch, n) of the text for features behind the adapter."""
        return no_text()

    def text_features(self, columns: Sequence[int]) -> Tensor:
        """Return text features (n, E) as the loss sees them, normalised."""
        return no_text()

    def _append(self, names: Sequence[str]) -> None:
        super()._append(names)
        for part in self.learner_parts if names else ():
            part.grow(len(self.class_names))

    def _data(self, part: LearnerPart, data: StageData) -> PartData:
        behind = isinstance(part, Head) and not part.in_front
        return PartData(partial(self._collect, data, behind), self.text_logits, self.text_features)

    @torch.no_grad()
    def _collect(self, data: StageData, behind: bool, split: Split, epoch: int | None) -> tuple[Tensor, Tensor]:
        features, labels = self.collect(data, split, epoch)
        return (self.adapted(features) if behind else features), labels


class FeatureLearner(ComposedLearner):
    """A head, which says what features it takes, on those of a frozen image tower; an adapter may stand between."""

    head: Head

    def output(self, x: Tensor, columns: Sequence[int] | Tensor | None = None) -> Output:
        """Return the logits; see `Learner.output`."""
        inputs.check_pictures(self.expected, x)
        ids = inputs.label_space(columns, len(self.class_names))
        with torch.autocast(self.backbone.device.type, enabled=False):
            return Output(self.head(self.adapted(self.features(x)), ids, no_text), ids)
