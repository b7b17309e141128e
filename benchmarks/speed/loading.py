"""How fast images are read and made into training views, and how long steps wait for them.

JPEG files of 500 x 375 pixels, drawn here, become views of the backbone's size: in place, by the processes that a
strategy starts, and by threads, which fill the feature cache. Each way has several turns, one after the other, and its
best eight batches count: other programs on the machine slow the others down.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.speed.reference import exact_step
from benchmarks.speed.steps import built, names
from lamm_cl import ClipBackbone
from lamm_cl.strategies.pictures import Pictures
from lamm_cl.streams.build import build_stream

NUMBERS = (1, 2)
TURNS = 6
WINDOW = 8  # batches
STEP = 0.05  # seconds of a step that leaves the processor alone, as one on a GPU would
IMAGES = 64


@dataclass(frozen=True)
class Loading:
    """One row.

    Attributes:
        step: What the images are read for.
        reader: "in place", "processes" or "threads".
        number: Of processes or threads.
        batch: Images a step.
        images_per_second: Of wall time.
        waited: Share of the time that steps waited for images; None where nothing but reading goes on.
    """

    step: str
    reader: str
    number: int
    batch: int
    images_per_second: float
    waited: float | None


def loading(backbone: ClipBackbone) -> list[Loading]:
    """Measure every row."""
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder))
        source = build_stream("few_shot", {"folder": folder}, shots=IMAGES // 2, seed=1, backbone=backbone).source
        return [*_reading(backbone, source), *_steps(backbone, source)]


def draw(folder: Path) -> None:
    """Draw JPEG files of two classes: smooth colours with some grain, of about 55 kB each."""
    generator = np.random.default_rng(0)
    for number in range(2 * IMAGES):  # half of them are left for the other splits
        small = Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(small.resize((500, 375), Image.Resampling.BICUBIC)).astype(int)
        grainy = (smooth + generator.integers(-8, 9, smooth.shape)).clip(0, 255).astype(np.uint8)
        path = folder / f"class {number % 2}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(grainy).save(path, quality=90)


def _reading(backbone: ClipBackbone, source: Any) -> Iterator[Loading]:
    """Yield what is read when nothing else goes on."""
    ways = [("in place", 1), *(("processes", n) for n in NUMBERS), *(("threads", n) for n in NUMBERS)]
    batches = [[(8 * k + i) % IMAGES for i in range(8)] for k in range(32)]
    best = dict.fromkeys(ways, 0.0)
    for _ in range(TURNS):
        for way in ways:
            with _images(backbone, source, *way) as images:
                came = [time.perf_counter() for _ in images(batches)]
            spans = [after - before for before, after in zip(came[4:], came[4 + WINDOW :], strict=False)]
            best[way] = max(best[way], 8 * WINDOW / min(spans))  # the first ones wait for the processes to start
    for way, rate in best.items():
        yield Loading("none", *way, 8, rate, None)


def _steps(backbone: ClipBackbone, source: Any) -> Iterator[Loading]:
    """Yield how long steps wait, for one that leaves the processor alone and for one that computes on it."""
    model = built("maple", backbone, names(10))
    model.begin_stage(model.next_stage(range(10)))

    def compute(x: Tensor) -> None:
        model.zero_grad()
        exact_step(model, x, x, torch.arange(len(x)))

    def elsewhere(x: Tensor) -> None:
        time.sleep(STEP)

    ways = [("in place", 1), *(("processes", n) for n in NUMBERS)]
    for what, step, batch, window, turns in (
        ("50 ms elsewhere", elsewhere, 4, WINDOW, TURNS),
        ("50 ms elsewhere", elsewhere, 32, WINDOW, TURNS),
        ("maple on the processor", compute, 4, 3, 1),
    ):
        rows: dict[Any, list[Loading]] = {way: [] for way in ways}
        for _ in range(turns):
            for way in ways:
                rows[way].append(_stepped(backbone, source, what, step, batch, window, way))
        for found in rows.values():
            yield min(found, key=lambda row: row.waited or 0.0)


def _stepped(
    backbone: ClipBackbone,
    source: Any,
    what: str,
    step: Callable[[Tensor], None],
    batch: int,
    window: int,
    way: tuple[str, int],
) -> Loading:
    """Return the row of one turn, without its first two steps: they wait for the processes to start."""
    batches = [[(k * batch + i) % IMAGES for i in range(batch)] for k in range(2 + window)]
    waited = begin = 0.0
    with _images(backbone, source, *way) as images:
        found = images(batches)
        for k in range(len(batches)):
            if k == 2:
                waited, begin = 0.0, time.perf_counter()
            asked = time.perf_counter()
            x = next(found)
            waited += time.perf_counter() - asked
            step(x)
        seconds = time.perf_counter() - begin
    return Loading(what, *way, batch, batch * window / seconds, waited / seconds)


@contextmanager
def _images(backbone: ClipBackbone, source: Any, reader: str, number: int) -> Iterator[Callable[..., Iterator[Tensor]]]:
    """Give a function that yields the images of batches, read in the wanted way."""
    pictures = Pictures(None, backbone, workers=number if reader == "processes" else 0)
    with pictures.shown(source, 0), ThreadPoolExecutor(number) as pool:

        def by_threads(batches: list[list[int]]) -> Iterator[Tensor]:
            waiting = [[pool.submit(source.image, place, 0) for place in batch] for batch in batches]
            for batch in waiting:
                yield torch.stack([image.result() for image in batch])

        yield by_threads if reader == "threads" else pictures.images
