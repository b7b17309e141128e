"""Minutes of a whole class-incremental table: Setting B of one data set on given features, ten methods, three orders.

Features are drawn, as wide as those of ViT-B/16 and as many as the images of FGVC-Aircraft: a class is a mean and noise
around it, its text lies near the mean. So the seconds are those of a real data set of the size, and the accuracies say
only that each method learned.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from itertools import product
from multiprocessing import get_context
from time import perf_counter, process_time

import numpy as np
import torch
import torch.nn.functional as F
from avalanche.training.storage_policy import HerdingSelectionStrategy
from torch import Tensor

import lamm_cl
from lamm_cl.methods.learner import Learner
from lamm_cl.seeds import seed_for
from lamm_cl.strategies.settings import sort_options

CLASSES, INCREMENT, IMAGES, HELD_OUT = 100, 10, 67, 33
WIDTH, UNPROJECTED = 512, 768
BATCH = 256  # images that are scored at once
ORDERS = (1993, 1, 2)
PROCESSES = 2  # with a thread each
# Those of configs/cil/setting_b.yaml that take features and learn no prompts, with its options; and Tip-Adapter.
METHODS: dict[str, dict[str, object]] = {
    "zero_shot": {},
    "clip_adapter": {"epochs": 10},
    "simplecil": {},
    "ranpac": {},
    "acil": {},
    "tip_adapter": {"selection": "none", "augment_epoch": 0},
    "rapf": {"epochs": 10, "templates": None},
    "proof": {},
    "engine": {"rerank": 0.2, "stat": 0.99},
    "bofa": {},
}
LONG = ("proof", "ranpac", "acil")  # begin first, in this order, so that no process waits for another


@dataclass(frozen=True)
class Table:
    """One row: what a method takes of the table's time.

    Attributes:
        method: its name; "all" for the whole table.
        images: training images of a run.
        stages: of a run.
        orders: class orders, a run each.
        processor_seconds: of training and of scoring all seen classes after each stage, over all orders.
        seconds: of the whole table, its runs side by side in processes of one thread; missing for one method.
        average: mean over orders and stages of the accuracy among the classes seen; missing for the whole table.
    """

    method: str
    images: int
    stages: int
    orders: int
    processor_seconds: float
    seconds: float
    average: float


@dataclass(frozen=True)
class Drawn:
    """Features (n, 768) before CLIP's projection, labels (n,), the projection (768, 512), class texts (100, 512)."""

    train: Tensor
    labels: Tensor
    test: Tensor
    test_labels: Tensor
    projection: Tensor
    text: Tensor


@cache
def drawn() -> Drawn:
    """Draw the data set; the same in every process."""
    generator = torch.Generator().manual_seed(seed_for("benchmark", "class_incremental"))
    projection = torch.randn(UNPROJECTED, WIDTH, generator=generator) / UNPROJECTED**0.5
    means = torch.randn(CLASSES, UNPROJECTED, generator=generator)
    labels, test_labels = (torch.arange(CLASSES).repeat_interleave(count) for count in (IMAGES, HELD_OUT))
    train, test = (
        means[own] + 3 * torch.randn(len(own), UNPROJECTED, generator=generator) for own in (labels, test_labels)
    )
    text = means @ projection + 2 * torch.randn(CLASSES, WIDTH, generator=generator)
    return Drawn(train, labels, test, test_labels, projection, text)


def measure() -> Iterator[Table]:
    """Run every method over every class order; the row of the whole table comes last."""
    started, methods = perf_counter(), (*LONG, *(method for method in METHODS if method not in LONG))
    with ProcessPoolExecutor(PROCESSES, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        asked = {pool.submit(_run, *run): run for run in product(methods, ORDERS)}
        found = {asked[done]: done.result() for done in as_completed(asked)}
    seconds, nothing = perf_counter() - started, float("nan")
    size = CLASSES * IMAGES, CLASSES // INCREMENT, len(ORDERS)
    for method in METHODS:
        worked, accuracies = zip(*(found[method, seed] for seed in ORDERS), strict=True)
        yield Table(method, *size, sum(worked), nothing, float(np.mean(accuracies)))
    yield Table("all", *size, sum(worked for worked, _ in found.values()), seconds, nothing)


def _run(method: str, seed: int) -> tuple[float, list[float]]:
    """Return the processor seconds of one run and the accuracy after each stage."""
    data, started = drawn(), process_time()
    order = torch.from_numpy(np.random.RandomState(seed).permutation(CLASSES))
    place = torch.empty_like(order)
    place[order] = torch.arange(CLASSES)
    labels, test_labels = place[data.labels], place[data.test_labels]
    backbone = lamm_cl.FeatureBackbone(data.text[order], projection=data.projection)
    chosen = sort_options(method, backbone.name, METHODS[method])
    learner = lamm_cl.build_model(method, backbone, [f"class {k}" for k in order.tolist()], **chosen.method)
    recipe = {name: value for name, value in METHODS[method].items() if name not in chosen.method}
    x, test = data.train, data.test
    if learner.takes != "unprojected":
        x, test = x @ data.projection, test @ data.projection
    if learner.takes == "unit":
        x, test = (torch.nn.functional.normalize(one, dim=1) for one in (x, test))
    memory: dict[int, Tensor] = {}
    accuracies = []
    for end in range(INCREMENT, CLASSES + 1, INCREMENT):
        own = (labels >= end - INCREMENT) & (labels < end)
        rows = torch.cat([own.nonzero()[:, 0], *memory.values()])
        lamm_cl.fit_stage(learner, x[rows], labels[rows], seed=seed, **recipe)
        memory = _exemplars(learner, x, labels, memory, end)
        seen = test_labels < end
        with torch.no_grad():
            scores = torch.cat(
                [learner.eval().output(some, tuple(range(end))).logits for some in test[seen].split(BATCH)]
            )
        learner.train()
        accuracies.append(float((scores.argmax(1) == test_labels[seen]).float().mean()))
    return process_time() - started, accuracies


def _exemplars(learner: Learner, x: Tensor, labels: Tensor, memory: dict[int, Tensor], seen: int) -> dict[int, Tensor]:
    """Return the rows that come along into the next stage, by class, chosen as strategies do."""
    if learner.exemplars is None:
        return {}
    size, found = learner.exemplars.of_each(seen), dict(memory)
    for label in range(len(memory), seen):
        rows = (labels == label).nonzero()[:, 0]
        unit = F.normalize(x[rows], dim=-1).double()
        found[label] = rows[HerdingSelectionStrategy.make_sorted_indices_from_features(None, unit)]
    return {label: rows[:size] for label, rows in found.items()}
