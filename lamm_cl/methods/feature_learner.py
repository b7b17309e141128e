"""The feature learner: a head on image features, without text."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lamm_cl.clip.feature_backbone import Backbone
from lamm_cl.methods import inputs
from lamm_cl.methods.adapters import Adapter
from lamm_cl.methods.composed import ComposedLearner
from lamm_cl.methods.head import Head, no_text
from lamm_cl.methods.objective import Objective, Output
from lamm_cl.methods.rehearsal import Rehearsal


class FeatureLearner(ComposedLearner):
    """A head on the features of a frozen image tower; an adapter may stand between.

    Args:
        backbone: the frozen CLIP, or given features.
        class_names: the classes, one column of logits each.
        head: scores classes; `head.takes` says which features.
        adapter: maps the features before the head sees them; None: as they are.
        rehearsal: remembers older classes.
        objective: what is minimised where something trains.
        method: name for messages and records.
        repeated_names: whether a name may stand for several classes.
    """

    head: Head

    def __init__(
        self,
        backbone: Backbone,
        class_names: Sequence[str],
        head: Head,
        adapter: Adapter | None = None,
        rehearsal: Rehearsal | None = None,
        objective: Objective | None = None,
        *,
        method: str = "custom",
        repeated_names: bool = False,
    ) -> None:
        super().__init__(backbone, adapter, head, rehearsal, method=method, repeated_names=repeated_names)
        self._objective = objective or Objective()
        self._append(class_names)

    def output(self, x: Tensor, columns: Sequence[int] | Tensor | None = None) -> Output:
        """Return the logits; see `Learner.output`."""
        inputs.check_pictures(self.expected, x)
        ids = inputs.label_space(columns, len(self.class_names))
        with torch.autocast(self.backbone.device.type, enabled=False):
            return Output(self.head(self.adapted(self.features(x)), ids, no_text), ids)

    def objective(
        self, output: Output, labels: Tensor, columns: Sequence[int] | Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the method's loss and its terms; see `Learner.objective`."""
        return self._objective(output, labels, columns)
