"""Loading by name: CoOp's layouts, own splits where the papers' is missing, and what makes a split official."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import lamm_cl
from lamm_cl.data.catalogue import CATALOGUE, find
from lamm_cl.data.items import Dataset
from lamm_cl.data.load import judge, load_dataset
from lamm_cl.data.splits import read_split
from lamm_cl.errors import UsageError

WNIDS = ("n01440764", "n01443537", "n01484850")


def touch(*paths: Path) -> None:
    """Make files that only have to exist: loading opens no image."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def class_names_file(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("tench", "goldfish", "great white shark")
    (folder / "classnames.txt").write_text("".join(f"{w} {n}\n" for w, n in zip(WNIDS, names, strict=True)))


def test_the_catalogue_knows_the_papers_sizes() -> None:
    test = {
        "caltech101": 2465,
        "oxford_pets": 3669,
        "stanford_cars": 8041,
        "oxford_flowers": 2463,
        "food101": 30300,
        "sun397": 19850,
        "dtd": 1692,
        "eurosat": 8100,
        "ucf101": 3783,
        "fgvc_aircraft": 3333,
        "imagenet": 50000,
        "mnist": 10000,
        "cifar100": 10000,
    }
    assert {name: CATALOGUE[name].sizes[2] for name in test} == test
    assert len(CATALOGUE) == 29
    for entry in CATALOGUE.values():
        assert entry.template.count("{}") == 1
        assert entry.source
        assert entry.licence


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("OxfordPets", "oxford_pets"),
        ("oxford-pets", "oxford_pets"),
        ("Flowers102", "oxford_flowers"),
        ("OxfordFlowers", "oxford_flowers"),
        ("caltech-101", "caltech101"),
        ("FGVCAircraft", "fgvc_aircraft"),
        ("DescribableTextures", "dtd"),
        ("ImageNet-Sketch", "imagenet_sketch"),
        ("imagenet-rendition", "imagenet_r"),
        ("Food-101", "food101"),
        ("StanfordCars", "stanford_cars"),
        ("CIFAR-100", "cifar100"),
    ],
)
def test_any_spelling_of_the_papers_finds_the_entry(spelling: str, name: str) -> None:
    assert find(spelling).name == name


def test_embedded_sets_need_no_root_and_pass_their_catalogue_entry() -> None:
    for name in ("digits", "glyphs"):
        dataset = load_dataset(name, "/nowhere")
        entry = CATALOGUE[name]
        assert (len(dataset.train), len(dataset.val), len(dataset.test)) == entry.sizes
        assert len(dataset.class_names) == entry.classes
        assert dataset.synthetic is entry.synthetic is (name == "glyphs")
        assert not dataset.views.flip
        assert dataset.open(dataset.test[-1]).mode == "RGB"
        assert pickle.loads(pickle.dumps(dataset)).fingerprint == dataset.fingerprint
        with pytest.raises(UsageError, match=r"no embedded picture|unknown split of glyphs"):
            dataset.open(dataset.test[0].__class__(f"{name}/99999/1/1", 0, "x"))


def test_options_change_template_and_views() -> None:
    dataset = load_dataset("digits", template="the number {}", flip=True, scale=[0.5, 1])
    assert dataset.template == "the number {}"
    assert (dataset.views.flip, dataset.views.scale) == (True, (0.5, 1.0))
    assert load_dataset({"name": "digits", "flip": True}).views.flip
    with pytest.raises(UsageError, match=r"colour.*template"):
        load_dataset("digits", colour=1)


def test_the_mini_caltech_is_not_taken_for_the_papers(shared: Path) -> None:
    dataset = load_dataset("caltech101", shared / "data" / "mini", check_images=True)
    assert dataset.split == "own"
    assert "not the papers' data" in dataset.notes[0]
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (1600, 200, 600)


@pytest.mark.parametrize("name", ["caltech101", "oxford_pets", "eurosat"])
def test_the_papers_own_files_are_official(shared: Path, name: str) -> None:
    dataset = load_dataset(name, shared / "data" / "coop_splits")
    assert (dataset.split, dataset.notes, dataset.fingerprint) == ("official", (), CATALOGUE[name].fingerprint)


