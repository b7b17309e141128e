"""A prompted model and streams small enough to check by hand what Avalanche does with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamm_cl.methods.learner import Learner
from lamm_cl.methods.stage import Stage

D = 8


class Frozen:
    """Stands for the backbone: counts what must never happen to it."""

    def __init__(self) -> None:
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.weights = nn.Linear(D, D)

    def to(self, device: Any = None, dtype: Any = None) -> "Frozen":
        return self

    def __deepcopy__(self, memo: Any) -> "Frozen":
        return self


@dataclass
class Output:
    logits: Tensor
    columns: list[int]


class Toy(Learner):
    """Class vectors = fixed vector + learned label + shared context."""

    def __init__(self, n_classes: int, *, context: bool = True, labels: bool = True, needs_images: bool = False):
        super().__init__(Frozen(), [f"class {k}" for k in range(n_classes)], method="toy")  # type: ignore[arg-type]
        self.takes = "images" if needs_images else "unit"
        generator = torch.Generator().manual_seed(0)
        self.fixed = torch.randn(n_classes, D, generator=generator)
        self.labels = nn.ParameterDict()
        self.grows = labels
        self.context = nn.Parameter(torch.zeros(D), requires_grad=context)
        self.asked: list[Sequence[int] | None] = []

    def begin_stage(self, stage: Stage, data: Any = None) -> None:
        super().begin_stage(stage, data)
        self.freeze_classes()
        for k in stage.classes if self.grows else ():
            if str(k) not in self.labels:
                self.labels[str(k)] = nn.Parameter(torch.zeros(D))
            self.labels[str(k)].requires_grad_(True)

    def freeze_classes(self) -> None:
        for label in self.labels.values():
            label.requires_grad_(False)

    def freeze_shared(self) -> None:
        self.context.requires_grad_(False)

    def output(self, x: Tensor, columns: Any = None) -> Any:
        self.asked.append(columns)
        ids = list(range(len(self.class_names))) if columns is None else list(columns)
        rows = [self.fixed[k] + self.context + self.labels.get(str(k), 0) for k in ids]
        text = F.normalize(torch.stack(rows), dim=1)
        return Output(10 * F.normalize(x.flatten(1), dim=1) @ text.T, ids)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(x).logits

    def objective(self, output: Any, labels: Tensor, classes: Any = None) -> dict[str, Tensor]:
        ids = output.columns if classes is None else list(classes)
        place = {k: i for i, k in enumerate(output.columns)}
        logits = output.logits[:, [place[k] for k in ids]]
        position = torch.tensor([ids.index(int(y)) for y in labels])
        ce = F.cross_entropy(logits, position)
        drift = sum((p.square().sum() for p in self.labels.values()), torch.zeros(()))
        return {"ce": ce, "wc": drift, "total": ce + 0.01 * drift}


@pytest.fixture
def toy() -> Callable[..., Toy]:
    return Toy


@pytest.fixture
def stream() -> Callable[..., Any]:
    return make_stream


def make_stream(groups: Sequence[Sequence[int]] = ((0, 1), (2, 3)), n: int = 12, tasks: bool = True) -> Any:
    """Return a benchmark whose experiences hold n points of each class of each group."""
    from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline
    from avalanche.benchmarks.utils import DataAttribute
    from avalanche.benchmarks.utils.classification_dataset import (
        ClassificationDataset,
        TaskAwareSupervisedClassificationDataset,
    )
    from avalanche.benchmarks.utils.flat_data import ConstantSequence
    from torch.utils.data import TensorDataset

    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(10, D, generator=generator)

    def dataset(group: Sequence[int]) -> Any:
        y = torch.tensor([k for k in group for _ in range(n)])
        x = centres[y] + 0.7 * torch.randn(len(y), D, generator=generator)
        base, targets = TensorDataset(x, y), y.tolist()
        attributes = [DataAttribute(targets, "targets")]
        if not tasks:
            return ClassificationDataset([base], data_attributes=attributes)
        attributes += [
            DataAttribute(list(range(len(y))), "index", use_in_getitem=True),
            DataAttribute(ConstantSequence(0, len(y)), "targets_task_labels", use_in_getitem=True),
        ]
        return TaskAwareSupervisedClassificationDataset([base], data_attributes=attributes)

    sets = {name: [dataset(group) for group in groups] for name in ("train", "test")}
    return with_classes_timeline(benchmark_from_datasets(**sets))


@pytest.fixture
def silent() -> Callable[..., Any]:
    """An evaluator that prints nothing."""

    def make(*metrics: Any) -> Any:
        from avalanche.evaluation.metrics import accuracy_metrics
        from avalanche.logging import BaseLogger
        from avalanche.training.plugins import EvaluationPlugin

        class Silent(BaseLogger):
            pass

        return EvaluationPlugin(accuracy_metrics(experience=True, stream=True), *metrics, loggers=[Silent()])

    return make


@pytest.fixture
def build(toy: Any, silent: Any) -> Callable[..., Any]:
    """Make a strategy on the toy model; model options and settings by keyword."""

    def make(n: int = 4, *, model: Any = None, evaluator: Any = None, recipe: Any = (), **settings: Any) -> Any:
        from lamm_cl.methods.recipe import Recipe
        from lamm_cl.strategies.settings import Settings
        from lamm_cl.strategies.strategy import LearnerStrategy

        names = list(Settings.model_fields)
        chosen = Settings(**{name: settings.pop(name) for name in names if name in settings})
        recipe = Recipe(**{"lr": 0.1, "epochs": 3, "batch_size": 8, **dict(recipe)})
        return LearnerStrategy(
            model=model if model is not None else toy(n),
            recipe=recipe,
            evaluator=evaluator if evaluator is not None else silent(),
            settings=chosen,
            **settings,
        )

    return make
