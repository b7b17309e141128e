"""Few-shot and base/new selection against what Dassl's and CoOp's own functions drew."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from lamm_cl.data.few_shot import few_shot, sample
from lamm_cl.data.items import Dataset, Item
from lamm_cl.streams.orders import even_sizes

SHOTS, SEEDS = (1, 2, 4, 8, 16), (1, 2, 3)


@pytest.fixture(scope="module")
def oracle(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "oracle" / "sampling.json").read_text())  # type: ignore[no-any-return]


def items(order: str, classes: int = 37, count: int = 40) -> tuple[Item, ...]:
    """`grouped` lists class after class; `interleaved` goes round the classes in another order."""
    if order == "grouped":
        pairs = [(label, i) for label in range(classes) for i in range(count)]
    else:
        pairs = [((7 * k + 3) % classes, i) for i in range(count) for k in range(classes)]
    return tuple(Item(f"{label:02d}/{i:02d}", label, f"c{label}") for label, i in pairs)


def dataset(train: tuple[Item, ...], val: tuple[Item, ...], classes: int) -> Dataset:
    return Dataset("made_up", tuple(f"c{k}" for k in range(classes)), train, val, ())


@pytest.mark.parametrize("order", ["grouped", "interleaved"])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shots", SHOTS)
def test_draws_equal_dassls(oracle: dict[str, Any], order: str, seed: int, shots: int) -> None:
    expected = oracle["fewshot"][f"{order}/seed{seed}/shots{shots}"]
    train, val = few_shot(dataset(items(order), items(order, count=10), 37), shots, seed)
    assert [item.path for item in train] == expected["train"]
    assert [item.path for item in val] == expected["val"]


def test_small_classes_are_taken_whole_and_draw_nothing(oracle: dict[str, Any]) -> None:
    sizes = (6, 3, 6, 3, 6)
    small = tuple(Item(f"{k:02d}/{i:02d}", k, f"c{k}") for k, size in enumerate(sizes) for i in range(size))
    chosen = few_shot(dataset(small, (), 5), 4, 1)
    assert [item.path for item in chosen.train] == oracle["fewshot"]["small_classes/seed1/shots4"]["train"]
    assert chosen.notes == ("made_up: fewer than 4 train images, taken whole: c1 (3), c3 (3)",)


@pytest.mark.parametrize("classes", [10, 37, 47, 101])
def test_halves_equal_coops(oracle: dict[str, Any], classes: int) -> None:
    expected = oracle["subsample_classes"]
    every = items("grouped", classes, 2)
    base, _ = even_sizes(classes, 2)
    for name, first, end in (("base", 0, base), ("new", base, classes)):
        pairs = [tuple(pair) for pair in expected[f"{classes}/{name}"]]
        chosen = [item for item in every if first <= item.label < end]
        assert list(dict.fromkeys((item.label, item.label - first) for item in chosen)) == pairs


def test_the_global_generator_is_left_alone() -> None:
    random.seed(5)
    state = random.getstate()
    sample(items("grouped"), 3, random.Random(1))
    few_shot(dataset(items("grouped"), items("grouped", count=10), 37), 4, 1)
    assert random.getstate() == state
