"""The subsets of class-incremental papers: recognised by their class folders and numbers, or refused."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lamm_cl.data.catalogue import CATALOGUE
from lamm_cl.data.download.prepare import prepare
from lamm_cl.data.load import load_dataset
from lamm_cl.data.status import state_of
from lamm_cl.data.verify import verify
from lamm_cl.errors import UsageError
from lamm_cl.streams.build import build_layout

SUBSETS = {name: entry for name, entry in CATALOGUE.items() if entry.reader == "subset"}
BIRDS = ("001.Black_footed_Albatross", "004.Groove_billed_Ani", "200.Common_Yellowthroat")


def fill(folder: Path, classes: tuple[str, ...], train: int = 2, test: int = 1, held_out: str = "test") -> Path:
    """Make a folder of tiny pictures, all different."""
    for part, count in (("train", train), (held_out, test)):
        for place, name in enumerate(classes):
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (4, 4), (i, place, len(part))).save(folder / part / name / f"{i}.png")
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a subset of the catalogue as small as a test's."""

    def shrink(name: str, **values: Any) -> None:
        for key, value in values.items():
            monkeypatch.setitem(CATALOGUE[name].__dict__, key, value)

    return shrink


def test_every_subset_has_the_name_of_its_published_numbers_and_of_no_other_data_set() -> None:
    assert set(SUBSETS) == {
        "imagenet100",
        "imagenet_r200",
        "cub200",
        "objectnet200",
        "fgvc_aircraft100",
        "stanford_cars100",
        "food101_100",
        "ucf101_100",
        "sun397_300",
        "vtab50",
    }
    for entry in SUBSETS.values():
        assert entry.sizes[1] == 0
        assert not entry.settings or next(iter(entry.settings.values())) == entry.sizes
    # A data set whose images are divided anew has all of them, whichever way.
    assert {sum(sizes) for sizes in SUBSETS["cub200"].settings.values()} == {11_788}
    assert {sum(sizes) for sizes in SUBSETS["imagenet_r200"].settings.values()} == {30_000, 30_001}
    assert sum(SUBSETS["fgvc_aircraft100"].sizes) == sum(CATALOGUE["fgvc_aircraft"].sizes)


@pytest.mark.parametrize("held_out", ["test", "val"])
@pytest.mark.parametrize("below", ["", "CUB"])
def test_ones_own_folders_with_the_papers_numbers_are_the_papers(
    tmp_path: Path, small: Any, held_out: str, below: str
) -> None:
    small("cub200", classes=3, sizes=(9, 0, 6), settings={"setting-a": (9, 0, 6), "setting-b": (6, 0, 3)})
    fill(tmp_path / "cub200" / below, BIRDS, held_out=held_out)
    dataset = load_dataset("CUB-200", tmp_path)
    assert dataset.split == "setting-b"
    assert dataset.class_names == ("Black_footed_Albatross", "Groove_billed_Ani", "Common_Yellowthroat")
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (6, 0, 3)
    assert dataset.template == "a photo of a {}, a type of bird."
    assert dataset.notes[0] == "cub200: split as in setting b"
    assert state_of("cub200", tmp_path).state == "ready"
    found = verify(dataset)
    assert (found.problems, found.fingerprint) == ((), dataset.fingerprint)
    elsewhere = load_dataset({"name": "cub200", "folder": tmp_path / "cub200", "template": "the {}"}, "/nowhere")
    assert (elsewhere.split, elsewhere.fingerprint) == ("setting-b", dataset.fingerprint)
    assert elsewhere.template == "the {}"
    layout = build_layout("class_incremental", "cub200", shots=None, root=str(tmp_path), base=1, increment=1)
    assert (layout.split, len(layout.train)) == ("setting-b", 3)


def test_other_numbers_run_and_are_told(tmp_path: Path) -> None:
    dataset = load_dataset({"name": "food101_100", "folder": fill(tmp_path, ("apple_pie", "tiramisu"))})
    assert dataset.split == "own"
    assert dataset.notes == (
        "food101_100: not the papers' data: found 4 / 0 / 2 train / val / test images of 2 classes, the papers have "
        "79,998 / 0 / 20,012 train / val / test of 100",
    )
    both = load_dataset({"name": "cub200", "folder": fill(tmp_path / "birds", BIRDS)}).notes[0]
    assert "the papers have 5,994 / 0 / 5,794 train / val / test or 9,430 / 0 / 2,358 train / val / test of 200" in both


