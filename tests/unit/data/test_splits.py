"""The papers' split files, and splits made here: what is read, what is refused, what stays the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from lamm_cl.data.catalogue import CATALOGUE
from lamm_cl.data.load import load_dataset
from lamm_cl.data.splits import class_names, read_split
from lamm_cl.errors import UsageError

GOOD: dict[str, Any] = {
    "train": [["b/2.jpg", 1, "bee"], ["a/1.jpg", 0, "ant"], ["a/2.jpg", "0", "ant"]],
    "val": [["a/3.jpg", 0, "ant"]],
    "test": [["b/4.jpg", 1, "bee"]],
}


def write(folder: Path, content: Any) -> Path:
    path = folder / "split.json"
    path.write_text(json.dumps(content))
    return path


def test_items_keep_the_order_of_the_file(tmp_path: Path) -> None:
    parts = read_split(write(tmp_path, GOOD), "/images")
    assert [(item.path, item.label) for item in parts.train] == [
        ("/images/b/2.jpg", 1),
        ("/images/a/1.jpg", 0),
        ("/images/a/2.jpg", 0),  # labels given as text are read as the papers' code reads them
    ]
    assert class_names("x", parts.train) == ("ant", "bee")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": None}, r"'train' is None"),
        ({"val": {}}, r"'val' is \{\}"),
        ({"train": ["a.jpg"]}, r"train\[0\].*a\.jpg"),
        ({"train": [["a.jpg", 0]]}, r"train\[0\]"),
        ({"train": [["a.jpg", 0.5, "ant"]]}, r"train\[0\].*0\.5"),
        ({"train": [["a.jpg", True, "ant"]]}, r"train\[0\]"),
        ({"train": [["a.jpg", -1, "ant"]]}, r"train\[0\]"),
        ({"train": [["a.jpg", 0, None]]}, r"train\[0\]"),
        ({"train": [[3, 0, "ant"]]}, r"train\[0\]"),
        ({"train": [["/etc/passwd", 0, "ant"]]}, r"train\[0\].*outside.*/etc/passwd"),
        ({"test": [["../../x.jpg", 0, "ant"]]}, r"test\[0\].*outside"),
        ({"test": [["a/../../x.jpg", 0, "ant"]]}, r"test\[0\].*outside"),
        ({"test": [["a\\..\\x.jpg", 0, "ant"]]}, r"test\[0\].*outside"),
        ({"test": [["C:\\x.jpg", 0, "ant"]]}, r"test\[0\].*outside"),
        ({"test": [["", 0, "ant"]]}, r"test\[0\].*outside"),
        ({"test": [["x.jpg", 0, "wasp"]]}, r"label 0 has two class names.*ant.*wasp"),
        ({"test": [["x.jpg", 3, "wasp"]]}, r"gap.*label 2"),
        ({"test": [["x.jpg", 10**30, "wasp"]]}, r"gap.*label 2"),
        ({"test": [["caf\ud800.jpg", 0, "ant"]]}, r"test\[0\].*outside"),
        ({"test": [["x.jpg", 2, "two\nlines"]]}, r"two\\nlines' holds a line break"),
        ({"test": [["x.jpg", 2, "bee"]]}, r"two classes are called 'bee'"),
        ({"test": [["x.jpg", 2, "Bee"]]}, r"same prompt.*bee.*Bee"),
        ({"test": [["x.jpg", 2, " "]]}, r"class name is empty"),
        ({"test": [["x.jpg", 2, "caf\udcff"]]}, r"'caf\\xff' is not valid UTF-8"),
        ({"test": [["x.jpg", 2, "caf\ud800"]]}, r"'caf\\ud800' is not valid UTF-8"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path, GOOD | change)
    with pytest.raises(UsageError, match=message) as caught:
        read_split(path, "/images")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"train": []}', b"[" * 100_000, b"[" + b"9" * 5000]
)
def test_what_is_no_split_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "split.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"split\.json"):
        read_split(path, "/images")


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lists no image"):
        read_split(write(tmp_path, {"train": [], "val": [], "test": []}), "/images")


def touch(*paths: Path) -> None:
    """Make files that only have to exist: loading opens no image."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def eurosat(root: Path) -> None:
    for name in ("AnnualCrop", "River"):
        touch(*(root / "eurosat" / "2750" / name / f"{name}_{i}.jpg" for i in range(1, 11)))


def caltech(root: Path) -> None:
    for name in ("BACKGROUND_Google", "Faces_easy", "Faces", "ant"):
        touch(*(root / "caltech-101" / "101_ObjectCategories" / name / f"{i}.jpg" for i in range(10)))


