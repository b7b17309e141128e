"""Which Avalanche plugins a prompt strategy works with, and what they need from it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

from avalanche.training.plugins import (
    EarlyStoppingPlugin,
    EvaluationPlugin,
    LRSchedulerPlugin,
    LwFPlugin,
    MASPlugin,
)
from avalanche.training.plugins.clock import Clock
from avalanche.training.templates.base_sgd import PeriodicEval
from torch.utils.data import Dataset

from lamm_cl.errors import UsageError

REFUSED = {
    "RWalkPlugin": (
        "it copies the parameters before a stage adds its labels and then looks the new ones up; "
        "use EWCPlugin or SynapticIntelligencePlugin, which accept new parameters"
    ),
}

# These read no logits outside the label space that trains.
_CONTENT_WITH_LABEL_SPACE = (EvaluationPlugin, EarlyStoppingPlugin, LRSchedulerPlugin, Clock, PeriodicEval)
# These work from gradients, which a stage without anything to train does not have.
_NEED_GRADIENTS = ("EWCPlugin", "MASPlugin", "SynapticIntelligencePlugin", "AGEMPlugin", "GEMPlugin")


def check_plugins(plugins: Iterable[Any]) -> None:
    """Refuse what is known not to work.

    Raises:
        UsageError: Names the plugin, why it fails, and what to use.
    """
    for plugin in plugins:
        for kind in type(plugin).__mro__:
            if kind.__name__ in REFUSED:
                raise UsageError(f"{kind.__name__} does not work with growing labels: {REFUSED[kind.__name__]}.")


def check_something_trains(plugins: Iterable[Any], stage: int) -> None:
    """Refuse plugins that need gradients in a stage where nothing trains.

    Raises:
        UsageError: Names the plugin and the stage.
    """
    for plugin in plugins:
        if type(plugin).__name__ in _NEED_GRADIENTS:
            raise UsageError(
                f"{type(plugin).__name__} needs parameters that train, but in stage {stage} nothing does "
                "(the method learns nothing, or freeze_context_after froze it). Leave the plugin out."
            )


def slim_batches(plugins: Iterable[Any]) -> None:
    """Make MAS plugins accept samples that know their index: they insist on two or three elements."""
    for plugin in plugins:
        if isinstance(plugin, MASPlugin) and "_get_importance" not in vars(plugin):
            plugin._get_importance = partial(_importance_of_slim_batches, plugin._get_importance)


def _importance_of_slim_batches(importance: Callable[[Any], Any], strategy: Any) -> Any:
    experience = strategy.experience
    strategy.experience = SimpleNamespace(dataset=_Slim(experience.dataset))
    try:
        return importance(strategy)
    finally:
        strategy.experience = experience


class _Slim(Dataset[Any]):
    """A data set's image, label and task label."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, i: int) -> tuple[Any, Any, Any]:
        sample = self._dataset[i]
        return sample[0], sample[1], sample[-1]


def check_data(plugins: Iterable[Any], dataset: Any) -> None:
    """Refuse plugins that need more from the data than they have, before anything is trained.

    Raises:
        UsageError: Names the plugin and what it needs.
    """
    for plugin in plugins:
        if isinstance(plugin, LwFPlugin) and not hasattr(dataset, "targets_task_labels"):
            raise UsageError(
                "LwFPlugin needs data that know their task label: make the data sets with Avalanche's "
                "as_taskaware_classification_dataset, or the benchmark with lamm_cl.base_to_novel."
            )


def read_all_columns(plugins: Iterable[Any]) -> bool:
    """Return whether a plugin may read logits of classes outside the label space that trains."""
    return any(not isinstance(plugin, _CONTENT_WITH_LABEL_SPACE) for plugin in plugins)


@contextmanager
def no_first_evaluation(plugins: Iterable[Any]) -> Iterator[None]:
    """Keep `eval_every` from evaluating before the first epoch."""
    periodic = [plugin for plugin in plugins if isinstance(plugin, PeriodicEval)]
    before = [plugin.do_initial for plugin in periodic]
    for plugin in periodic:
        plugin.do_initial = False
    try:
        yield
    finally:
        for plugin, initial in zip(periodic, before, strict=True):
            plugin.do_initial = initial


def schedulers(plugins: Iterable[Any]) -> list[Any]:
    """Return the learning rate schedulers inside the plugins."""
    return [plugin.scheduler for plugin in plugins if isinstance(plugin, LRSchedulerPlugin)]


def remembered(plugins: Iterable[Any]) -> list[int]:
    """Return the positions in the source of the samples that rehearsal plugins keep."""
    positions: list[int] = []
    for plugin in plugins:
        buffer = getattr(getattr(plugin, "storage_policy", None), "buffer", None)
        positions.extend(int(i) for i in getattr(buffer, "index", ()))
    return positions