def test_a_list_of_training_images_tells_two_settings_of_the_same_sizes_apart(tmp_path: Path, small: Any) -> None:
    ids = ("n01443537", "n12267677")
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet" / "classnames.txt").write_text("n01443537 goldfish\nn12267677 acorn\nn01440764 tench\n")
    fill(tmp_path / "imagenet_r200", ids, held_out="val")
    names = sorted(f"{wnid}/{i}.png" for wnid in ids for i in range(2))
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    sizes = {"setting-a": (4, 0, 2), "setting-b": (4, 0, 2)}
    for listed, split in ((digest, "setting-a"), ("0" * 64, "setting-b")):
        small("imagenet_r200", classes=2, sizes=(4, 0, 2), settings=sizes, train_list=("setting-a", listed))
        dataset = load_dataset("imagenet_r200", tmp_path)
        assert (dataset.split, dataset.class_names) == (split, ("goldfish", "acorn"))
    small("imagenet_r200", classes=2, settings={"setting-a": (4, 0, 2)}, sizes=(4, 0, 2), train_list=("setting-a", "0"))
    assert "are not those of their list" in load_dataset("imagenet_r200", tmp_path).notes[0]
    (tmp_path / "imagenet" / "classnames.txt").unlink()
    with pytest.raises(UsageError, match=r"classnames\.txt is missing.*prepare imagenet"):
        load_dataset("imagenet_r200", tmp_path)


def test_the_released_list_of_imagenet_r_is_known(shared: Path) -> None:
    lines = (shared / "data" / "cil" / "imagenet_r_split.txt").read_text().split()
    train, test = lines[1 : lines.index("test")], lines[lines.index("test") + 1 :]
    entry = SUBSETS["imagenet_r200"]
    assert (len(train), 0, len(test)) == entry.settings["setting-a"]
    assert entry.train_list == ("setting-a", hashlib.sha256("\n".join(sorted(train)).encode()).hexdigest())


def released(shared: Path) -> dict[str, list[str]]:
    """Return class folders as the lists of two released codes call them, by subset."""
    folder = shared / "data" / "cil"
    labels = json.loads((folder / "c3box_labels.json").read_text())
    keys = ("objectnet", "cub200", "ucf101", "food101", "sun", "aircraft", "cars")
    names = (
        "objectnet200",
        "cub200",
        "ucf101_100",
        "food101_100",
        "sun397_300",
        "fgvc_aircraft100",
        "stanford_cars100",
    )
    found = {name: [one.replace("/", "-") for one in labels[key]] for name, key in zip(names, keys, strict=True)}
    for name, file in (("imagenet_r200", "imagenet_R_classes.txt"), ("imagenet100", "imagenet100_classes.txt")):
        found[name] = [line.split("\t")[1] for line in (folder / file).read_text().splitlines()]
    return found


def test_the_released_lists_are_told_from_each_other(shared: Path, tmp_path: Path) -> None:
    lists = released(shared)
    (tmp_path / "imagenet").mkdir()
    wnids = {*lists["imagenet_r200"], *lists["imagenet100"]}
    (tmp_path / "imagenet" / "classnames.txt").write_text("".join(f"{one} {one}x\n" for one in sorted(wnids)))
    for name, classes in lists.items():
        for part in ("train", "test"):
            for one in classes:
                (tmp_path / name / part / one).mkdir(parents=True)
                (tmp_path / name / part / one / "1.jpg").write_bytes(b"x")
    for name, classes in lists.items():
        if name == "stanford_cars100":  # the list of that code has two names too many
            with pytest.raises(UsageError, match=r"holds 102 class folders, and Cars-100 has 100"):
                load_dataset(name, tmp_path)
            continue
        assert len(load_dataset(name, tmp_path).class_names) == len(classes) == SUBSETS[name].classes
        for other in lists:
            if other != name and len(lists[other]) <= SUBSETS[name].classes:
                with pytest.raises(UsageError, match="it is another data set"):
                    load_dataset({"name": name, "folder": tmp_path / other}, tmp_path)


def test_names_come_from_a_file_by_class_folder(shared: Path, tmp_path: Path) -> None:
    fill(tmp_path / "r", ("n01443537", "n12267677"))
    listed = shared / "data" / "cil" / "imagenet_R_classes.txt"
    dataset = load_dataset({"name": "imagenet_r200", "folder": tmp_path / "r", "names": str(listed)})
    assert dataset.class_names == ("goldfish", "acorn")
    (tmp_path / "names.txt").write_text("n01443537 gold fish\n")
    with pytest.raises(UsageError, match=r"has no line for 1 of 2 classes, e\.g\. 'n12267677'"):
        load_dataset({"name": "imagenet_r200", "folder": tmp_path / "r", "names": str(tmp_path / "names.txt")})
    (tmp_path / "names.txt").write_text("n01443537\ta\nn12267677\tb\nn12267677\tc\n")
    with pytest.raises(UsageError, match="calls 'n12267677' both 'b' and 'c'"):
        load_dataset({"folder": tmp_path / "r", "names": str(tmp_path / "names.txt")})


