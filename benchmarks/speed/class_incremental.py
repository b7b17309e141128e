"""Minutes of a whole class-incremental table: Setting B of one data set on given features, ten methods, three orders.

Features are drawn, as wide as those of ViT-B/16: a class is a mean and noise around it, its text lies near the mean. So
the seconds are those of a real data set of the size, and the accuracies say only that each method learned.
"""

from dataclasses import dataclass, replace
from time import perf_counter, process_time

import numpy as np
import torch
from torch import Tensor

import lamm_cl
from lamm_cl.seeds import seed_for
from lamm_cl.strategies.choices import sort_options

CLASSES, INCREMENT, IMAGES, HELD_OUT = 100, 10, 100, 20
WIDTH, UNPROJECTED = 512, 768
ORDERS = (1993, 1, 2)
THREADS = 2
# Those of configs/cil/setting_b.yaml that take features and learn no prompts, with its options; and Tip-Adapter.
METHODS: dict[str, dict[str, object]] = {
    "zero_shot": {},
    "clip_adapter": {"epochs": 10},
    "simplecil": {},
    "ranpac": {},
    "acil": {},
    "tip_adapter": {"selection": "none", "augment_epoch": 0},
    "rapf": {"epochs": 10, "templates": None},
    "proof": {"fixed_memory": False, "epochs": 5},
    "engine": {},
    "bofa": {},
}


@dataclass(frozen=True)
class Table:
    """One row: what a method takes of the table's time.

    Attributes:
        method: its name; "all" for the sum.
        images: training images of a run.
        stages: of a run.
        orders: class orders, a run each.
        seconds: of training and of scoring all seen classes after each stage, over all orders, on two threads.
        processor_seconds: the same, of both cores together.
        average: mean over orders and stages of the accuracy among the classes seen.
    """

    method: str
    images: int
    stages: int
    orders: int
    seconds: float
    processor_seconds: float
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


def drawn() -> Drawn:
    """Draw the data set; the same everywhere."""
    generator = torch.Generator().manual_seed(seed_for("benchmark", "class_incremental"))
    projection = torch.randn(UNPROJECTED, WIDTH, generator=generator) / UNPROJECTED**0.5
    means = torch.randn(CLASSES, UNPROJECTED, generator=generator)
    labels, test_labels = (torch.arange(CLASSES).repeat_interleave(count) for count in (IMAGES, HELD_OUT))
    train, test = (
        means[own] + 3 * torch.randn(len(own), UNPROJECTED, generator=generator) for own in (labels, test_labels)
    )
    text = means @ projection + 2 * torch.randn(CLASSES, WIDTH, generator=generator)
    return Drawn(train, labels, test, test_labels, projection, text)


def measure(method: str, data: Drawn) -> Table:
    """Run a method over every class order."""
    torch.set_num_threads(THREADS)
    started, worked = perf_counter(), process_time()
    accuracies = [accuracy for seed in ORDERS for accuracy in _run(method, data, seed)]
    seconds = perf_counter() - started, process_time() - worked
    torch.set_num_threads(1)
    return Table(method, CLASSES * IMAGES, CLASSES // INCREMENT, len(ORDERS), *seconds, float(np.mean(accuracies)))


def total(rows: list[Table]) -> Table:
    """Return the row of all methods together."""
    sums = sum(row.seconds for row in rows), sum(row.processor_seconds for row in rows)
    return replace(rows[0], method="all", seconds=sums[0], processor_seconds=sums[1], average=float("nan"))


def _run(method: str, data: Drawn, seed: int) -> list[float]:
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
    accuracies = []
    for end in range(INCREMENT, CLASSES + 1, INCREMENT):
        own = (labels >= end - INCREMENT) & (labels < end)
        lamm_cl.fit_stage(learner, x[own], labels[own], classes=range(end - INCREMENT, end), seed=seed, **recipe)
        seen = test_labels < end
        with torch.no_grad():
            scores = learner.eval().output(test[seen], tuple(range(end))).logits
        learner.train()
        accuracies.append(float((scores.argmax(1) == test_labels[seen]).float().mean()))
    return accuracies
