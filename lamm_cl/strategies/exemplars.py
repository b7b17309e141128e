"""Training images of older classes that come along into every later stage, in Avalanche's storage."""

from typing import Any

import torch
import torch.nn.functional as F
from avalanche.benchmarks.utils.utils import concat_datasets
from avalanche.core import SupervisedPlugin
from avalanche.training.storage_policy import HerdingSelectionStrategy, ParametricBuffer

from lamm_cl.methods.rehearsal import Exemplars
from lamm_cl.strategies.batches import StageBatches


class Herding(HerdingSelectionStrategy):
    """Avalanche's herding on the learner's features of length 1, in front of its adapter, in the evaluation view.

    It sorts the images of a class once: when a class is to keep fewer, the first of them stay.
    """

    def __init__(self) -> None:  # Avalanche's own form would hold a model
        self.sorted: set[int] = set()

    @torch.no_grad()
    def make_sorted_indices(self, strategy: Any, data: Any) -> list[int]:
        """Return the order in which the images of one class are kept."""
        class_id = int(data.targets[0])
        if class_id in self.sorted:
            return list(range(len(data)))
        self.sorted.add(class_id)
        features = torch.cat([strategy.model.features(x) for x, _ in strategy.evaluated(data)])
        order: list[int] = self.make_sorted_indices_from_features(F.normalize(features, dim=-1).double())
        return order


class ExemplarMemory(SupervisedPlugin):
    """Adds what a learner wants to see again to the training set of each stage, and keeps more when the stage ends.

    Cumulative and joint training have all images anyway: there it does nothing.
    """

    def __init__(self, wanted: Exemplars) -> None:
        super().__init__()
        self._of_each = wanted.of_each
        self.storage_policy = ParametricBuffer(0, groupby="class", selection_strategy=Herding())

    def after_train_dataset_adaptation(self, strategy: StageBatches, *args: Any, **kwargs: Any) -> None:
        """Add the images of older classes to those of the stage."""
        if strategy.settings.regime == "naive" and len(self.storage_policy.buffer):
            strategy.adapted_dataset = concat_datasets([strategy.adapted_dataset, self.storage_policy.buffer]).train()

    def after_training_exp(self, strategy: StageBatches, *args: Any, **kwargs: Any) -> None:
        """Keep images of the stage's classes, and fewer of older ones where they share the room."""
        if strategy.settings.regime != "naive":
            return
        policy, seen = self.storage_policy, len(strategy.seen_classes)
        policy.max_size = seen * self._of_each(seen)  # Avalanche would hand out the rest of the division
        if policy.max_size:
            policy.post_adapt(strategy, strategy.experience)
