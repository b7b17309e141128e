"""Few-shot images of the papers' split files, image by image and in order, against published few-shot files."""

import json
from pathlib import Path

import pytest

from lamm_cl.data.few_shot import few_shot
from lamm_cl.data.load import load_dataset


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("shots", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("name", ["caltech101", "oxford_pets"])
def test_selection_equals_the_published_one(shared: Path, name: str, shots: int, seed: int) -> None:
    reference = json.loads((shared / "data" / "fewshot_reference" / f"{name}.json").read_text())
    dataset = load_dataset(name, shared / "data" / "coop_splits", check_images=False)
    train, val = few_shot(dataset, shots, seed)
    expected = reference[f"shots={shots},seed={seed}"]
    assert [dataset.relative(item) for item in train] == expected["train"]
    assert [dataset.relative(item) for item in val] == expected["val"]


@pytest.mark.parametrize("name", ["caltech101", "oxford_pets", "eurosat"])
def test_official_splits_are_called_official(shared: Path, name: str) -> None:
    dataset = load_dataset(name, shared / "data" / "coop_splits")
    assert dataset.split == "official"
    assert dataset.notes == ()
