"""Exemplars: which images come along, how many, and that they are found again after a restart."""

import json
from collections import Counter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from avalanche.training.storage_policy import HerdingSelectionStrategy

import lamm_cl
from lamm_cl.methods.rehearsal import Exemplars


@pytest.fixture(scope="module")
def digits() -> Any:
    return lamm_cl.base_to_novel("digits", shots=6, seed=1, steps=5)


def build(tiny: Any, digits: Any, **options: Any) -> Any:
    seen: list[list[int]] = []

    def look(strategy: Any) -> None:
        seen.append([int(i) for i in strategy.adapted_dataset.index])

    chosen = {"epochs": 1, "batch_size": 8, "on_epoch_end": look, "seed": 3, **options}
    strategy = lamm_cl.build_strategy("proof", tiny, digits, **chosen)
    strategy.seen_in_stages = seen
    return strategy


def classes(digits: Any, rows: list[int]) -> Counter[int]:
    return Counter(int(digits.source.targets[row]) for row in rows)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"memory_per_class": 2}, [2, 2, 2, 2]),
        ({"fixed_memory": False, "memory_size": 17}, [6, 4, 2, 2]),  # 8, 4, 2 and 2, of six images a class
        ({"memory_per_class": 0}, [0, 0, 0, 0]),
    ],
)
def test_each_stage_sees_so_many_of_each_older_class(
    options: dict[str, Any], kept: list[int], tiny: Any, digits: Any
) -> None:
    strategy = build(tiny, digits, **options)
    strategy.train(digits.train_stream)
    assert strategy.columns == tuple(range(10))  # all that were seen compete, with exemplars or without
    for stage, rows in enumerate(strategy.seen_in_stages):
        counts = classes(digits, rows)
        own = set(digits.train_stream[stage].classes_in_this_experience)
        assert all(counts[c] == 6 for c in own)
        old = {c: n for c, n in counts.items() if c not in own}
        assert len(old) == (2 * stage if stage and kept[stage - 1] else 0)
        assert set(old.values()) <= {kept[stage - 1]} if stage else not old


def test_chooses_by_herding_once_and_keeps_the_first(tiny: Any, digits: Any) -> None:
    strategy = build(tiny, digits, fixed_memory=False, memory_size=12)
    strategy.train(digits.train_stream[0])
    first = digits.train_stream[0].dataset
    digits.source.set_backbone(tiny)
    for class_id in digits.train_stream[0].classes_in_this_experience:
        rows = [int(i) for i, y in zip(first.index, first.targets, strict=True) if int(y) == class_id]
        images = torch.stack([digits.source[row][0] for row in rows])
        features = F.normalize(tiny.encode_images(images), dim=-1).double()
        order = HerdingSelectionStrategy.make_sorted_indices_from_features(None, features)  # type: ignore[arg-type]
        group = strategy.plugins
        memory = next(p for p in group if type(p).__name__ == "ExemplarMemory")
        kept = [int(i) for i in memory.storage_policy.buffer_groups[class_id].buffer.index]
        assert kept == [rows[i] for i in order]
    before = {c: list(map(int, g.buffer.index)) for c, g in memory.storage_policy.buffer_groups.items()}
    strategy.train(digits.train_stream[1])
    for class_id, rows in before.items():
        assert [int(i) for i in memory.storage_policy.buffer_groups[class_id].buffer.index] == rows[:3]


def test_a_resumed_run_keeps_the_same_images(tiny: Any, digits: Any) -> None:
    whole = build(tiny, digits, fixed_memory=False, memory_size=20)
    for experience in digits.train_stream[:2]:
        whole.train(experience)
    tensors, state = whole.checkpoint()
    resumed = build(tiny, digits, fixed_memory=False, memory_size=20)
    resumed.restore(tensors, json.loads(json.dumps(state)))
    again = resumed.checkpoint()[1]
    assert again["plugins"] == json.loads(json.dumps(state))["plugins"]
    for strategy in (whole, resumed):
        for experience in digits.train_stream[2:4]:
            strategy.train(experience)
    assert resumed.seen_in_stages == whole.seen_in_stages[2:]
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True))


@pytest.mark.parametrize("regime", ["cumulative", "joint"])
def test_where_all_images_are_there_nothing_is_added(regime: str, tiny: Any, digits: Any) -> None:
    strategy = build(tiny, digits, regime=regime)
    strategy.train(digits.train_stream)
    assert all(len(rows) == len(set(rows)) for rows in strategy.seen_in_stages)
    assert len(strategy.seen_in_stages[-1]) == 60


def test_share_of_the_memory() -> None:
    assert [Exemplars(0, 2000).of_each(n) for n in (10, 30, 100)] == [200, 66, 20]
    assert Exemplars(20, 5).of_each(1000) == 20
