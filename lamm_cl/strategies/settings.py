"""What can be chosen about a strategy apart from method and recipe."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from lamm_cl.errors import UsageError, unknown
from lamm_cl.strategies.label_space import LABEL_SPACES
from lamm_cl.strategies.precision import PRECISIONS

REGIMES = ("naive", "cumulative", "joint")


@dataclass(frozen=True)
class Settings:
    """The choices of a `LearnerStrategy`.

    Attributes:
        label_space: Classes that an image competes with while a stage trains: `own` (the classes of the stage, as
            the papers), `seen` (also those of earlier stages) or `all`.
        freeze_context_after: Stage after which context, deep prompts and projections stop training, labels
            excepted; None trains them on in every stage, as the papers' baselines do.
        regime: `naive` trains a stage on its own images; `cumulative` on those of all stages so far; `joint` on the
            whole stream at once (call `train(stream)` once).
        seed: Names the order of mini-batches and starts the generators that plugins draw from.
        precision: `fp32`; `bf16` or `fp16` (autocast; prompts and scale stay fp32); `pure_fp16` (weights, prompts and
            momentum in half precision, as in the released trainers).
        eval_mb_size: Images a mini-batch when nothing trains.
        features: Where the features of images are kept, for methods that leave the image tower alone on benchmarks
            that have a picture source: `memory`, a folder that later runs share, or a `FeatureStore`. None encodes
            images as they come.
        source: Picture source of a benchmark whose experiences do not lead to it.
        on_epoch_end: Called with the strategy after every training epoch and what its plugins do then.
    """

    label_space: str = "own"
    freeze_context_after: int | None = None
    regime: str = "naive"
    seed: int = 0
    precision: str = "fp32"
    eval_mb_size: int = 256
    features: Any | None = "memory"
    source: Any | None = None
    on_epoch_end: Callable[[Any], None] | None = None

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("label space", self.label_space, LABEL_SPACES),
            ("regime", self.regime, REGIMES),
            ("precision", self.precision, tuple(PRECISIONS)),
        ):
            if value not in choices:
                raise unknown(name, value, choices)
        after = self.freeze_context_after
        if after is not None and (not isinstance(after, int) or isinstance(after, bool) or after < 0):
            raise UsageError(f"freeze_context_after is a stage (0, 1, 2, ...) or None, not {after!r}.")
        if not isinstance(self.eval_mb_size, int) or isinstance(self.eval_mb_size, bool) or self.eval_mb_size < 1:
            raise UsageError(f"eval_mb_size is a number of images, at least 1, not {self.eval_mb_size!r}.")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise UsageError(f"seed is a whole number, not {self.seed!r}.")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Settings":
        """Make settings of keyword options.

        Raises:
            UsageError: For an unknown option, with the nearest match, or a value that none can have.
        """
        names = [field.name for field in fields(cls)]
        for name in options:
            if name not in names:
                raise unknown("option", name, names)
        return cls(**options)
