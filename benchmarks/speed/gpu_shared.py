"""What a CUDA card does in all when several runs of a grid share it: `python -m benchmarks.speed.gpu_shared`.

Each run is a process of its own, as `lamm-cl run --jobs` starts them, and takes LAMM's steps for the same seconds.
"""

import argparse
import multiprocessing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.speed.backbone import random_backbone
from benchmarks.speed.gpu import machine, write
from benchmarks.speed.gpu_steps import WARM, WAYS, built
from benchmarks.speed.gpu_timing import wait
from lamm_cl.clip.precision import arithmetic

METHOD, CLASSES, WAYS_MEASURED = "lamm", 10, ("engine", "graph")
RUNS = (1, 2, 4)
SECONDS = 2.0


@dataclass(frozen=True)
class Shared:
    """Steps a second of all runs together, and how many times those of one run alone."""

    method: str
    classes: int
    way: str
    runs: int
    steps_a_second: float
    times_one: float


def main() -> None:
    parser = argparse.ArgumentParser(description="Several runs on one CUDA card at once.")
    parser.add_argument("--out", type=Path, default=Path("results/speed"), help="where the table goes")
    parser.add_argument("--device", default="cuda", help="where to measure")
    parser.add_argument("--backbone", default="ViT-B-16-quickgelu", help="an open_clip architecture, random weights")
    arguments = parser.parse_args()
    context, started = multiprocessing.get_context("spawn"), perf_counter()
    found = context.Queue()
    together = context.Barrier(max(RUNS))
    given = (arguments.backbone, arguments.device, together, found)
    workers = [context.Process(target=_work, args=(number, *given)) for number in range(max(RUNS))]
    for worker in workers:
        worker.start()
    rates: dict[tuple[str, int], float] = {}
    for _ in range(len(WAYS_MEASURED) * sum(RUNS)):
        way, runs, rate, about = found.get()
        rates[way, runs] = rates.get((way, runs), 0.0) + rate
    for worker in workers:
        worker.join()
    rows = [Shared(METHOD, CLASSES, *key, rate, rate / rates[key[0], 1]) for key, rate in sorted(rates.items())]
    write(rows, arguments.out / "gpu_shared.csv", about, started)


def _work(number: int, name: str, device: str, together: Any, found: Any) -> None:
    """Take part in every measurement of more than `number` runs, and wait for the others in between."""
    backbone = random_backbone(name).to(device)
    with arithmetic(backbone.device):
        case = built(METHOD, CLASSES, backbone)
        for way in WAYS_MEASURED:
            case.restore()
            step = WAYS[way](case)
            for _ in range(WARM):
                step()
            for runs in RUNS:
                wait(backbone.device)
                together.wait()
                steps, start = 0, perf_counter()
                while number < runs and perf_counter() - start < SECONDS:
                    step()
                    wait(backbone.device)
                    steps += 1
                if steps:
                    found.put((way, runs, steps / (perf_counter() - start), machine(backbone.device)))
                together.wait()


if __name__ == "__main__":
    main()
