"""One training step in a process of its own, its seconds and peak memory: `python -m benchmarks.speed.alone CASE`.

CASE is a JSON object with the fields of `Case`, as '{"method": "lamm", "classes": 1000}'.
"""

import json
import logging
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.speed.measure import seconds
from benchmarks.speed.steps import BATCH, OPTIONS, names
from lamm_cl import build_model

HERE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Case:
    """What is trained.

    Attributes:
        method: a registered method.
        classes: number of classes that compete in the step.
        shots: images a class whose features are remembered.
        stage: number of a step of a stream that brings `classes` new classes a step.
        options: the method's options, beside those of the speed tables.
        backbone: an open_clip architecture, with random weights.
    """

    method: str
    classes: int
    shots: int = 16
    stage: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    backbone: str = "ViT-B-16-quickgelu"


@dataclass(frozen=True)
class Cost:
    """What it cost: seconds a step, and the process's resident memory before the first step and at its peak."""

    step_seconds: float
    before_mb: float
    peak_mb: float


def cost(case: Case) -> Cost:
    """Measure a case in a new process."""
    command = [sys.executable, "-m", "benchmarks.speed.alone", json.dumps(asdict(case))]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    return Cost(**json.loads(done.stdout.strip().splitlines()[-1]))


def measure(case: Case) -> Cost:
    """Measure a case in this process: two steps, the faster counts."""
    from benchmarks.speed.backbone import random_backbone

    backbone = random_backbone(case.backbone)
    before = _resident()
    every = names(case.classes * case.stage)
    model = build_model(case.method, backbone, every, learn=False, **{**OPTIONS.get(case.method, {}), **case.options})
    for stage in range(case.stage):
        model.learn_classes(range(stage * case.classes, (stage + 1) * case.classes))
    columns = range((case.stage - 1) * case.classes, case.stage * case.classes)
    batch = BATCH.get(case.method, 32)
    remembered = F.normalize(torch.randn(case.shots * case.classes, backbone.embed_dim), dim=-1)
    images = torch.randn(batch, 3, *backbone.image_size)
    sgd = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.002, momentum=0.9)

    def step() -> None:
        drawn = torch.randint(len(remembered), (batch,))
        given = images if model.needs_images else remembered[drawn]
        sgd.zero_grad()
        terms = model.objective(model.output(given, columns), columns.start + drawn % case.classes, columns)
        terms["total"].backward()  # type: ignore[no-untyped-call]
        sgd.step()

    step()
    return Cost(min(seconds(step) for _ in range(2)), before, _resident())


def _resident() -> float:
    """Return the most memory this process has held so far, in MB.

    Linux's own count of the process: `ru_maxrss` starts from what the process held that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    print(json.dumps(asdict(measure(Case(**json.loads(sys.argv[1]))))))
