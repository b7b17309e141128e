"""The speed suite: `python -m benchmarks.speed [--quick] [--out DIR]`, or `make bench`."""

import argparse
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import open_clip
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

import lamm_cl
from benchmarks.speed import class_incremental
from benchmarks.speed.backbone import random_backbone
from benchmarks.speed.floor import peak_flops
from benchmarks.speed.growth import grow
from benchmarks.speed.launches import METHODS as COUNTED
from benchmarks.speed.launches import launches
from benchmarks.speed.loading import loading
from benchmarks.speed.plot import plot_growth
from benchmarks.speed.products import measure_products
from benchmarks.speed.steps import METHODS, Step, measure_step, measure_transport
from benchmarks.speed.whole_run import image_seconds, whole_runs
from lamm_cl.strategies.settings import cores

CONSOLE = Console()
CLASSES = (10, 47, 102)
UNSEEN = ("batch", "ratio_low", "ratio_high", "reference_system_seconds", "before_mb")  # in the file, not on the screen
TABLES = ("steps", "products", "transport", "growth", "launches", "loading")


def machine() -> dict[str, Any]:
    """Return what a speed depends on besides the code."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "peak_gflops": round(peak_flops() / 1e9, 1),
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "lamm_cl": lamm_cl.__version__,
        "date": date.today().isoformat(),
    }


def write(rows: Sequence[Any], path: Path, about: dict[str, Any]) -> pd.DataFrame:
    """Write a table with the machine in its last columns, and print it."""
    table = pd.DataFrame([asdict(row) for row in rows])
    table.assign(**about).to_csv(path, index=False)
    shown = Table(title=path.stem.replace("_", " "))
    short = table[[column for column in table.columns if column not in UNSEEN]]
    for column in short.columns:
        shown.add_column(str(column).removesuffix("_seconds").replace("_", " "))
    for row in short.itertuples(index=False):
        shown.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row))
    CONSOLE.print(shown)
    return table


def renew(rows: Sequence[Step], path: Path, about: dict[str, Any]) -> None:
    """Put rows in the place of those of the same methods; each row says itself where it was measured."""
    new = pd.DataFrame([asdict(row) for row in rows]).assign(**about)
    old = pd.read_csv(path) if path.is_file() else new[:0]
    table = pd.concat([old[~old["method"].isin(new["method"])], new])
    table.sort_values("classes", kind="stable").to_csv(path, index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description="Engine against plain reference, in turn in one process, on one core.")
    parser.add_argument("--quick", action="store_true", help="few classes and methods, under 3 minutes")
    parser.add_argument(
        "--only", choices=(*TABLES, "class_incremental"), nargs="+", default=TABLES, help="which tables to make"
    )
    parser.add_argument("--methods", choices=METHODS, nargs="+", help="steps of these alone, instead of their old rows")
    parser.add_argument(
        "--out", type=Path, help="where the tables go (default: results/speed; with --quick: runs/speed)"
    )
    parser.add_argument("--backbone", default="ViT-B-16-quickgelu", help="an open_clip architecture, random weights")
    parser.add_argument("--repeat", type=int, default=2, help="repetitions of the plain reference")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out = arguments.out or Path("runs/speed" if arguments.quick else "results/speed")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if "launches" in arguments.only and not (arguments.quick or arguments.methods):
        counted = [launches(method, classes) for method, counts in COUNTED.items() for classes in counts]
        write(counted, arguments.out / "launches.csv", {"torch": torch.__version__, "lamm_cl": lamm_cl.__version__})
        if arguments.only == ["launches"]:
            return
    about = machine()
    if "class_incremental" in arguments.only and not (arguments.quick or arguments.methods):
        write(list(class_incremental.measure()), arguments.out / "class_incremental.csv", about)
        if set(arguments.only) <= {"launches", "class_incremental"}:
            return
    backbone = random_backbone(arguments.backbone)
    if arguments.quick:
        rows = [_told(measure_step(backbone, method, 10, 1)) for method in ("lamm", "coop", "maple")]
        write(rows, arguments.out / "steps.csv", about)
        return
    if arguments.methods:
        rows = [_told(measure_step(backbone, m, n, arguments.repeat)) for n in CLASSES for m in arguments.methods]
        renew(rows, arguments.out / "steps.csv", about)
        return
    if "steps" in arguments.only:
        rows = [_told(measure_step(backbone, m, count, arguments.repeat)) for count in CLASSES for m in METHODS]
        write(rows, arguments.out / "steps.csv", about)
        largest = {step.method: step for step in rows if step.classes == CLASSES[-1]}
        write(whole_runs(largest, image_seconds(backbone)), arguments.out / "whole_runs.csv", about)
    if "products" in arguments.only:
        alone = [measure_products(backbone, method, count) for method in ("lamm", "coop") for count in CLASSES]
        write(alone, arguments.out / "products.csv", about)
    if "transport" in arguments.only:
        rows = [measure_transport(backbone, count, arguments.repeat) for count in CLASSES]
        write(rows, arguments.out / "transport.csv", about)
    if "loading" in arguments.only:
        write(loading(backbone), arguments.out / "loading.csv", {**about, "cores": cores()})
    if "growth" in arguments.only:
        plot_growth(write(list(grow(backbone.name)), arguments.out / "growth.csv", about), arguments.out / "growth")


def _told(step: Step) -> Step:
    CONSOLE.print(f"{step.method}, {step.classes} classes: {step.ratio:.1f}x")
    return step


if __name__ == "__main__":
    main()
