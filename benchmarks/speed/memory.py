"""Peak memory of a training step in a process of its own: `python -m benchmarks.speed.memory METHOD CLASSES`."""

import json
import logging
import resource
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.speed.reference import exact_step
from benchmarks.speed.steps import BATCH, OPTIONS, names
from lamm_cl import build_model

HERE = Path(__file__).parents[2]


def peak_megabytes(method: str, classes: int, name: str = "ViT-B-16-quickgelu") -> dict[str, float]:
    """Run two steps in a new process and return its peak resident memory and what it held before, in MB."""
    command = [sys.executable, "-m", "benchmarks.speed.memory", method, str(classes), name]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def resident() -> float:
    """Return the most memory this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(method: str, classes: int, name: str) -> None:
    from benchmarks.speed.backbone import random_backbone

    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    backbone = random_backbone(name)
    before = resident()
    model = build_model(method, backbone, names(classes), **OPTIONS.get(method, {}))
    batch = BATCH.get(method, 32)
    images = torch.randn(batch, 3, *backbone.image_size)
    features = torch.nn.functional.normalize(torch.randn(batch, backbone.embed_dim), dim=-1)
    sgd = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.002, momentum=0.9)
    for _ in range(2):
        sgd.zero_grad()
        exact_step(model, images, features, torch.arange(batch) % classes)
        sgd.step()
    print(json.dumps({"before_mb": before, "peak_mb": resident()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
