"""Which Avalanche plugins a prompt strategy works with, and what they need from it."""

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from avalanche.core import BasePlugin, BaseSGDPlugin
from avalanche.training import plugins as avalanche_plugins
from avalanche.training.plugins.clock import Clock
from avalanche.training.templates.base_sgd import PeriodicEval
from torch.utils.data import Dataset

from lamm_cl.errors import UsageError, unknown
from lamm_cl.evaluation.accuracy_matrix import classes_in

_LAYER = "a prompted CLIP, whose classifier is its text tower: it needs a last linear layer {}"
_HIDDEN = "a prompted CLIP: it reads hidden features from an attribute or method that the model lacks; use LwFPlugin"
_GENERATOR = "a prompted CLIP: it needs a model that generates images; use ReplayPlugin"
_MEANS = "a prompted CLIP: it fills a classifier of class means that the model does not have"
_REPLAY = "use ReplayPlugin or AGEMPlugin"
# What each does not work with, why, and what to use.
REFUSED = {
    "BiCPlugin": "Avalanche's own experiences: it puts another data set into them, which they do not allow; "
    "use ReplayPlugin",
    "CWRStarPlugin": _LAYER.format("to swap its rows"),
    "CoPEPlugin": _LAYER.format("to put prototypes in its place"),
    "CurrentDataFeCAMUpdate": _MEANS,
    "CurrentDataNCMUpdate": _MEANS,
    "FeCAMOracle": _MEANS,
    "FeatureDistillationPlugin": _HIDDEN,
    "GSS_greedyPlugin": "samples that know their index or task: its memory holds images and labels alone; " + _REPLAY,
    "GenerativeReplayPlugin": _GENERATOR,
    "LFLPlugin": _HIDDEN,
    "MIRPlugin": "frozen labels: it takes a step of every parameter, and wants a loss for each image; " + _REPLAY,
    "MemoryFeCAMUpdate": _MEANS,
    "MemoryNCMUpdate": _MEANS,
    "NCMOracle": _MEANS,
    "RARPlugin": "a prompted CLIP: it traces the model's layers symbolically, which branches forbid; " + _REPLAY,
    "RWalkPlugin": "growing labels: it copies the parameters before a stage adds its labels and then looks the new "
    "ones up; use EWCPlugin or SynapticIntelligencePlugin, which accept new parameters",
    "TrainGeneratorAfterExpPlugin": _GENERATOR,
}

# These read no logits outside the label space that trains.
_CONTENT_WITH_LABEL_SPACE = (
    avalanche_plugins.EvaluationPlugin,
    avalanche_plugins.EarlyStoppingPlugin,
    avalanche_plugins.LRSchedulerPlugin,
    Clock,
    PeriodicEval,
)
# These work from gradients, which a stage without anything to train does not have.
_NEED_GRADIENTS = ("EWCPlugin", "MASPlugin", "SynapticIntelligencePlugin", "AGEMPlugin", "GEMPlugin")


def act_inside(plugins: Iterable[Any]) -> bool:
    """Return whether a plugin acts between the start of the forward pass and that of the backward pass."""
    plugins = [plugin for plugin in plugins if not isinstance(plugin, _CONTENT_WITH_LABEL_SPACE)]
    hooks = ("before_forward", "after_forward", "before_backward")
    return any(
        hook in vars(plugin) or getattr(type(plugin), hook, None) not in (None, getattr(BaseSGDPlugin, hook))
        for plugin in plugins
        for hook in hooks
    )


def check_plugins(plugins: Iterable[Any]) -> None:
    """Refuse what is known not to work, before anything is trained.

    Raises:
        UsageError: Names the plugin, why it fails, and what to use.
    """
    for plugin in plugins:
        for kind in type(plugin).__mro__:
            if kind.__name__ in REFUSED and kind.__module__.startswith("avalanche."):
                raise UsageError(f"{kind.__name__} does not work with {REFUSED[kind.__name__]}.")
        if isinstance(plugin, avalanche_plugins.GEMPlugin) and importlib.util.find_spec("quadprog") is None:
            raise UsageError("GEMPlugin needs the package quadprog: pip install quadprog, or use AGEMPlugin.")


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


def adapt(plugins: Iterable[Any]) -> None:
    """Make plugins accept what a stream of prompts gives them: samples that know their index, data without task labels.

    Once for each plugin; what it computes stays what it is.
    """
    for plugin in plugins:
        if isinstance(plugin, avalanche_plugins.MASPlugin) and "_get_importance" not in vars(plugin):
            plugin._get_importance = partial(_importance_of_slim_batches, plugin._get_importance)
            plugin.before_backward = partial(_penalty_of_any_loss, plugin.before_backward)
        if isinstance(plugin, avalanche_plugins.LwFPlugin) and "post_adapt" not in vars(plugin.lwf):
            plugin.lwf.post_adapt = partial(_after_one_task, plugin.lwf.post_adapt)


