"""What strategies take by keyword, by name and type; see `lamm_cl.methods.keywords`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from torch.optim import Optimizer

from lamm_cl.clip.feature_cache import FeatureStore
from lamm_cl.methods.keywords import MethodOptions, Schedule
from lamm_cl.methods.recipe import LabelSpace
from lamm_cl.strategies.settings import PrecisionName
from lamm_cl.streams.source import ImageSource


class StrategyOptions(MethodOptions, Schedule, total=False):
    """What a strategy takes by keyword: options of its method, parts of the recipe, `Settings`, and Avalanche's."""

    optimizer: Literal["sgd", "adam", "adamw"] | Optimizer | None
    train_epochs: int | None
    train_mb_size: int | None
    train_label_space: LabelSpace
    freeze_context_after: int | None
    regime: Literal["naive", "cumulative", "joint"]
    seed: int
    precision: PrecisionName
    deterministic: bool
    num_workers: int | None
    eval_mb_size: int
    features: str | Path | FeatureStore | None
    source: ImageSource | None
    on_epoch_end: Callable[[Any], None] | None
    eval_every: int
    peval_mode: Literal["epoch", "iteration"]
    class_templates: Sequence[str] | None


class BuildOptions(StrategyOptions, total=False):
    """What `build_strategy` takes beside: what a benchmark may not know, and Avalanche's plugins."""

    class_names: Sequence[str] | None
    shots: int | None
    plugins: Iterable[Any] | Mapping[str, Mapping[str, Any] | None] | None
    evaluator: Any


class LoaderOptions(TypedDict, total=False):
    """What Avalanche's loops pass on to the loaders of images; features from the cache need none of it."""

    shuffle: bool
    drop_last: bool | None
    num_workers: int
    pin_memory: bool
    persistent_workers: bool
