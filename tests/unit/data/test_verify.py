"""verify: every image is opened, what is wrong is named, and content has a fingerprint."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamm_cl.data.items import Dataset, Item
from lamm_cl.data.load import load_dataset
from lamm_cl.data.verify import content_fingerprint, verify


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
    assert verify(load(copy)).content == found.content == content_fingerprint(load(photos), load(photos).items)
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
    assert any("1 image(s) stand in more than one" in warning for warning in found.warnings)


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
