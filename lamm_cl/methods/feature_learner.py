"""The feature learner: a head on image features, without text."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from lamm_cl.clip.feature_backbone import Backbone
from lamm_cl.methods import inputs
from lamm_cl.methods.adapters import Adapter
from lamm_cl.methods.head import Head, HeadData, no_text
from lamm_cl.methods.learner import Learner
from lamm_cl.methods.objective import Output
from lamm_cl.methods.stage import Stage, StageData


class FeatureLearner(Learner):
    """A head on the features of a frozen image tower; an adapter may stand between.

    Args:
        backbone: the frozen CLIP, or given features.
        class_names: the classes, one column of logits each.
        head: scores classes; `head.takes` says which features.
        adapter: maps the features before the head sees them; None: as they are.
        method: name for messages and records.
        repeated_names: whether a name may stand for several classes.
    """

    def __init__(
        self,
        backbone: Backbone,
        class_names: Sequence[str],
        head: Head,
        adapter: Adapter | None = None,
        *,
        method: str = "custom",
        repeated_names: bool = False,
    ) -> None:
        super().__init__(backbone, (), method=method, repeated_names=repeated_names)
        self.head, self.adapter = head, adapter
        self.takes = head.takes if adapter is None else adapter.takes
        self._append(class_names)

    def output(self, x: Tensor, columns: Sequence[int] | Tensor | None = None) -> Output:
        """Return the logits; see `Learner.output`."""
        inputs.check_pictures(self.expected, x)
        ids = inputs.label_space(columns, len(self.class_names))
        with torch.autocast(self.backbone.device.type, enabled=False):
            return Output(self.head(self._adapted(self.features(x)), ids, no_text), ids)

    def begin_stage(self, stage: Stage) -> None:
        """Start a stage."""
        super().begin_stage(stage)
        if self.adapter is not None:
            self.adapter.begin_stage(stage)
        self.head.begin_stage(stage)

    def end_epoch(self, stage: Stage, epoch: int, data: StageData) -> None:
        """Let the head look at the epoch."""
        self.head.end_epoch(stage, epoch, self._head_data(data))

    def end_stage(self, stage: Stage, data: StageData) -> None:
        """Let the head take what it keeps of the training set."""
        self.head.end_stage(stage, self._head_data(data))

    def _append(self, names: Sequence[str]) -> None:
        super()._append(names)
        if names:
            self.head.grow(len(self.class_names))

    def _adapted(self, features: Tensor) -> Tensor:
        return features if self.adapter is None else self.adapter(features)

    def _head_data(self, data: StageData) -> HeadData:
        return HeadData(partial(self.collect, data))
