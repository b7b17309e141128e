"""From a method's name, a backbone and a benchmark to a strategy that is ready to train; what it takes by keyword."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

from avalanche.evaluation.metrics import accuracy_metrics
from torch.optim import Optimizer

from lamm_cl.clip.backbone import ClipBackbone
from lamm_cl.clip.feature_cache import FeatureStore
from lamm_cl.clip.words import spoken
from lamm_cl.errors import UsageError
from lamm_cl.evaluation.plugins import AccuracyMatrix, evaluator
from lamm_cl.methods.build import build_model, check_backbone
from lamm_cl.methods.keywords import MethodOptions, Schedule
from lamm_cl.methods.learner import Learner
from lamm_cl.methods.recipe import LabelSpace
from lamm_cl.methods.registry import get_method
from lamm_cl.strategies.plugins import make_plugins
from lamm_cl.strategies.settings import PURE, Choices, PrecisionName, sort_options
from lamm_cl.strategies.strategy import LearnerStrategy
from lamm_cl.streams.layout import require_words
from lamm_cl.streams.source import ImageSource

_AVALANCHE = ("plugins", "evaluator", "optimizer", "eval_every", "peval_mode")
_STREAM = ("class_names", "class_templates", "shots")


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
    graph: Literal["auto", "never"]
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


def quiet_evaluator(benchmark: Any | None = None) -> Any:
    """Return an evaluator that prints nothing: accuracies of experiences and streams, by label space where planned."""
    spaces = [AccuracyMatrix(benchmark)] if hasattr(benchmark, "plan") else []
    return evaluator(accuracy_metrics(experience=True, stream=True), *spaces)


def build_strategy(
    method: str, backbone: ClipBackbone, benchmark: Any, device: str = "cpu", **options: Unpack[BuildOptions]
) -> LearnerStrategy:
    """Build the strategy of a method for a benchmark.

    Args:
        method: `lamm`, `coop`, `maple+lamm`, ... (`lamm-cl list methods`).
        backbone: Frozen CLIP.
        benchmark: One of `lamm_cl.streams`, or any Avalanche benchmark of images whose labels are columns (give
            `class_names` then).
        device: Where to train.
        **options: Options of the method; parts of the recipe (`lr`, `epochs`, `batch_size`, ...); the fields of
            `Settings`; Avalanche's `plugins`, `evaluator`, `optimizer`, `eval_every`, `peval_mode`; `class_names`,
            `class_templates` and `shots` where the benchmark does not know them.

    Returns:
        An Avalanche strategy. No label is learned yet: each experience adds its own.

    Raises:
        UsageError: For an unknown method or option, with the nearest match, or a value that cannot be.
    """
    check_backbone(backbone, "build_strategy(method, backbone, benchmark)")
    if not hasattr(benchmark, "train_stream"):
        raise UsageError(
            "build_strategy takes a benchmark with a train_stream, such as lamm_cl.base_to_novel(...), not "
            f"{benchmark!r}"
        )
    given = {"source": getattr(benchmark, "source", None), **options}
    chosen = sort_options(method, backbone.name, given, (*_AVALANCHE, *_STREAM))
    rest = chosen.rest
    names = rest.get("class_names") or getattr(benchmark, "class_names", None)
    if names is None:
        raise UsageError("the benchmark does not know its class names: pass class_names=[...], one per label.")
    lists = getattr(benchmark, "class_lists", ())
    if get_method(method).has_text_prompts:
        if "class_names" not in rest:
            require_words(getattr(benchmark, "numbered", ()), method)
        check_class_lists(backbone, lists)
    shots = rest.get("shots") or getattr(benchmark, "shots", None) or images_per_class(benchmark)
    templates = rest.get("class_templates") or getattr(benchmark, "templates", None)
    twins = may_repeat(names, lists)
    model = learner_of(method, backbone, names, shots, chosen, class_templates=templates, repeated_names=twins)
    if isinstance(rest.get("plugins"), Mapping):
        rest["plugins"] = make_plugins(rest["plugins"])
    return LearnerStrategy(
        model=model,
        recipe=chosen.recipe,
        device=device,
        settings=chosen.settings,
        **{"evaluator": quiet_evaluator(benchmark), **{name: rest[name] for name in _AVALANCHE if name in rest}},
    )


def learner_of(
    method: str, backbone: ClipBackbone, names: Sequence[str], shots: int, chosen: Choices, **more: Any
) -> Learner:
    """Build the learner that a strategy of these choices trains; no label is learned yet. See `build_model`."""
    more |= {"learn": False, "seed": chosen.settings.seed, "half": chosen.settings.precision == PURE}
    return build_model(method, backbone, tuple(names), shots, **more, **chosen.method)


def check_class_lists(backbone: ClipBackbone, lists: Iterable[tuple[Sequence[str], str]]) -> None:
    """Check that no two classes of one data set (names, template) have the same prompt; in two data sets they may.

    Raises:
        UsageError: Names the two classes.
    """
    for names, template in lists if isinstance(backbone, ClipBackbone) else ():
        backbone.text.words.check_distinct((name, template.replace("{}", spoken(name))) for name in names)


def may_repeat(names: Sequence[str], lists: Sequence[Any]) -> bool:
    """Return whether classes may share a prompt: those of several data sets may, and ImageNet's list has twins."""
    return len(lists) > 1 or (len(lists) == 1 and len(set(names)) < len(names))


def images_per_class(benchmark: Any) -> int:
    """Return the mean number of training images a class: the n of LAMM's 1 / n where no number of shots is given."""
    images = sum(len(experience.dataset) for experience in benchmark.train_stream)
    classes = {int(c) for experience in benchmark.train_stream for c in experience.dataset.targets.uniques}
    return max(1, round(images / max(1, len(classes))))
