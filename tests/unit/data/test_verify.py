"""Whole data sets and damaged ones, and the same picture twice."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamm_cl.data.items import Dataset, Item
from lamm_cl.data.load import load_dataset
from lamm_cl.data.verify import content_digest, repeated_pictures, verify
from lamm_cl.errors import UsageError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    generator = np.random.default_rng(0)
    for part, count in (("train", 4), ("val", 1), ("test", 2)):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    return root


def load(folder: Path) -> Dataset:
    return load_dataset({"name": "pets", "folder": folder})


def test_a_whole_data_set_has_a_content_fingerprint(photos: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = verify(load(photos), lambda done, total: seen.append((done, total)))
    assert found.problems == ()
    assert found.images == 14
    assert seen[-1] == (14, 14)
    copy = tmp_path / "elsewhere"
    shutil.copytree(photos, copy)
    whole = load(photos)
    pairs = ((whole.relative(item), whole.content_key(item)) for item in whole.items)
    assert verify(load(copy)).content == found.content == content_digest(pairs)
    Image.new("RGB", (9, 9)).save(copy / "train" / "cat" / "0.png")
    changed = verify(load(copy))
    assert changed.fingerprint == found.fingerprint
    assert changed.content != found.content


def test_every_bad_image_is_named(photos: Path) -> None:
    dataset = load(photos)
    folder = photos / "train" / "cat"
    (folder / "0.png").write_bytes(b"")
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:200])
    (folder / "2.png").unlink()
    (folder / "3.png").write_text("hello")
    found = verify(dataset)
    assert found.content is None
    assert len(found.problems) == 4
    for i, word in enumerate(("empty", "decoded", "does not exist", "not an image")):
        assert any(f"cat/{i}.png" in problem and word in problem for problem in found.problems)


def test_leaks_between_parts_are_told_by_content(photos: Path) -> None:
    shutil.copy(photos / "train" / "cat" / "0.png", photos / "test" / "cat" / "9.png")
    found = verify(load(photos))
    assert found.content is not None
    assert any("1 picture is in more than one of train, val and test" in warning for warning in found.warnings)


def test_an_image_listed_twice_is_told(photos: Path) -> None:
    item = Item(str(photos / "train" / "cat" / "0.png"), 0, "cat")
    found = verify(Dataset("pets", ("cat",), (item, item), (), ()))
    assert any("train lists 1 image(s) more than once" in warning for warning in found.warnings)


def test_val_that_is_the_test_set_is_no_leak(photos: Path) -> None:
    shutil.rmtree(photos / "test")
    assert not any("more than one" in warning for warning in verify(load(photos)).warnings)


def test_names_that_are_not_utf8_have_a_fingerprint(photos: Path) -> None:
    os.rename(os.fsencode(photos / "train" / "cat" / "0.png"), os.fsencode(photos / "train" / "cat") + b"/\xe9.png")  # noqa: PTH104 - a name in bytes
    found = verify(load(photos))
    assert found.problems == ()
    assert found.content


def test_real_photographs_are_whole(shared: Path) -> None:
    dataset = load_dataset("caltech101", shared / "data" / "mini")
    subset = Dataset("mini", dataset.class_names, dataset.val, (), dataset.test[:50], folder=dataset.folder)
    assert verify(subset).problems == ()


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (value, 7, 7)).save(path)


@pytest.fixture
def alike(tmp_path: Path) -> Path:
    """Two classes, 3 training and 2 test pictures each, all different and of one size on disk."""
    values = iter(range(50))
    for part, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            for number in range(count):
                picture(tmp_path / "p" / part / name / f"{number}.ppm", next(values))
    return tmp_path / "p"


def notes(folder: Path) -> list[str]:
    return [note for note in load_dataset({"folder": folder, "name": "pets"}).notes if "by content" in note]


def test_different_pictures_are_no_news(alike: Path) -> None:
    assert notes(alike) == []


def test_pictures_of_train_in_test_are_named(alike: Path) -> None:
    for number in range(2):
        data = (alike / f"train/cat/{number}.ppm").read_bytes()
        (alike / f"test/cat/copy{number}.ppm").write_bytes(data)
    assert notes(alike) == [
        "pets: 2 pictures are in more than one of train, val and test, by content: 'train/cat/0.ppm' = "
        "'test/cat/copy0.ppm', 'train/cat/1.ppm' = 'test/cat/copy1.ppm'"
    ]


def test_the_first_three_stand_for_many(alike: Path) -> None:
    for number in range(3):
        data = (alike / f"train/cat/{number}.ppm").read_bytes()
        (alike / f"train/dog/copy{number}.ppm").write_bytes(data)
    (alike / "train/dog/another.ppm").write_bytes((alike / "train/cat/0.ppm").read_bytes())
    picture(alike / "train/cat/x.ppm", 99)
    picture(alike / "train/dog/x.ppm", 99)
    (note,) = notes(alike)
    assert note.startswith("pets: 4 pictures are under two classes, by content: 'train/cat/0.ppm' = 'train/dog/")
    assert note.endswith(" and 1 more")
    assert note.count(" = ") == 3


def test_the_same_file_in_val_and_test_is_no_repetition(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for number in range(2):
            picture(tmp_path / part / "cat" / f"{number}.ppm", number + 10 * (part == "val"))
    dataset = load_dataset({"folder": tmp_path})
    assert dataset.test == dataset.val
    assert repeated_pictures(dataset) == ()


def test_pictures_of_a_split_made_here_are_compared_too(tmp_path: Path) -> None:
    for number in range(10):
        picture(tmp_path / "cat" / f"{number}.ppm", 5)
    (note,) = notes(tmp_path)
    assert "1 picture is in more than one of train, val and test" in note


def test_a_change_of_the_files_is_seen(alike: Path) -> None:
    assert notes(alike) == []
    (alike / "test/dog/new.ppm").write_bytes((alike / "train/cat/0.ppm").read_bytes())
    assert len(notes(alike)) == 2


def test_a_file_that_cannot_be_read_ends_nothing(alike: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lamm_cl.data import verify

    def refuse(path: str) -> str:
        raise UsageError(f"image {path} cannot be read")

    monkeypatch.setattr(verify, "content_key", refuse)
    (alike / "test/dog/new.ppm").write_bytes((alike / "train/cat/0.ppm").read_bytes())
    assert notes(alike) == []


def test_backslashes_in_a_table_s_paths_are_said(alike: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    rows = [(r"p\train\cat\0.ppm", "cat", "train"), ("p/test/cat/0.ppm", "cat", "test")]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "class_name", "split"), *rows])
    with pytest.raises(UsageError, match=r"1 of 2 images are missing .* have backslashes, as on Windows: write /"):
        load_dataset({"csv": table})
