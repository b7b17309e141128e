"""Any labelled images as class folders, and the data sets of torchvision and Hugging Face that come so."""

import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lamm_cl.data import export
from lamm_cl.data.load import load_dataset
from lamm_cl.data.status import state_of
from lamm_cl.errors import UsageError
from lamm_cl.experiments.names import described_data_problems

RED = np.zeros((4, 5, 3), np.uint8) + np.array([200, 10, 20], np.uint8)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_scikit_learns_digits_come_back_as_they_were(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    from lamm_cl.data.embedded import DIGIT_NAMES

    digits = load_digits()
    grey = (digits.images * 255 / 16).round().astype(np.uint8)
    rows = [(image, DIGIT_NAMES[label]) for image, label in zip(grey, digits.target, strict=True)]
    assert export({"train": rows[:200], "test": rows[200:300]}, tmp_path / "digits") == 300
    dataset = load_dataset({"folder": tmp_path / "digits"}, check_images=True)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (200, 0, 100)
    assert set(dataset.class_names) == set(DIGIT_NAMES)
    for item in dataset.train[:20]:
        number = int(Path(item.path).stem)
        assert np.array_equal(np.asarray(dataset.open(item))[..., 0], grey[number])
        assert item.class_name == DIGIT_NAMES[digits.target[number]]


@pytest.mark.parametrize(
    "image",
    [
        RED,
        Image.fromarray(RED),
        Image.fromarray(RED).convert("RGBA"),
        torch.from_numpy(RED).permute(2, 0, 1),
        torch.from_numpy(RED).permute(2, 0, 1) / 255,
    ],
)
def test_every_kind_of_image_keeps_its_pixels(tmp_path: Path, image: Any) -> None:
    export({"train": [(image, "red")]}, tmp_path / "x")
    assert files(tmp_path / "x") == ["train/red/00000.ppm"]
    with Image.open(tmp_path / "x" / "train" / "red" / "00000.ppm") as picture:
        assert np.array_equal(np.asarray(picture), RED)


def test_grey_16_bits_and_paths(tmp_path: Path) -> None:
    Image.fromarray(RED).save(tmp_path / "a.jpg")
    deep = np.full((4, 5), 257 * 100, np.uint16)
    export({"train": [(tmp_path / "a.jpg", "a"), (deep, "b"), (torch.ones(1, 4, 5), "c")]}, tmp_path / "x")
    assert files(tmp_path / "x") == ["train/a/00000.jpg", "train/b/00001.pgm", "train/c/00002.pgm"]
    assert (tmp_path / "x" / "train" / "a" / "00000.jpg").read_bytes() == (tmp_path / "a.jpg").read_bytes()
    with Image.open(tmp_path / "x" / "train" / "b" / "00001.pgm") as picture:
        assert picture.getextrema() == (100, 100)


def stops() -> Iterator[tuple[Any, str]]:
    yield RED, "red"
    raise RuntimeError("the disk of the source is gone")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": stops()}, "gone"),
        ({"train": []}, "no row"),
        ({"training": [(RED, "red")]}, "unknown part of a data set 'training'. Did you mean 'train'"),
        ({"train": [(RED, "a/b")]}, "no folder can be called 'a/b'"),
        ({"train": [(RED, ".hidden")]}, "no folder can be called"),
        ({"train": [(RED, "Red"), (RED, "red")]}, "same prompt"),
        ({"train": [(RED, "")]}, "no folder"),
        ({"train": [RED]}, "an image and its class's name"),
        ({"train": [(RED[..., :2], "red")]}, "is no image of bytes"),
        ({"train": [(RED.astype(float), "red")]}, "is no image of bytes"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, parts: Any, message: str) -> None:
    with pytest.raises((UsageError, RuntimeError), match=message):
        export(parts, tmp_path / "x")
    assert files(tmp_path) == []
    assert not [path for path in tmp_path.iterdir() if path.name != "x"]


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    export({"train": [(RED, "red")]}, tmp_path / "x")
    with pytest.raises(UsageError, match="not empty"):
        export({"train": [(RED, "blue")]}, tmp_path / "x")
    assert files(tmp_path / "x") == ["train/red/00000.ppm"]


def mnist(folder: Path) -> None:
    """Write the files that torchvision finds instead of fetching them: 30 pictures of three digits a part."""
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        labels = bytes(i % 3 for i in range(30))
        pixels = b"".join(bytes([i]) * 784 for i in range(30))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, 30, 28, 28) + pixels)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, 30) + labels)