@pytest.mark.parametrize("name", ["caltech101", "oxford_pets", "eurosat"])
def test_a_split_of_the_papers_sizes_is_not_official_for_that(shared: Path, tmp_path: Path, name: str) -> None:
    entry = CATALOGUE[name]
    split = json.loads((shared / "data" / "coop_splits" / entry.folder / entry.split_file).read_bytes())
    split["train"][0], split["test"][0] = split["test"][0], split["train"][0]  # as a random draw would
    (tmp_path / entry.folder).mkdir()
    (tmp_path / entry.folder / entry.split_file).write_text(json.dumps(split))
    dataset = load_dataset(name, tmp_path)
    assert tuple(len(getattr(dataset, part)) for part in ("train", "val", "test")) == entry.sizes
    assert dataset.split == "other"
    assert f"{entry.split_file} is not the papers' split, though it has its name" in dataset.notes[0]


def test_where_nobody_knows_the_papers_split_its_numbers_are_said_to_decide(tmp_path: Path) -> None:
    small = replace(CATALOGUE["food101"], classes=2, sizes=(2, 2, 2))
    split = {part: [[f"{n}/{part}.jpg", n, "ab"[n]] for n in range(2)] for part in ("train", "val", "test")}
    (tmp_path / small.split_file).write_text(json.dumps(split))
    dataset = judge(small, read_split(tmp_path / small.split_file, "x"), "x")
    assert dataset.split == "official"
    assert dataset.notes[0].startswith("food101: official by its numbers of classes and images")
    known = replace(small, fingerprint=dataset.fingerprint)
    assert judge(known, read_split(tmp_path / small.split_file, "x"), "x").notes == ()
    assert {name for name, one in CATALOGUE.items() if one.split_file and not one.fingerprint} == {"food101", "sun397"}


def test_missing_images_are_counted_and_named(shared: Path) -> None:
    with pytest.raises(
        UsageError, match=r"7,349 of 7,349 images are missing or empty.*Abyssinian.*prepare oxford_pets"
    ):
        load_dataset("oxford_pets", shared / "data" / "coop_splits", check_images=True)


def test_reading_a_split_opens_no_image(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("an image was opened")

    monkeypatch.setattr(Image, "open", refuse)
    dataset = load_dataset("oxford_pets", shared / "data" / "coop_splits")
    lamm_cl.few_shot(dataset, shots=16, seed=1)
    assert dataset.class_names[:2] == ("abyssinian", "american_bulldog")


def test_the_fingerprint_does_not_depend_on_where_the_data_lies(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "eurosat").symlink_to(shared / "data" / "coop_splits" / "eurosat")
    here, there = (load_dataset("eurosat", root) for root in (tmp_path, shared / "data" / "coop_splits"))
    assert here.fingerprint == there.fingerprint
    assert here.class_names[0] == "Annual Crop Land"


def test_the_root_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMM_CL_DATA", str(tmp_path))
    with pytest.raises(UsageError, match=rf"{tmp_path}/dtd does not exist"):
        load_dataset("dtd")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not a folder"):
        load_dataset("dtd", tmp_path / "file")


def test_without_split_and_images_the_next_step_is_said(tmp_path: Path) -> None:
    for entry in CATALOGUE.values():
        if not entry.embedded:
            (tmp_path / entry.folder).mkdir()
            with pytest.raises(UsageError, match="prepare"):
                load_dataset(entry.name, tmp_path)


def test_imagenet_reads_its_folders(tmp_path: Path) -> None:
    folder = tmp_path / "imagenet"
    class_names_file(folder)
    for wnid in WNIDS:
        touch(*(folder / "images" / "train" / wnid / f"{wnid}_{i}.JPEG" for i in (2, 1, 10)))
        touch(*(folder / "images" / "val" / wnid / f"v{i}.JPEG" for i in range(2)))
    dataset = load_dataset("imagenet", tmp_path, check_images=True)
    assert dataset.class_names == ("tench", "goldfish", "great white shark")
    assert dataset.class_ids == WNIDS
    assert dataset.val == dataset.test
    assert [dataset.relative(item) for item in dataset.train[:3]] == [
        f"train/n01440764/n01440764_{i}.JPEG" for i in ("1", "10", "2")
    ]
    assert dataset.split == "own"  # three classes are not ImageNet
    touch(folder / "images" / "train" / "n99999999" / "x.JPEG")
    with pytest.raises(UsageError, match="n99999999"):
        load_dataset("imagenet", tmp_path)


def variant(root: Path, name: str, folders: tuple[str, ...]) -> Dataset:
    entry = CATALOGUE[name]
    class_names_file(root / "imagenet")
    for folder in folders:
        touch(root / entry.folder / entry.images / folder / "x.jpg")
    touch(root / entry.folder / entry.images / "README.txt")
    return load_dataset(name, root)


@pytest.mark.parametrize(
    ("name", "folders"),
    [
        ("imagenet_a", (WNIDS[0], WNIDS[2])),
        ("imagenet_r", (WNIDS[0], WNIDS[2])),
        ("imagenet_sketch", (WNIDS[0], WNIDS[2])),
        ("imagenetv2", ("0", "2")),
        ("imagenetv2", ("0000", "0002")),
        ("imagenetv2", (WNIDS[0], WNIDS[2])),
    ],
)
def test_the_variants_know_which_classes_of_imagenet_they_have(
    tmp_path: Path, name: str, folders: tuple[str, ...]
) -> None:
    dataset = variant(tmp_path, name, folders)
    assert dataset.class_names == ("tench", "great white shark")
    assert dataset.class_ids == (WNIDS[0], WNIDS[2])
    assert dataset.train == dataset.val == ()
    with pytest.raises(UsageError, match="no training image"):
        lamm_cl.few_shot(dataset, 1, 1)


def test_a_variant_with_an_unknown_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="n00000001"):
        variant(tmp_path, "imagenet_a", ("n00000001",))