def _importance_of_slim_batches(importance: Callable[[Any], Any], strategy: Any) -> Any:
    """Let MAS see two or three elements a sample: it insists on them."""
    experience = strategy.experience
    strategy.experience = SimpleNamespace(dataset=_Slim(experience.dataset))
    try:
        return importance(strategy)
    finally:
        strategy.experience = experience


def _penalty_of_any_loss(penalise: Callable[..., Any], strategy: Any, **kwargs: Any) -> Any:
    """Let MAS see a loss that is not zero: it takes zero, the loss of a single class, for none at all."""
    if not strategy.loss:
        strategy.loss = strategy.loss + torch.finfo(strategy.loss.dtype).tiny
    return penalise(strategy, **kwargs)


def _after_one_task(remember: Callable[..., Any], strategy: Any, experience: Any) -> Any:
    """Tell LwF the classes of a stage as those of task 0: with one head it distils those of task 0 alone."""
    dataset = SimpleNamespace(
        targets_task_labels=SimpleNamespace(uniques=(0,)),
        task_set={0: SimpleNamespace(targets=SimpleNamespace(uniques=classes_in(experience.dataset, "the stage")))},
    )
    return remember(strategy, SimpleNamespace(dataset=dataset))


class _Slim(Dataset[Any]):
    """A data set's image, label and task label."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, i: int) -> tuple[Any, Any, Any]:
        sample = self._dataset[i]
        return sample[0], sample[1], sample[-1]


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


def remembering(plugins: Iterable[Any]) -> str:
    """Return the first plugin of Avalanche's kind whose work in a stage depends on earlier ones; "" without one."""
    for plugin in plugins:
        avalanches = any(kind.__module__.startswith("avalanche.training.") for kind in type(plugin).__mro__)
        works = avalanches and not isinstance(plugin, _CONTENT_WITH_LABEL_SPACE)
        if works or hasattr(plugin, "storage_policy"):
            return type(plugin).__name__
    return ""


def schedulers(plugins: Iterable[Any]) -> list[Any]:
    """Return the learning rate schedulers inside the plugins."""
    return [plugin.scheduler for plugin in plugins if isinstance(plugin, avalanche_plugins.LRSchedulerPlugin)]


def remembered(plugins: Iterable[Any]) -> list[int]:
    """Return the positions in the source of the samples that rehearsal plugins keep."""
    positions: list[int] = []
    for plugin in plugins:
        buffer = getattr(getattr(plugin, "storage_policy", None), "buffer", None)
        positions.extend(int(i) for i in getattr(buffer, "index", ()))
    return positions


def make_plugins(named: Mapping[str, Mapping[str, Any] | None]) -> list[Any]:
    """Make plugins from options by name: a class of `avalanche.training.plugins`, or the dotted path of another one.

    Raises:
        UsageError: There is no such plugin or option, a value is wrong, or the plugin is known to fail.
    """
    made = [_make(name, options or {}) for name, options in named.items()]
    check_plugins(made)
    return made


def _make(name: str, options: Mapping[str, Any]) -> Any:
    kind = _own(name) if "." in name else _avalanches(name)
    parameters = inspect.signature(kind).parameters
    for option in options:
        if option not in parameters:
            raise unknown(f"option of {name}", option, parameters)
        if isinstance(options[option], bool) and _is_number(parameters[option]):
            raise UsageError(f"{name}: {option} is a number, not {str(options[option]).lower()}.")
    named = [p for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    missing = [p.name for p in named if p.default is p.empty and p.name not in options]
    if missing:
        raise UsageError(f"{name} needs {', '.join(missing)}.")
    try:
        return kind(**options)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{name} does not take {dict(options)}: {type(error).__name__}: {error}") from error


def _is_number(parameter: inspect.Parameter) -> bool:
    number = type(parameter.default) in (int, float) or parameter.annotation in (int, float, "int", "float")
    return number and not isinstance(parameter.default, bool)


def _avalanches(name: str) -> Any:
    known = {
        key: value
        for key, value in vars(avalanche_plugins).items()
        if inspect.isclass(value) and issubclass(value, BasePlugin) and key.endswith("Plugin")
    }
    if name not in known:
        raise unknown("Avalanche plugin", name, known)
    return known[name]


def _own(path: str) -> Any:
    home, _, name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(home), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"there is no plugin {path}: {error}. Name its file or module under import.") from None
    if not (inspect.isclass(kind) and issubclass(kind, BasePlugin)):
        raise UsageError(f"{path} is no Avalanche plugin: derive it from SupervisedPlugin.")
    return kind
