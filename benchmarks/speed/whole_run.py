"""Hours of whole runs from measured parts: 16 shots, 50 epochs, 102 classes, nothing remembered from earlier runs.

A step's seconds come from `steps`, an image's from timing the frozen tower. LAMM alone meets every view for the first
time, so its images cost what they cost the papers' code; every further method, loss or ablation on the same views finds
their features in the cache.
"""

from dataclasses import dataclass

import torch

from benchmarks.speed.measure import seconds
from benchmarks.speed.steps import Step
from lamm_cl import ClipBackbone

CLASSES, SHOTS, EPOCHS, BATCH = 102, 16, 50, 32
ABLATIONS = 8  # the rows of LAMM's Table 4


@dataclass(frozen=True)
class WholeRun:
    """One row: hours the papers' way and with the engine."""

    what: str
    reference_hours: float
    exact_hours: float
    ratio: float


def image_seconds(backbone: ClipBackbone, batch: int = 32) -> float:
    """Return the seconds that encoding one image takes with the frozen tower."""
    images = torch.randn(batch, 3, *backbone.image_size)
    return min(seconds(lambda: backbone.encode_images(images)) for _ in range(2)) / batch


def whole_runs(steps: dict[str, Step], per_image: float) -> list[WholeRun]:
    """Put the parts together: steps of an epoch, epochs, and each view encoded once.

    Args:
        steps: measured steps at 102 classes, by method ("lamm", "coop", "coop+lamm").
        per_image: seconds to encode one image.
    """
    count = CLASSES * SHOTS // BATCH * EPOCHS
    views = CLASSES * SHOTS * EPOCHS * per_image
    lamm, rest = steps["lamm"], [steps["coop"], steps["coop+lamm"]]
    ablations = ABLATIONS * lamm.reference_seconds, ABLATIONS * lamm.exact_seconds
    published = lamm.reference_seconds + sum(s.reference_seconds for s in rest) + ablations[0]
    exact = lamm.exact_seconds + sum(s.exact_seconds for s in rest) + ablations[1]
    return [
        _row("lamm, cold cache", count * lamm.reference_seconds, count * lamm.exact_seconds + views),
        _row("lamm, warm cache", count * lamm.reference_seconds, count * lamm.exact_seconds),
        _row("lamm, coop, coop+lamm and 8 loss ablations, cold cache", count * published, count * exact + views),
    ]


def _row(what: str, reference: float, exact: float) -> WholeRun:
    return WholeRun(what, reference / 3600, exact / 3600, reference / exact)