def test_folders_that_are_numbers_sort_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "imagenet").mkdir()
    lines = [f"n{i:08d} class {i}" for i in range(12)]
    (tmp_path / "imagenet" / "classnames.txt").write_text("\n".join(lines))
    entry = CATALOGUE["imagenetv2"]
    touch(*(tmp_path / entry.folder / entry.images / str(i) / "x.jpeg" for i in range(12)))
    assert load_dataset("imagenetv2", tmp_path).class_names == tuple(f"class {i}" for i in range(12))
    touch(tmp_path / entry.folder / entry.images / "12" / "x.jpeg")
    with pytest.raises(UsageError, match="folder 12 has no class"):
        load_dataset("imagenetv2", tmp_path)


@pytest.mark.parametrize("line", ["tench", "x01 tench", "n01440764", "n01440764 tench\nn01440764 again"])
def test_damaged_class_names_are_refused(tmp_path: Path, line: str) -> None:
    touch(tmp_path / "imagenet" / "images" / "val" / WNIDS[0] / "x.JPEG")
    (tmp_path / "imagenet" / "classnames.txt").write_text(line)
    with pytest.raises(UsageError, match=r"classnames\.txt, line"):
        load_dataset("imagenet", tmp_path)


def aircraft(root: Path) -> Path:
    folder = root / "fgvc_aircraft"
    touch(*(folder / "images" / f"{i:07d}.jpg" for i in range(6)))
    (folder / "variants.txt").write_text("707-320\nF/A-18\nGlobal Express\n")
    for part, images in (("train", (0, 1, 2)), ("val", (3, 4)), ("test", (5,))):
        names = ("707-320", "F/A-18", "Global Express")
        (folder / f"images_variant_{part}.txt").write_text("".join(f"{i:07d} {names[i % 3]}\n" for i in images))
    return folder


def test_aircraft_reads_its_own_lists(tmp_path: Path) -> None:
    aircraft(tmp_path)
    dataset = load_dataset("fgvc_aircraft", tmp_path, check_images=True)
    assert dataset.class_names == ("707-320", "F/A-18", "Global Express")
    assert [item.label for item in dataset.train] == [0, 1, 2]
    assert dataset.template == "a photo of a {}, a type of aircraft."


@pytest.mark.parametrize("line", ["0000009 Spitfire", "../../x 707-320", "0000009"])
def test_damaged_aircraft_lists_are_refused(tmp_path: Path, line: str) -> None:
    folder = aircraft(tmp_path)
    (folder / "images_variant_test.txt").write_text(line)
    with pytest.raises(UsageError, match=r"images_variant_test\.txt, line 1"):
        load_dataset("fgvc_aircraft", tmp_path)
