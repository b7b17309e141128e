"""Files that lie elsewhere than their reader looks: found, named, and put in place on request alone."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from lamm_cl.data.catalogue import CATALOGUE
from lamm_cl.data.download.network import DownloadError, Response
from lamm_cl.data.download.prepare import Tools, prepare
from lamm_cl.data.imagenet import DEVKIT, KAGGLE, TRUTH, flat_images, labels_of
from lamm_cl.data.load import load_dataset
from lamm_cl.data.misplaced import find_misplaced
from lamm_cl.data.status import state_of
from lamm_cl.errors import UsageError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def nowhere(url: str, offset: int) -> Response:
    raise DownloadError(f"{url} answers 404 Not Found")


def split_file(root: Path, name: str, paths: list[str]) -> None:
    """Write a split of one class that lists the paths, a third of them in each part."""
    entry = CATALOGUE[name]
    (root / entry.folder).mkdir(parents=True, exist_ok=True)
    parts = {part: [[path, 0, "x"] for path in paths[k::3]] for k, part in enumerate(("train", "val", "test"))}
    (root / entry.folder / entry.split_file).write_text(json.dumps(parts))


def fixed(name: str, root: Path) -> Any:
    return prepare(name, root, Tools(fetch=nowhere, fix=True))


def cars(root: Path, place: str) -> None:
    paths = [f"{part}/{i:05d}.jpg" for part in ("cars_train", "cars_test") for i in range(9)]
    split_file(root, "stanford_cars", paths)
    touch(*(root / "stanford_cars" / place.format(part=path.split("/")[0]) / Path(path).name for path in paths))


CARS = ("{part}/{part}", "stanford_cars/{part}", "car_data/car_data/{part}", "archive/{part}/images")


@pytest.mark.parametrize("place", CARS)
def test_cars_one_folder_too_deep_are_found_and_moved_on_request_alone(tmp_path: Path, place: str) -> None:
    cars(tmp_path, place)
    before = sorted(tmp_path.rglob("*"))
    assert state_of("stanford_cars", tmp_path).state == "no images"
    assert f"lies at {tmp_path}/stanford_cars" in state_of("stanford_cars", tmp_path).note
    with pytest.raises(UsageError, match=rf"lies at {tmp_path}/stanford_cars.*--root {tmp_path} --fix` puts it there"):
        load_dataset("stanford_cars", tmp_path, check_images=True)
    outcome = prepare("stanford_cars", tmp_path, Tools(fetch=nowhere))
    assert not outcome.complete
    assert len(outcome.by_hand) == 2
    assert "run this command with --fix" in outcome.by_hand[0]
    assert sorted(tmp_path.rglob("*")) == before
    outcome = fixed("stanford_cars", tmp_path)
    assert outcome.complete, outcome
    assert len(outcome.fixed) == 2
    assert state_of("stanford_cars", tmp_path).state == "ready"
    assert not list((tmp_path / "stanford_cars").glob("*.outer"))


@pytest.mark.parametrize("spelling", ["DTD", "dtd-r1.0.1", "Describable-Textures"])
def test_another_spelling_of_a_folder_is_found(tmp_path: Path, spelling: str) -> None:
    split_file(tmp_path, "dtd", [f"dotted/{i}.jpg" for i in range(9)])
    (tmp_path / "dtd").rename(tmp_path / spelling)
    touch(*(tmp_path / spelling / "images" / "dotted" / f"{i}.jpg" for i in range(9)))
    assert state_of("dtd", tmp_path).state == "absent"
    assert str(tmp_path / spelling) in state_of("dtd", tmp_path).note
    with pytest.raises(UsageError, match=f"dtd is wanted and lies at {tmp_path}/{spelling}"):
        load_dataset("dtd", tmp_path)
    assert fixed("dtd", tmp_path).fixed == [f"linked {tmp_path}/dtd to {tmp_path}/{spelling}"]
    assert (tmp_path / "dtd").is_symlink()
    assert len(load_dataset("dtd", tmp_path, check_images=True).items) == 9


def test_a_link_within_the_root_survives_a_move_of_the_root(tmp_path: Path) -> None:
    root = tmp_path / "old"
    touch(root / "Caltech-101" / "101_ObjectCategories" / "ant" / "1.jpg")
    split_file(root, "caltech101", ["ant/1.jpg"] * 3)
    (root / "caltech-101").rename(root / "x")
    (root / "x" / CATALOGUE["caltech101"].split_file).rename(root / "Caltech-101" / CATALOGUE["caltech101"].split_file)
    (root / "x").rmdir()
    fixed("caltech101", root)
    root.rename(tmp_path / "new")
    assert load_dataset("caltech101", tmp_path / "new", check_images=True).class_names == ("x",)


def test_the_sets_own_folder_as_root_is_found(tmp_path: Path) -> None:
    root = tmp_path / "caltech-101"
    split_file(tmp_path, "caltech101", ["ant/1.jpg"] * 3)
    touch(root / "101_ObjectCategories" / "ant" / "1.jpg")
    with pytest.raises(UsageError, match="caltech-101 does not exist") as error:
        load_dataset("caltech101", root)
    for text in (state_of("caltech101", root).note, str(error.value)):
        assert f"lies at {root}/101_ObjectCategories" in text
        assert f"This root is its own folder: give the one above it, {tmp_path}." in text
    assert load_dataset("caltech101", tmp_path, check_images=True)


@pytest.mark.parametrize("place", ["train", "ILSVRC/Data/CLS-LOC/train"])
def test_imagenet_without_its_folder_images_is_found(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "imagenet"
    folder.mkdir()
    (folder / "classnames.txt").write_text("n01440764 tench\n")
    for part in ("train", "val"):
        touch(*(folder / place.replace("train", part) / "n01440764" / f"{i}.JPEG" for i in range(3)))
    outcome = fixed("imagenet", tmp_path)
    assert len(outcome.fixed) == 2
    assert outcome.complete, outcome
    dataset = load_dataset("imagenet", tmp_path, check_images=True)
    assert [len(dataset.train), len(dataset.test)] == [3, 3]


def test_what_only_looks_alike_is_left_alone(tmp_path: Path) -> None:
    split_file(tmp_path, "dtd", [f"dotted/{i}.jpg" for i in range(9)])
    touch(tmp_path / "dtd" / "more" / "images" / "cat" / "1.jpg", tmp_path / "images" / "cat" / "1.jpg")
    touch(tmp_path / "imagenet-sketch" / "sketch" / "n01440764" / "1.jpg")
    assert list(find_misplaced(CATALOGUE["dtd"], tmp_path)) == []
    assert list(find_misplaced(CATALOGUE["imagenet"], tmp_path)) == []
    (found,) = find_misplaced(CATALOGUE["imagenet_sketch"], tmp_path)
    assert found.found == tmp_path / "imagenet-sketch" / "sketch"


def test_nothing_is_misplaced_where_all_is_in_place(shared: Path) -> None:
    for root, names in (("coop_splits", ("imagenet_r",)), ("mini", ("caltech101",))):
        for name in names:
            assert list(find_misplaced(CATALOGUE[name], shared / "data" / root)) == []


def test_something_else_in_its_place_is_not_touched(tmp_path: Path) -> None:
    split_file(tmp_path, "dtd", [f"dotted/{i}.jpg" for i in range(9)])
    touch(*(tmp_path / "dtd" / "dtd" / "images" / "dotted" / f"{i}.jpg" for i in range(9)))
    touch(tmp_path / "dtd" / "images" / "mine.jpg")
    outcome = fixed("dtd", tmp_path)
    assert "cannot be put there" in outcome.failed[0]
    assert (tmp_path / "dtd" / "images" / "mine.jpg").exists()
    assert not outcome.complete


# -- ImageNet's validation images, as the archive has them -------------------------------------------------------------

WNIDS = ("n01440764", "n01443537", "n01484850")
ORDER = (2, 0, 1, 1, 2)


def flat(root: Path) -> Path:
    folder = root / "imagenet"
    touch(*(folder / "images" / "train" / wnid / "x.JPEG" for wnid in WNIDS))
    touch(*(folder / "images" / "val" / f"ILSVRC2012_val_{i + 1:08d}.JPEG" for i in range(len(ORDER))))
    (folder / "classnames.txt").write_text("".join(f"{wnid} name {k}\n" for k, wnid in enumerate(WNIDS)))
    return folder


def devkit(place: Path, ids: tuple[int, ...] = tuple(ORDER)) -> Path:
    """Write a devkit with ImageNet's numbers in another order than its WordNet ids, and a synset that is no class."""
    kind = np.dtype([(name, object) for name in ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")])
    synsets = [(3, WNIDS[0], "a", "", 0), (1, WNIDS[1], "b", "", 0), (2, WNIDS[2], "c", "", 0)]
    synsets.append((4, "n00000001", "all", "", 3))
    number = {wnid: one for one, wnid, *_ in synsets}
    data = place / DEVKIT / "data"
    data.mkdir(parents=True)
    savemat(data / "meta.mat", {"synsets": np.array([[one] for one in synsets], dtype=kind)})
    (data / TRUTH).write_text("".join(f"{number[WNIDS[k]]}\n" for k in ids))
    return data.parent


def pack(folder: Path) -> Path:
    target = folder.with_name(f"{folder.name}.tar.gz")
    with tarfile.open(target, "w:gz") as tar:
        tar.add(folder, folder.name)
    return target


def test_flat_validation_images_are_named_for_what_they_are(tmp_path: Path) -> None:
    folder = flat(tmp_path)
    with pytest.raises(
        UsageError, match=r"as the archive has them, not in class folders: `lamm-cl data prepare imagenet"
    ):
        load_dataset("imagenet", tmp_path)
    (text,) = prepare("imagenet", tmp_path, Tools(fetch=nowhere)).by_hand
    assert "the labels come with the devkit, which is not there" in text
    assert "emove" not in text
    outcome = fixed("imagenet", tmp_path)
    assert "the devkit, which is not there" in outcome.failed[0]
    assert len(flat_images(folder / "images" / "val")) == len(ORDER)
    devkit(folder / "images")
    assert "the labels are in" in prepare("imagenet", tmp_path, Tools(fetch=nowhere)).by_hand[0]


@pytest.mark.parametrize("packed", [True, False])
def test_flat_validation_images_are_sorted_on_request(tmp_path: Path, packed: bool) -> None:
    folder = flat(tmp_path)
    made = devkit(tmp_path / "scratch")
    place = pack(made) if packed else made
    place.rename(folder / "images" / place.name)
    outcome = fixed("imagenet", tmp_path)
    assert outcome.fixed == ["sorted 5 validation images into class folders"]
    assert outcome.complete, outcome
    dataset = load_dataset("imagenet", tmp_path, check_images=True)
    found = {Path(item.path).name: item.label for item in dataset.test}
    assert [found[f"ILSVRC2012_val_{i + 1:08d}.JPEG"] for i in range(len(ORDER))] == list(ORDER)


@pytest.mark.filterwarnings("ignore:Python 3.14:DeprecationWarning")  # torchvision names no filter for its archives
def test_the_labels_are_those_that_torchvision_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    from torchvision.datasets import imagenet

    images = flat(tmp_path) / "images"
    archive = pack(devkit(tmp_path / "scratch"))
    archive = archive.rename(images / archive.name)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(imagenet.ARCHIVE_META, "devkit", (archive.name, md5))
    imagenet.parse_devkit_archive(images)
    assert labels_of(images.parent) == imagenet.load_meta_file(images)[1]


def test_kaggles_list_serves_as_well_and_a_kill_between_does_no_harm(tmp_path: Path) -> None:
    folder = flat(tmp_path)
    lines = [f"ILSVRC2012_val_{i + 1:08d},{WNIDS[k]} 1 2 3 4" for i, k in enumerate(ORDER)]
    (folder / "images" / KAGGLE).write_text("\n".join(["ImageId,PredictionString", *reversed(lines)]))
    val = folder / "images" / "val"
    (val / WNIDS[2]).mkdir()
    (val / "ILSVRC2012_val_00000001.JPEG").rename(val / WNIDS[2] / "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(UsageError, match="as the archive has them"):
        load_dataset("imagenet", tmp_path)
    assert fixed("imagenet", tmp_path).fixed == ["sorted 4 validation images into class folders"]
    assert len(load_dataset("imagenet", tmp_path).test) == len(ORDER)


@pytest.mark.parametrize("damage", ["short", "meta", "archive"])
def test_damaged_labels_move_nothing(tmp_path: Path, damage: str) -> None:
    folder = flat(tmp_path)
    made = devkit(folder / "images", ORDER[:3] if damage == "short" else ORDER)
    if damage == "meta":
        (made / "data" / "meta.mat").write_bytes(b"no")
    if damage == "archive":
        (made.with_name(f"{DEVKIT}.tar.gz")).write_bytes(b"no")
    outcome = fixed("imagenet", tmp_path)
    assert outcome.fixed == []
    assert any(word in outcome.failed[0] for word in ("3 labels, none for", "does not hold the labels"))
    assert len(flat_images(folder / "images" / "val")) == len(ORDER)


def archive_of(paths: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path, content in paths.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_archives_of_cars_put_there_are_checked_unpacked_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    archives = [source for source in CATALOGUE["stanford_cars"].files if source.text]
    paths = [f"{part}/{i:05d}.jpg" for part in ("cars_train", "cars_test") for i in range(9)]
    split_file(tmp_path, "stanford_cars", paths)
    folder = tmp_path / "stanford_cars"
    for archive in archives:
        content = archive_of({path: b"x" for path in paths if path.startswith(archive.makes[0])})
        (folder / archive.file).write_bytes(content)
    outcome = prepare("stanford_cars", tmp_path, Tools(fetch=nowhere))
    assert all("is not the archive: expected md5" in text for text in outcome.failed)
    for archive in archives:
        md5 = hashlib.md5((folder / archive.file).read_bytes()).hexdigest()
        monkeypatch.setitem(archive.__dict__, "md5", md5)
    outcome = prepare("stanford_cars", tmp_path, Tools(fetch=nowhere))
    assert outcome.complete, outcome
    assert outcome.fetched == ["cars_train", "cars_test"]
    assert all((folder / archive.file).exists() for archive in archives)
