"""The same picture in train and in test, or under two classes, is said with the first three."""

import csv
from pathlib import Path

import pytest
from PIL import Image

from lamm_cl.data.load import load_dataset
from lamm_cl.data.verify import repeated_pictures
from lamm_cl.errors import UsageError


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (value, 7, 7)).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, 3 training and 2 test pictures each, all different and of one size on disk."""
    values = iter(range(50))
    for part, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            for number in range(count):
                picture(tmp_path / "p" / part / name / f"{number}.ppm", next(values))
    return tmp_path / "p"


def notes(folder: Path) -> list[str]:
    return [note for note in load_dataset({"folder": folder, "name": "pets"}).notes if "by content" in note]


def test_different_pictures_are_no_news(photos: Path) -> None:
    assert notes(photos) == []


def test_pictures_of_train_in_test_are_named(photos: Path) -> None:
    for number in range(2):
        data = (photos / f"train/cat/{number}.ppm").read_bytes()
        (photos / f"test/cat/copy{number}.ppm").write_bytes(data)
    assert notes(photos) == [
        "pets: 2 pictures are in train and again in val or test, by content: 'train/cat/0.ppm' = "
        "'test/cat/copy0.ppm', 'train/cat/1.ppm' = 'test/cat/copy1.ppm'"
    ]


def test_the_first_three_stand_for_many(photos: Path) -> None:
    for number in range(3):
        data = (photos / f"train/cat/{number}.ppm").read_bytes()
        (photos / f"train/dog/copy{number}.ppm").write_bytes(data)
    (photos / "train/dog/another.ppm").write_bytes((photos / "train/cat/0.ppm").read_bytes())
    picture(photos / "train/cat/x.ppm", 99)
    picture(photos / "train/dog/x.ppm", 99)
    (note,) = notes(photos)
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
    assert "1 picture is in train and again in val or test" in note


def test_a_change_of_the_files_is_seen(photos: Path) -> None:
    assert notes(photos) == []
    (photos / "test/dog/new.ppm").write_bytes((photos / "train/cat/0.ppm").read_bytes())
    assert len(notes(photos)) == 2


def test_a_file_that_cannot_be_read_ends_nothing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lamm_cl.data import verify

    def refuse(path: str) -> str:
        raise UsageError(f"image {path} cannot be read")

    monkeypatch.setattr(verify, "content_key", refuse)
    (photos / "test/dog/new.ppm").write_bytes((photos / "train/cat/0.ppm").read_bytes())
    assert notes(photos) == []


def test_backslashes_in_a_table_s_paths_are_said(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    rows = [(r"p\train\cat\0.ppm", "cat", "train"), ("p/test/cat/0.ppm", "cat", "test")]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "class_name", "split"), *rows])
    with pytest.raises(UsageError, match=r"1 of 2 images are missing .* have backslashes, as on Windows: write /"):
        load_dataset({"csv": table})