def test_a_data_set_of_torchvision_is_written_once(tmp_path: Path) -> None:
    from lamm_cl.data.exporting import cached

    spec = {"torchvision": "MNIST"}
    assert state_of(spec, tmp_path).state == "absent"
    mnist(cached(spec, tmp_path).parent / "source" / "MNIST" / "raw")
    dataset = load_dataset(spec, tmp_path)
    assert dataset.class_names[:2] == ("0 - zero", "1 - one")
    assert (dataset.name, len(dataset.train), len(dataset.test)) == ("MNIST", 30, 30)
    assert np.asarray(dataset.open(dataset.train[1])).max() == 3
    before = files(tmp_path)
    assert load_dataset({**spec, "rename": {"0 - zero": "zero"}}, tmp_path).class_names[0] == "zero"
    assert files(tmp_path) == before
    assert state_of(spec, tmp_path).usable


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"torchvision": "MNISTT"}, "unknown data set of torchvision 'MNISTT'. Did you mean 'MNIST'"),
        ({"torchvision": "CelebA", "folder": "x"}, "needs either"),
        ({"torchvision": 3}, "torchvision must be a path"),
    ],
)
def test_wrong_data_sets_of_libraries_are_refused(tmp_path: Path, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_dataset(spec, tmp_path)


class Rows(list[dict[str, Any]]):
    """What Hugging Face's `datasets` gives for one split."""

    def __init__(self, rows: list[dict[str, Any]], features: dict[str, Any]) -> None:
        super().__init__(rows)
        self.features = features


class ClassLabel:
    names = ("cat", "red fox")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stand-in for the package `datasets`."""
    kinds = {"image": type("Image", (), {})(), "label": ClassLabel(), "id": type("Value", (), {})()}
    rows = [{"image": Image.fromarray(RED), "label": i % 2, "id": i} for i in range(6)]
    splits: dict[str, Any] = {
        "train": Rows(rows, kinds),
        "validation": Rows(rows[:2], kinds),
        "test": Rows(rows, kinds),
    }
    module: Any = ModuleType("datasets")
    module.__spec__ = sys.__spec__
    module.load_dataset = lambda name, cache_dir: splits
    monkeypatch.setitem(sys.modules, "datasets", module)
    return splits


def test_a_data_set_of_hugging_face_is_written_once(tmp_path: Path, hub: dict[str, Any]) -> None:
    dataset = load_dataset({"hf": "someone/animals"}, tmp_path)
    assert dataset.class_names == ("cat", "red fox")
    assert [len(dataset.train), len(dataset.val), len(dataset.test)] == [6, 2, 6]
    assert dataset.name == "animals"
    hub.clear()
    assert load_dataset({"hf": "someone/animals"}, tmp_path).fingerprint == dataset.fingerprint


def test_two_labels_of_hugging_face_are_both_named(tmp_path: Path, hub: dict[str, Any]) -> None:
    for rows in hub.values():
        rows.features["coarse"] = ClassLabel()
        for row in rows:
            row["coarse"] = 1
    with pytest.raises(UsageError, match=r"'label' and 'coarse' may be the class_name.*columns: \{class_name"):
        load_dataset({"hf": "x"}, tmp_path)
    spec = {"hf": "x", "columns": {"class_name": "coarse"}}
    assert described_data_problems(spec) == []
    assert load_dataset(spec, tmp_path).class_names == ("red fox",)


def test_parts_of_hugging_face_that_are_none_are_named(tmp_path: Path, hub: dict[str, Any]) -> None:
    hub["unsupervised"] = hub["test"]
    with pytest.raises(UsageError, match="has the parts train, validation, test, unsupervised"):
        load_dataset({"hf": "x"}, tmp_path)


def test_without_the_package_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'lamm_cl\[hf\]'"):
        load_dataset({"hf": "x"}, tmp_path)


def test_the_real_package_gives_the_same(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder = tmp_path / "made"
    for part in ("train", "test"):
        for name in ("cat", "red fox"):
            (folder / part / name).mkdir(parents=True)
            for i in range(3):
                Image.fromarray(RED + np.uint8(i)).save(folder / part / name / f"{i}.png")
    datasets.disable_progress_bars()
    dataset = load_dataset({"hf": str(folder)}, tmp_path)
    assert dataset.class_names == ("cat", "red fox")
    assert [len(dataset.train), len(dataset.test)] == [6, 6]
    assert sorted(int(np.asarray(dataset.open(item)).max()) for item in dataset.train) == [200, 200, 201, 201, 202, 202]