def test_numbers_are_in_the_papers_order_and_named_in_their_own(tmp_path: Path) -> None:
    fill(tmp_path, ("0", "1", "10", "2"))
    given = {"name": "vtab50", "folder": tmp_path}
    plain = load_dataset(given)
    assert (plain.class_names, plain.numbered) == (("0", "1", "10", "2"), True)
    assert "of which no prompt can be made" in plain.notes[1]
    dataset = load_dataset({**given, "names": ["zero", "one", "two", "ten"]})
    assert (dataset.class_names, dataset.numbered) == (("zero", "one", "ten", "two"), False)
    with pytest.raises(UsageError, match="names has 102 names for 4 classes"):
        load_dataset({**given, "names": [f"car {n}" for n in range(102)]})


def test_no_split_is_made_and_what_is_missing_is_said(tmp_path: Path) -> None:
    fill(tmp_path / "a", BIRDS)
    with pytest.raises(UsageError, match=r"cub200.*must hold train/ and test/ \(or val/\)"):
        load_dataset({"name": "cub200", "folder": tmp_path / "a" / "train"})
    state = state_of("cub200", tmp_path)
    assert (state.state, state.note) == ("absent", f"{tmp_path / 'cub200'} does not exist")
    (told,) = prepare("objectnet200", tmp_path).by_hand
    assert str(tmp_path / "objectnet200") in told
    assert "{name: objectnet200, folder: PATH}" in told
    assert load_dataset(json.loads(json.dumps({"name": "cub200", "folder": str(tmp_path / "a")}))).split == "own"
    with pytest.raises(UsageError, match="key of a data set"):
        load_dataset({"name": "cub200", "folder": tmp_path / "a", "shots": 1})
    fill(tmp_path / "cub200", BIRDS)
    outcome = prepare("cub200", tmp_path)
    assert outcome.complete
    assert "not the papers' data" in outcome.notes[0]


def test_the_makers_folder_of_cub_is_divided_by_their_list(tmp_path: Path, small: Any) -> None:
    small("cub200", classes=3, sizes=(6, 0, 3), settings={"setting-a": (6, 0, 3), "setting-b": (9, 0, 1)})
    folder = fill(tmp_path / "CUB_200_2011", BIRDS, train=3, held_out="other")
    (folder / "train").rename(folder / "images")
    paths = [f"{bird}/{i}.png" for bird in BIRDS for i in range(3)]
    (folder / "images.txt").write_text("".join(f"{k} {path}\n" for k, path in enumerate(paths, start=1)))
    (folder / "train_test_split.txt").write_text("".join(f"{k} {int(k % 3 > 0)}\n" for k in range(1, 10)))
    dataset = load_dataset({"name": "cub200", "folder": folder})
    assert (dataset.split, dataset.class_names[0]) == ("setting-a", "Black_footed_Albatross")
    folder = folder.rename(tmp_path / "cub200")
    assert prepare("cub200", tmp_path).present == ["images, images.txt, train_test_split.txt"]
    dataset = load_dataset("cub200", tmp_path)
    assert [dataset.relative(item) for item in dataset.test] == [f"images/{bird}/2.png" for bird in BIRDS]
    (folder / "images.txt").write_text("001.png\n")
    with pytest.raises(UsageError, match="list other images than images/ holds"):
        load_dataset({"name": "cub200", "folder": folder})
    (folder / "images.txt").write_text("".join(f"{k} {path}\n" for k, path in enumerate(paths, start=1)))
    (folder / "images" / BIRDS[0] / "0.png").unlink()
    with pytest.raises(UsageError, match="list other images than images/ holds"):
        load_dataset({"name": "cub200", "folder": folder})


def test_a_subset_of_no_telling_classes_refuses_those_of_another(tmp_path: Path) -> None:
    fill(tmp_path, ("aquarium_fish", "sweet_pepper", "willow_tree"))
    with pytest.raises(UsageError, match=r"holds the classes of CIFAR-?100: it is another data set"):
        load_dataset({"name": "vtab50", "folder": tmp_path})
