"""What can be chosen about a strategy apart from method and recipe."""

import os
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from lamm_cl.methods.recipe import Stages

PrecisionName = Literal["fp32", "tf32", "bf16", "fp16", "pure_fp16"]
PURE: PrecisionName = "pure_fp16"
# cuBLAS repeats its bits where its work space is fixed; it reads this variable before its first product.
WORKSPACE, FIXED = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")
_MOST_WORKERS = 16


class Settings(Stages):
    """The choices of a `LearnerStrategy`.

    Attributes:
        train_label_space: Classes that an image competes with while a stage trains: `own` (the classes of the stage, as
            the papers), `seen` (also those of earlier stages) or `all`.
        freeze_context_after: Stage after which context, deep prompts and projections stop training, labels
            excepted; None trains them on in every stage, as the papers' baselines do.
        regime: `naive` trains a stage on its own images; `cumulative` on those of all stages so far; `joint` on the
            whole stream at once (call `train(stream)` once).
        seed: Names the order of mini-batches and starts the generators that plugins draw from.
        precision: `fp32`, on a GPU without TF32; `tf32` (a GPU's products and convolutions round their factors);
            `bf16` or `fp16` (autocast; prompts and scale stay fp32); `pure_fp16` (weights, prompts and momentum in half
            precision, as in the released trainers).
        deterministic: Take the deterministic form of every operation, so that a GPU repeats its bits.
        eval_mb_size: Images a mini-batch when nothing trains.
        num_workers: Processes that read the images of methods that take images; None for `default_workers`. Changes no
            bit.
        features: Where the features of images are kept, for methods that leave the image tower alone on benchmarks
            that have a picture source: `memory`, a folder that later runs share, or a `FeatureStore`. None encodes
            images as they come.
        source: Picture source of a benchmark whose experiences do not lead to it.
        on_epoch_end: Called with the strategy after every training epoch and what its plugins do then.
    """

    seed: int = 0
    precision: PrecisionName = "fp32"
    deterministic: bool = False
    eval_mb_size: int = Field(256, ge=1)
    num_workers: int | None = Field(None, ge=0)
    features: Any = "memory"
    source: Any = None
    on_epoch_end: Callable[[Any], None] | None = None


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(device: str, runs: int = 1) -> int:
    """Return how many processes read images unless the user says.

    Args:
        device: Kind of device; on a CPU steps need the cores themselves.
        runs: That share the machine's cores.
    """
    return max(1, min(_MOST_WORKERS, cores() // runs - 1)) if device == "cuda" else 0
