"""The accuracy matrix on benchmarks that Avalanche's own functions make, against accuracies computed by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.benchmarks import (
    benchmark_from_datasets,
    benchmark_with_validation_stream,
    class_incremental_benchmark,
    new_instances_benchmark,
    split_online_stream,
    task_incremental_benchmark,
)
from avalanche.benchmarks.utils import AvalancheDataset, as_classification_dataset, as_taskaware_classification_dataset
from avalanche.training import Naive
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from lamm_cl.errors import UsageError
from lamm_cl.evaluation.plugins import AccuracyMatrix, evaluator

GROUPS = ((0, 1), (2,))


class Points(TensorDataset):
    """Points of some classes, with their labels as Avalanche wants them."""

    def __init__(self, classes: tuple[int, ...], n: int = 8) -> None:
        generator = torch.Generator().manual_seed(sum(classes))
        y = torch.tensor([c for c in classes for _ in range(n)])
        super().__init__(torch.eye(6)[y] + 0.6 * torch.randn(len(y), 6, generator=generator), y)
        self.targets = y.tolist()


def part(classes: tuple[int, ...]) -> Any:
    return as_classification_dataset(Points(classes))


def plain(make: Callable[..., Any] = part) -> Any:
    return benchmark_from_datasets(train=[make(g) for g in GROUPS], test=[make(g) for g in GROUPS])


def online() -> Any:
    made = plain()
    return type(
        "Stream", (), {"train_stream": split_online_stream(made.train_stream, 8), "test_stream": made.test_stream}
    )


def class_incremental() -> Any:
    sets = {name: part((0, 1, 2)) for name in ("train", "test")}
    return class_incremental_benchmark(sets, num_experiences=3, class_order=[2, 0, 1])


MAKERS: dict[str, Callable[[], Any]] = {
    "from data sets": plain,
    "task-aware": lambda: plain(lambda classes: as_taskaware_classification_dataset(part(classes))),
    "new instances": lambda: new_instances_benchmark(part((0, 1, 2)), part((0, 1, 2)), num_experiences=2),
    "task-incremental": lambda: task_incremental_benchmark(plain()),
    "with validation": lambda: benchmark_with_validation_stream(plain(), 0.25),
    "online": online,
    "class-incremental": class_incremental,
}


def naive(plugin: Any, width: int = 3, **more: Any) -> Any:
    torch.manual_seed(0)
    model = nn.Linear(6, width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    return Naive(
        model=model,
        optimizer=optimizer,
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=8,
        evaluator=evaluator(plugin),
        **more,
    )


def by_hand(logits: Tensor, labels: Tensor, columns: set[int]) -> float:
    chosen = torch.tensor(sorted(columns))[logits[:, sorted(columns)].argmax(1)]
    return float((chosen == labels).double().mean())


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("given", [False, True])
def test_every_entry_is_the_accuracy_by_hand(name: str, given: bool) -> None:
    benchmark = MAKERS[name]()
    plugin = AccuracyMatrix(benchmark if given and hasattr(benchmark, "streams") else None)
    strategy = naive(plugin)
    tests = [
        (torch.stack([row[0] for row in e.dataset]), torch.tensor(list(e.dataset.targets)))
        for e in benchmark.test_stream
    ]
    seen: set[int] = set()
    expected = []
    for experience in benchmark.train_stream:
        strategy.train(experience)
        strategy.eval(benchmark.test_stream)
        seen |= set(experience.dataset.targets)
        with torch.no_grad():
            logits = [strategy.model(x) for x, _ in tests]
        expected.append(
            [
                [by_hand(z, y, set(y.tolist())), by_hand(z, y, seen), by_hand(z, y, {0, 1, 2})]
                for z, (_, y) in zip(logits, tests, strict=True)
            ]
        )
    found = plugin.matrices()
    for k, space in enumerate(("own", "seen", "all")):
        np.testing.assert_allclose(found[space], np.array(expected)[:, :, k], rtol=0, atol=1e-12)
    assert plugin.rows()


def test_a_prompt_strategy_is_scored_on_such_a_benchmark(tiny: Any) -> None:
    import lamm_cl

    def digits(classes: tuple[int, ...]) -> Any:
        source = lamm_cl.base_to_novel("digits", shots=2).train_stream[0].dataset
        rows = [(x, y) for x, y, *_ in source if y in classes]
        data = TensorDataset(torch.stack([x for x, _ in rows]), torch.tensor([y for _, y in rows]))
        data.targets = [y for _, y in rows]  # type: ignore[attr-defined]
        return as_classification_dataset(data)

    plugin = AccuracyMatrix()
    benchmark = plain(digits)
    strategy = lamm_cl.LAMM(
        backbone=tiny, class_names=["zero", "one", "two"], train_epochs=1, evaluator=evaluator(plugin), features=None
    )
    for experience in benchmark.train_stream:
        strategy.train(experience)
        strategy.eval(benchmark.test_stream)
    assert plugin.sets.names == ("set1", "set2")
    assert not np.isnan(plugin.matrices()["all"]).any()


def labelless(classes: tuple[int, ...]) -> Any:
    return AvalancheDataset([TensorDataset(*Points(classes).tensors)])


@pytest.mark.parametrize("how", ["given", "evaluated while training"])
def test_test_data_without_labels_are_refused_before_training(how: str) -> None:
    benchmark = benchmark_from_datasets(train=[part(g) for g in GROUPS], test=[labelless(g) for g in GROUPS])
    strategy = naive(AccuracyMatrix(benchmark if how == "given" else None), eval_every=1)
    before = strategy.model.weight.clone()
    with pytest.raises(UsageError, match="experience 0 of the stream 'test': its data do not know their labels"):
        strategy.train(benchmark.train_stream, eval_streams=[] if how == "given" else [benchmark.test_stream])
    assert torch.equal(before, strategy.model.weight)


def test_classes_that_the_model_lacks_are_refused_before_training(tiny: Any) -> None:
    import lamm_cl

    benchmark = benchmark_from_datasets(train=[part((0, 1))], test=[part((0, 1)), part((2, 5))])
    strategy = lamm_cl.LAMM(
        backbone=tiny, class_names=["zero", "one", "two"], evaluator=evaluator(AccuracyMatrix(benchmark))
    )
    with pytest.raises(UsageError, match="the output has 3 columns but class 5 is asked for"):
        strategy.train(benchmark.train_stream)
    assert strategy.clock.train_iterations == 0
    with pytest.raises(UsageError, match="the experience holds class 5, but the model was built with 3 class names"):
        strategy.eval(benchmark.test_stream[1])


def test_training_data_without_labels_are_refused(tiny: Any) -> None:
    import lamm_cl

    benchmark = benchmark_from_datasets(train=[labelless((0, 1))], test=[part((0, 1))])
    strategy = lamm_cl.LAMM(backbone=tiny, class_names=["zero", "one"], evaluator=evaluator(AccuracyMatrix()))
    with pytest.raises(UsageError, match="the training data: its data do not know their labels"):
        strategy.train(benchmark.train_stream)