def pets(root: Path) -> None:
    folder = root / "oxford_pets" / "images"
    for name in ("Abyssinian", "american_bulldog"):
        touch(*(folder / f"{name}_{i}.jpg" for i in range(1, 11)), folder / f"{name}_1.mat")


def scenes(root: Path) -> None:
    for name in ("a/abbey", "a/apartment_building/outdoor"):
        touch(*(root / "sun397" / "SUN397" / name / f"{i}.jpg" for i in range(10)))


def flowers(root: Path) -> None:
    folder = root / "oxford_flowers"
    touch(*(folder / "jpg" / f"image_{i:05d}.jpg" for i in range(1, 21)))
    savemat(folder / "imagelabels.mat", {"labels": np.array([[1, 2] * 10])})
    (folder / "cat_to_name.json").write_text(json.dumps({"1": "pink primrose", "2": "sweet pea"}))


def cars(root: Path) -> None:
    folder = root / "stanford_cars"
    touch(*(folder / part / f"{i:05d}.jpg" for part in ("cars_train", "cars_test") for i in range(1, 11)))
    (folder / "devkit").mkdir()
    names = np.empty((1, 2), dtype=object)
    names[0] = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012"]
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})
    kind = np.dtype([("class", object), ("fname", object)])
    rows = np.array([[(1 + i % 2, f"{i + 1:05d}.jpg") for i in range(10)]], dtype=kind)
    for file in ("devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat"):
        savemat(folder / file, {"annotations": rows})


def ucf(root: Path) -> None:
    for name in ("Apply_Eye_Makeup", "Archery"):
        touch(*(root / "ucf101" / "UCF-101-midframes" / name / f"{i}.jpg" for i in range(10)))


@pytest.mark.parametrize(
    ("make", "name", "expected"),
    [
        (eurosat, "eurosat", ("Annual Crop Land", "River")),
        (caltech, "caltech101", ("face", "ant")),
        (pets, "oxford_pets", ("abyssinian", "american_bulldog")),
        (scenes, "sun397", ("abbey", "outdoor apartment_building")),
        (flowers, "oxford_flowers", ("pink primrose", "sweet pea")),
        (cars, "stanford_cars", ("2000 AM General Hummer SUV", "2012 Acura RL Sedan")),
        (ucf, "ucf101", ("Apply_Eye_Makeup", "Archery")),
    ],
)
def test_a_missing_official_split_is_replaced_and_marked(
    tmp_path: Path, make: Callable[[Path], None], name: str, expected: tuple[str, ...]
) -> None:
    make(tmp_path)
    dataset = load_dataset(name, tmp_path, check_images=True)
    assert dataset.class_names == expected
    assert dataset.split == "own"
    assert "is missing" in dataset.notes[0]
    assert "found 20 images of 2 classes, the papers have" in dataset.notes[1]
    assert dataset.items == load_dataset(name, tmp_path).items
    assert len({item.path for item in dataset.items}) == len(dataset.items) == 20


@pytest.mark.parametrize(
    ("make", "name", "file", "content"),
    [
        (flowers, "oxford_flowers", "cat_to_name.json", b"{"),
        (flowers, "oxford_flowers", "cat_to_name.json", b"[]"),
        (flowers, "oxford_flowers", "cat_to_name.json", b'{"1": "pink primrose"}'),
        (flowers, "oxford_flowers", "imagelabels.mat", b"no"),
        (flowers, "oxford_flowers", "imagelabels.mat", {"label": np.array([[1]])}),
        (flowers, "oxford_flowers", "imagelabels.mat", {"labels": np.array([["a"]])}),
        (cars, "stanford_cars", "devkit/cars_meta.mat", b""),
        (cars, "stanford_cars", "devkit/cars_meta.mat", {"class_names": np.array([["x"]], dtype=object)}),
        (cars, "stanford_cars", "cars_test_annos_withlabels.mat", {"annotations": np.array([[1, 2]])}),
    ],
)
def test_damaged_annotations_are_named(
    tmp_path: Path, make: Callable[[Path], None], name: str, file: str, content: bytes | dict[str, np.ndarray]
) -> None:
    make(tmp_path)
    path = tmp_path / CATALOGUE[name].folder / file
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        savemat(path, content)
    with pytest.raises(UsageError, match=path.name) as caught:
        load_dataset(name, tmp_path)
    assert "\n" not in str(caught.value)
