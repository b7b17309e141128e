"""Hours of LAMM's Table 2 on one card, put together from measured parts.

Its config says methods, data sets, shots and seeds, the recipes say epochs and batches, the catalogue says classes and
test images. A run learns Set1, then Set2: half of the classes each. Parts:

- seconds of a step at Set1's number of classes, in the reference's way and as a strategy does it (recorded where it
  can be), times the steps of both sets;
- encoding every training view once, where the learner takes features. It is part of every reference step; with a cold
  cache the engine pays it once a seed, with a warm one not at all;
- evaluation: Set1 after Set1, and both sets after Set2. The reference encodes every test image each time, as does a
  learner that acts inside the image tower; else the engine encodes it once.

In the row "all" a cold cache is filled once for all methods of a data set. Left out, on both sides: reading and
augmenting pictures, and the text of an evaluation; and that the first steps of a stage are slower, since kernels are
loaded, and steps recorded.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml

from benchmarks.speed.gpu_steps import WAYS, built, measure, told
from benchmarks.speed.gpu_timing import repeated
from lamm_cl import ClipBackbone, build_model
from lamm_cl.data.catalogue import find
from lamm_cl.methods.recipe import Recipe
from lamm_cl.methods.registry import recipe_for
from lamm_cl.streams.orders import even_sizes

CONFIG = Path(__file__).parents[2] / "configs" / "lamm" / "table2_class_incremental.yaml"
TESTED = 1.5  # times that a test image is scored: half of them are of Set1
SMALL, LARGE = 32, 256  # images encoded at once: those of the feature cache, and of an evaluation
HOUR = 3600
NOTHING = float("nan")


@dataclass(frozen=True)
class Part:
    """All runs of one method on one data set.

    Attributes:
        classes: Of Set1.
        runs: Seeds.
        steps: Of a run.
        reference_step, engine_step: Seconds.
        hours_views: Encoding training views and test images into an empty cache.
        hours_reference, hours_cold, hours_warm: The papers' way; the engine with an empty cache and with a full one.
        ratio_cold, ratio_warm: How many times sooner the engine is done.
        images_a_second, images_a_second_large: Of the frozen tower, batches of 32 and of 256.
    """

    method: str
    dataset: str
    classes: int
    runs: int
    steps: int
    reference_step: float = 0.0
    engine_step: float = 0.0
    hours_views: float = 0.0
    hours_reference: float = NOTHING
    hours_cold: float = NOTHING
    hours_warm: float = NOTHING
    ratio_cold: float = NOTHING
    ratio_warm: float = NOTHING
    images_a_second: float = NOTHING
    images_a_second_large: float = NOTHING
    note: str = ""


def image_rate(backbone: ClipBackbone, batch: int, seconds: float) -> float:
    """Return how many images a second the frozen tower encodes."""
    images = torch.randn(batch, 3, *backbone.image_size).to(backbone.device)
    found = repeated(lambda: backbone.encode_images(images), backbone.device, seconds)
    return batch / median(found[1:] or found)


def steps_of(recipe: Recipe, shots: int, sizes: tuple[int, ...]) -> int:
    """Return the steps of a run of several stages; incomplete batches are dropped."""
    assert recipe.epochs is not None
    return sum(recipe.epochs * max(1, shots * size // recipe.batch_size) for size in sizes)


def table2(
    backbone: ClipBackbone,
    seconds: float,
    over: Callable[[], bool] = lambda: False,
    config: Mapping[str, Any] | None = None,
) -> Iterator[Part]:
    """Measure the parts; the last row is the sum.

    Args:
        backbone: On the device.
        seconds: Each step is repeated for so long.
        over: Says when no step may be measured any more.
        config: In place of the table's.
    """
    asked = yaml.safe_load(CONFIG.read_text()) if config is None else config
    rates = image_rate(backbone, SMALL, 2 * seconds), image_rate(backbone, LARGE, 2 * seconds)

    @cache
    def step_seconds(method: str, classes: int) -> tuple[float, float, str]:
        """Return the seconds of a step in the reference's way and in the engine's, or what failed."""
        if over():
            return NOTHING, NOTHING, "not measured: out of time"
        options = dict(asked["methods"][method] or {})
        try:
            case = built(options.pop("method", method), classes, backbone, **options)
            own = "graph" if case.recordable else "engine"
            found = [measure(case, WAYS[way], seconds, profile=False) for way in ("reference", own)]
        except Exception as error:
            return NOTHING, NOTHING, told(error)
        return found[0].seconds, found[1].seconds, ""

    parts = []
    for method, options in asked["methods"].items():
        for dataset in asked["datasets"]:
            parts.append(_part(method, dataset, asked, options or {}, backbone, rates, step_seconds))
            yield parts[-1]
    yield _sum(parts)


def _part(
    method: str,
    dataset: str,
    asked: Mapping[str, Any],
    options: Mapping[str, Any],
    backbone: ClipBackbone,
    rates: tuple[float, float],
    step_seconds: Callable[[str, int], tuple[float, float, str]],
) -> Part:
    entry, runs, shots = find(dataset), len(asked["seeds"]), int(asked["shots"])
    sizes, test = even_sizes(entry.classes, 2), entry.sizes[2]
    name = options.get("method", method)
    recipe, takes = recipe_for(name, backbone.name), build_model(name, backbone, ["cat", "dog"]).takes
    part = Part(method, dataset, sizes[0], runs, 0, images_a_second=rates[0], images_a_second_large=rates[1])
    views = 0
    if recipe.lr:
        reference, own, note = step_seconds(method, sizes[0])
        part = replace(part, steps=steps_of(recipe, shots, sizes), reference_step=reference, engine_step=own, note=note)
        views = runs * (recipe.epochs or 0) * shots * entry.classes
    tests = runs * TESTED * test / rates[1]
    inside = takes == "images"
    stored = 0.0 if inside else (views + test) / rates[0]
    warm = runs * part.steps * part.engine_step + (tests if inside else 0.0)
    return _with_hours(part, runs * part.steps * part.reference_step + tests, warm, stored)


def _with_hours(part: Part, reference: float, warm: float, views: float) -> Part:
    """Put in hours, given in seconds."""
    cold = warm + views
    return replace(
        part,
        hours_views=views / HOUR,
        hours_reference=reference / HOUR,
        hours_cold=cold / HOUR,
        hours_warm=warm / HOUR,
        ratio_cold=reference / cold if cold else NOTHING,
        ratio_warm=reference / warm if warm else NOTHING,
    )


def _sum(parts: list[Part]) -> Part:
    """Return the whole table; the views of a data set are encoded once."""
    once = {part.dataset: 0.0 for part in parts}
    for part in parts:
        once[part.dataset] = max(once[part.dataset], part.hours_views)
    missing = sum(bool(part.note) for part in parts)
    total = replace(
        parts[0],
        method="all",
        dataset="all",
        classes=0,
        steps=sum(part.steps for part in parts),
        reference_step=NOTHING,
        engine_step=NOTHING,
        note=f"{missing} parts failed" if missing else "",
    )
    reference, warm = (sum(getattr(part, f"hours_{name}") for part in parts) for name in ("reference", "warm"))
    return _with_hours(total, HOUR * reference, HOUR * warm, HOUR * sum(once.values()))
