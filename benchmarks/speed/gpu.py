"""Training steps on a CUDA card: `python -m benchmarks.speed.gpu [--out DIR] [--seconds S]`, two to three minutes.

`gpu.csv`: seconds, memory and kernels of a step of ViT-B/16 with random weights, fp32 without TF32, at 10, 100 and
1,000 classes, in the ways of `gpu_steps`: as the papers' codes do it, and with the engine. `gpu_table2.csv`: the hours
of LAMM's Table 2 from such parts, see `gpu_table2`. Both are written after every row, and a row that fails says why.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
import torch

from benchmarks.speed.backbone import random_backbone
from benchmarks.speed.gpu_steps import DETERMINISTIC, IN_PRECISION, WARM, WAYS, Case, Way, built, measure, told
from benchmarks.speed.gpu_table2 import table2
from benchmarks.speed.steps import OPTIONS
from lamm_cl import ClipBackbone
from lamm_cl.clip.precision import arithmetic
from lamm_cl.strategies.settings import FIXED, WORKSPACE

METHODS = ("lamm", "coop", "maple", "align", "rapf")
CLASSES = (10, 100, 1000)
ROUNDED, ROUNDED_AT = ("lamm", "maple"), 100  # one method of each kind of step: other precisions, deterministic form
STEPS_LIMIT, LIMIT = 100.0, 170.0  # seconds after which nothing new is begun: in the first table, and at all
NOTHING = float("nan")


@dataclass(frozen=True)
class Row:
    """One way of one method's step.

    Attributes:
        seconds_a_step: Median.
        ratio: The reference's seconds in those of this way.
        peak_mb: Highest allocation above that before the first step.
        utilisation: Percent of the time in which kernels run.
        loss_difference: To the reference's first loss, from the same parameters, relative.
        note: What failed or was not measured.
    """

    method: str
    classes: int
    batch: int
    way: str
    seconds_a_step: float = NOTHING
    steps_a_second: float = NOTHING
    ratio: float = NOTHING
    peak_mb: float = NOTHING
    utilisation: float = NOTHING
    loss_difference: float = NOTHING
    note: str = ""


def steps(
    backbone: ClipBackbone,
    seconds: float,
    over: Callable[[], bool] = lambda: False,
    methods: Iterable[str] = METHODS,
    classes: Iterable[int] = CLASSES,
    ways: Mapping[str, Way] = WAYS,
) -> Iterator[Row]:
    """Measure every way of every method; `over` says when no row may begin any more."""
    for method in methods:
        for count in classes:
            try:
                case = None if over() else built(method, count, backbone, **OPTIONS.get(method, {}))
                note = "" if case else "not measured: out of time"
            except Exception as error:  # one method must not end the others
                case, note = None, told(error)
            yield from _rows(method, count, case, note, seconds, over, ways)
            del case
            if backbone.device.type == "cuda":
                torch.cuda.empty_cache()


def _rows(
    method: str,
    count: int,
    case: Case | None,
    note: str,
    seconds: float,
    over: Callable[[], bool],
    ways: Mapping[str, Way],
) -> Iterator[Row]:
    reference_seconds = reference_loss = NOTHING
    for name, way in ways.items():
        if name.startswith("graph") and (case is None or not case.recordable):
            continue
        place = (method, count, 0 if case is None else len(case.labels), name)
        why = note or ("not measured: out of time" if over() else "")
        if case is None or why:
            yield Row(*place, note=why)
            continue
        try:
            device, choice = case.device, name.partition(", ")[2]
            looped = method == "align" and name == "reference"  # the profiler would hold 100,000 events
            with arithmetic(device, choice == "tf32", name == DETERMINISTIC):
                found = measure(case, way, 0 if looped else seconds, 1 if looped else WARM, profile=not looped)
        except Exception as error:
            yield Row(*place, note=told(error))
            continue
        if name == "reference":
            reference_seconds, reference_loss = found.seconds, found.loss
        yield Row(
            *place,
            seconds_a_step=found.seconds,
            steps_a_second=1 / found.seconds,
            ratio=reference_seconds / found.seconds,
            peak_mb=found.peak_mb,
            utilisation=found.utilisation,
            loss_difference=abs(found.loss - reference_loss) / abs(reference_loss),
            note=found.note,
        )


def machine(device: torch.device) -> dict[str, Any]:
    """Return what a speed depends on besides the code."""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"card": card, "torch": torch.__version__, "cuda": torch.version.cuda, "date": date.today().isoformat()}


def write(rows: Iterable[Any], path: Path, about: Mapping[str, Any], started: float) -> None:
    """Write a table anew after every row, and say how far it is."""
    found: list[dict[str, Any]] = []
    for row in rows:
        found.append(asdict(row))
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(found).assign(**about).to_csv(path, index=False)
        shown = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in found[-1].values())
        print(f"{perf_counter() - started:6.1f} s  {path.stem}:", *shown, flush=True)


def run(backbone: ClipBackbone, out: Path, seconds: float, deterministic: bool = False) -> None:
    """Measure both tables on the backbone's device, or what `deterministic` costs there."""
    started, device = perf_counter(), backbone.device
    about = machine(device)
    with arithmetic(device):
        backbone.encode_images(torch.randn(2, 3, *backbone.image_size))  # loads the kernels
        if deterministic:
            ways = {"graph": WAYS["graph"], DETERMINISTIC: WAYS["graph"]}
            rows = steps(backbone, seconds, methods=ROUNDED, classes=[ROUNDED_AT], ways=ways)
            write(rows, out / "gpu_deterministic.csv", about, started)
            return

        def over(limit: float) -> bool:
            return perf_counter() - started > limit

        rows = steps(backbone, seconds, partial(over, STEPS_LIMIT))
        rounded = steps(backbone, seconds, partial(over, STEPS_LIMIT), ROUNDED, [ROUNDED_AT], IN_PRECISION)
        write(chain(rows, rounded), out / "gpu.csv", about, started)
        write(table2(backbone, seconds / 4, partial(over, LIMIT)), out / "gpu_table2.csv", about, started)


def main() -> None:
    parser = argparse.ArgumentParser(description="Training steps on a CUDA card, as the papers' codes and the engine.")
    parser.add_argument("--out", type=Path, default=Path("results/speed"), help="where the tables go")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long each step is repeated")
    parser.add_argument("--deterministic", action="store_true", help="only what that form of a step costs")
    parser.add_argument("--device", default="cuda", help="where to measure")
    parser.add_argument("--backbone", default="ViT-B-16-quickgelu", help="an open_clip architecture, random weights")
    arguments = parser.parse_args()
    print("building", arguments.backbone, flush=True)
    if arguments.deterministic:
        os.environ[WORKSPACE] = FIXED[0]  # before the first product
    backbone = random_backbone(arguments.backbone).to(arguments.device)
    run(backbone, arguments.out, arguments.seconds, arguments.deterministic)


if __name__ == "__main__":
    main()
