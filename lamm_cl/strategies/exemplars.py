"""Training images of older classes that come along into every later stage, in Avalanche's storage."""

from types import SimpleNamespace
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
        self._wanted, self._selection = wanted, Herding()
        self.storage_policy = ParametricBuffer(0, groupby="class", selection_strategy=self._selection)
        self._restored: dict[int, list[int]] = {}

    def after_train_dataset_adaptation(self, strategy: StageBatches, *args: Any, **kwargs: Any) -> None:
        """Add the images of older classes to those of the stage, once what was restored is found."""
        policy, restored = self.storage_policy, self._restored
        policy.max_size = max(policy.max_size, len(restored) * max(map(len, restored.values()), default=0))
        for class_id, rows in restored.items():
            self._selection.sorted.add(class_id)
            policy.post_adapt(strategy, SimpleNamespace(dataset=strategy.samples(rows)))
        self._restored = {}
        if strategy.settings.regime == "naive" and len(policy.buffer):
            strategy.adapted_dataset = concat_datasets([strategy.adapted_dataset, policy.buffer]).train()

    def after_training_exp(self, strategy: StageBatches, *args: Any, **kwargs: Any) -> None:
        """Keep images of the stage's classes, and fewer of older ones where they share the room."""
        if strategy.settings.regime != "naive":
            return
        policy, seen = self.storage_policy, len(strategy.seen_classes)
        policy.max_size = seen * self._wanted.of_each(seen)  # Avalanche would hand out the rest of the division
        if policy.max_size:
            policy.post_adapt(strategy, strategy.experience)

    def state_dict(self) -> dict[str, Any]:
        """Return the positions in the source of what is kept, by class."""
        groups = self.storage_policy.buffer_groups
        kept = {c: [int(i) for i in group.buffer.index] for c, group in groups.items()} or self._restored
        return {"kept": [[c, rows] for c, rows in kept.items()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned, as soon as there is a strategy to find the images with."""
        if not self.storage_policy.buffer_groups:
            self._restored = {int(c): rows for c, rows in state["kept"]}
