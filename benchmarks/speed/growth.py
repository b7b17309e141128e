"""How cost grows: seconds a step and peak memory against classes, prompt depth and stages."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from benchmarks.speed.measure import seconds
from benchmarks.speed.memory import peak_megabytes
from benchmarks.speed.reference import exact_step
from benchmarks.speed.steps import BATCH, OPTIONS, names
from lamm_cl import ClipBackbone, build_model


@dataclass(frozen=True)
class Cost:
    """One row: what was varied, and what it cost."""

    method: str
    varied: str
    value: int
    step_seconds: float
    peak_mb: float | None


def against_classes(backbone: ClipBackbone, method: str, classes: int, memory: bool) -> Cost:
    """Seconds of one step, and memory in a process of its own, at a number of classes."""
    each = _step(backbone, method, names(classes), {})
    peak = peak_megabytes(method, classes, backbone.name)["peak_mb"] if memory else None
    return Cost(method, "classes", classes, each, peak)


def against_depth(backbone: ClipBackbone, method: str, depth: int) -> Cost:
    """Seconds of one step at a number of layers with prompts."""
    return Cost(method, "prompt depth", depth, _step(backbone, method, names(47), {"prompt_depth": depth}), None)


def against_stages(backbone: ClipBackbone, stage: int, each: int = 10) -> Cost:
    """Seconds of one LAMM step in stage k of a stream that brings `each` classes a stage."""
    every = names(stage * each)
    model = build_model("lamm", backbone, every, learn=False)
    features = F.normalize(torch.randn(32, backbone.embed_dim), dim=-1)
    for k in range(stage):
        model.learn_classes(range(k * each, (k + 1) * each))
    new = list(range((stage - 1) * each, stage * each))
    labels = torch.tensor(new)[torch.arange(32) % each]

    def step() -> None:
        model.objective(model.output(features), labels, new)["total"].backward()  # type: ignore[no-untyped-call]

    step()
    return Cost("lamm", "stage (10 new classes each)", stage, min(seconds(step) for _ in range(3)), None)


def _step(backbone: ClipBackbone, method: str, class_names: list[str], options: dict[str, int]) -> float:
    model = build_model(method, backbone, class_names, **{**OPTIONS.get(method, {}), **options})
    batch = BATCH.get(method, 32)
    images = torch.randn(batch, 3, *backbone.image_size)
    features = F.normalize(torch.randn(batch, backbone.embed_dim), dim=-1)
    labels = torch.arange(batch) % len(class_names)
    exact_step(model, images, features, labels)
    return min(seconds(lambda: exact_step(model, images, features, labels)) for _ in range(2))
