"""A user's own folder or CSV: read whole, or refused with the file's name."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lamm_cl.data.few_shot import few_shot
from lamm_cl.data.items import Dataset
from lamm_cl.data.load import load_dataset
from lamm_cl.data.verify import verify
from lamm_cl.errors import UsageError


def fill(folder: Path, count: int, suffix: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new("RGB", (4, 4), (i, i, i)).save(folder / f"{i:02d}.{suffix}")


def names(dataset: Dataset) -> dict[str, list[str]]:
    return {part: [dataset.relative(item) for item in getattr(dataset, part)] for part in ("train", "val", "test")}


def test_class_folders_are_split_the_same_way_every_time(tmp_path: Path) -> None:
    for name in ("dog", "cat", "red_fox"):
        fill(tmp_path / name, 10)
    first = load_dataset({"name": "pets", "folder": str(tmp_path), "template": "a {}, a pet."})
    assert first.class_names == ("cat", "dog", "red_fox")
    assert (len(first.train), len(first.val), len(first.test)) == (15, 6, 9)
    assert len({item.path for item in first.items}) == 30
    assert (first.name, first.split, first.template) == ("pets", "own", "a {}, a pet.")
    assert any("split made here" in note for note in first.notes)
    fill(tmp_path / "ape", 10)
    second = load_dataset({"name": "pets", "folder": tmp_path})
    assert set(names(first)["train"]) < set(names(second)["train"])
    other = load_dataset({"name": "other", "folder": tmp_path})
    assert names(other) != names(second)
    assert first.open(first.train[0]).size == (4, 4)


def test_parts_are_taken_as_they_are(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("valid", 1), ("test", 2)):
        for name in ("cat", "dog"):
            fill(tmp_path / part / name, count)
    dataset = load_dataset({"folder": tmp_path})
    assert names(dataset) == {
        "train": [f"train/{name}/0{i}.png" for name in ("cat", "dog") for i in range(3)],
        "val": ["valid/cat/00.png", "valid/dog/00.png"],
        "test": [f"test/{name}/0{i}.png" for name in ("cat", "dog") for i in range(2)],
    }


def test_without_a_test_part_val_is_the_test_set_and_that_is_said(tmp_path: Path) -> None:
    for part in ("train", "val"):
        fill(tmp_path / part / "cat", 2)
    dataset = load_dataset({"folder": tmp_path})
    assert dataset.test == dataset.val
    assert any("val/ is also the test set" in note for note in dataset.notes)


def test_with_train_alone_a_split_is_made(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "cat", 3)
    dataset = load_dataset({"folder": tmp_path})
    assert [len(dataset.train), len(dataset.val), len(dataset.test)] == [1, 1, 1]


def test_folders_can_be_renamed_and_nested(tmp_path: Path) -> None:
    fill(tmp_path / "n01" / "a", 2)
    fill(tmp_path / "n01" / "b", 2)
    fill(tmp_path / "n02", 4)
    dataset = load_dataset({"folder": tmp_path, "rename": {"n01": "tench"}})
    assert dataset.class_names == ("tench", "n02")
    assert len(dataset.items) == 8


def test_hidden_files_and_junk_are_no_images_and_no_error(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 4)
    for name in (".DS_Store", "Thumbs.db"):
        (tmp_path / "cat" / name).write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / "readme.txt").write_text("x")
    fill(tmp_path, 1)
    dataset = load_dataset({"folder": tmp_path})
    assert len(dataset.items) == 4
    assert any("1 image(s) beside the class folders" in note for note in dataset.notes)


def test_a_class_smaller_than_the_shots_is_taken_whole_and_noted(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 40)
    fill(tmp_path / "dog", 4)
    chosen = few_shot(load_dataset({"name": "pets", "folder": tmp_path}), 8, 1)
    assert sum(item.class_name == "dog" for item in chosen.train) == 2
    assert chosen.notes[0] == "pets: fewer than 8 train images, taken whole: dog (2)"


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 3)
    (tmp_path / "cat" / "again").symlink_to(tmp_path / "cat")
    assert len(load_dataset({"folder": tmp_path}).items) == 3


def empty_class(root: Path) -> None:
    (root / "empty").mkdir()


def text_in_class(root: Path) -> None:
    (root / "cat" / "notes.txt").write_text("x")


def two_of_one_prompt(root: Path) -> None:
    fill(root / "Cat", 3)


def mixed_layout(root: Path) -> None:
    fill(root / "train" / "x", 3)


def tiny_class(root: Path) -> None:
    fill(root / "ant", 2)


def bad_name(root: Path) -> None:
    fill(root / "x", 3)
    os.rename(os.fsencode(root / "x"), os.fsencode(root) + b"/caf\xe9")  # noqa: PTH104 - a name in bytes


def broken_link(root: Path) -> None:
    (root / "emu").symlink_to("nowhere")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (broken_link, r"emu' is a link to nothing"),
        (empty_class, r"empty' holds no image"),
        (text_in_class, r"notes\.txt' .*not an image by its name"),
        (two_of_one_prompt, r"same prompt: 'Cat' and 'cat'"),
        (mixed_layout, r"holds train/ and also 'cat', 'dog'"),
        (tiny_class, r"'ant' has 2 image"),
        (bad_name, r"caf\\xe9' is not valid UTF-8"),
    ],
)
def test_damaged_folders_are_refused(tmp_path: Path, damage: Any, message: str) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / name, 3)
    damage(tmp_path)
    with pytest.raises(UsageError, match=message):
        load_dataset({"folder": tmp_path})


def test_images_in_no_class_are_noted(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 3)
    (tmp_path / "cat" / "00.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    fill(tmp_path / "cat", 3)
    (tmp_path / "README.txt").write_text("x")
    (note,) = (note for note in load_dataset({"folder": tmp_path}).notes if "beside" in note)
    assert "1 image(s) beside" in note
    note.encode()


def test_a_link_back_up_does_not_bring_other_classes_in(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / name, 3)
    (tmp_path / "cat" / "up").symlink_to(tmp_path)
    assert len(load_dataset({"folder": tmp_path}).items) == 6


def test_classes_without_test_images_are_noted(tmp_path: Path) -> None:
    for part, names in (("train", ("cat", "dog")), ("test", ("cat",))):
        for name in names:
            fill(tmp_path / part / name, 2)
    assert "1 of 2 classes have no test image: dog" in " ".join(load_dataset({"folder": tmp_path}).notes)


def test_a_class_that_train_does_not_know_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "cat", 2)
    fill(tmp_path / "test" / "dog", 2)
    with pytest.raises(UsageError, match=r"'dog' has no folder in .*train"):
        load_dataset({"folder": tmp_path})


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"folder": "/nowhere/at/all"}, "does not exist"),
        ({"folder": 3}, "must be a path"),
        ({"folder": "a", "csv": "b"}, "either"),
        ({"foldr": "a"}, "foldr|unknown"),
        ({"folder": ".", "flipp": True}, r"flipp.*flip"),
        ({}, "unknown data set ''"),
    ],
)
def test_wrong_descriptions_are_refused(description: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_dataset(description)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": "no place"}, "template"),
        ({"template": "{} {}"}, "template"),
        ({"flip": "yes"}, "flip"),
        ({"scale": [0.5]}, "scale"),
        ({"scale": [0.9, 0.1]}, "scale"),
        ({"rename": {"wolf": "dog"}}, "wolf"),
        ({"rename": ["cat"]}, "rename must say"),
        ({"rename": {"cat": None}}, "rename must say"),
        ({"name": ["a"]}, "must be a line of text"),
        ({"name": "two\nlines"}, "must be a line of text"),
        ({"rename": {"cat": True}}, "Put what is not read as text in quotes"),
        ({"ignore": [False]}, r"ignore must be a list of words, not \[False\]\. Put what"),
        ({"ignore": "cat"}, "ignore must be a list"),
        ({"names": [1e5]}, "names must be a list of words"),
        ({"names": "/nowhere.txt"}, "names"),
        ({"depth": "leaves"}, "depth must be top or leaf"),
        ({"numbers_are_names": "yes"}, "numbers_are_names must be true or false"),
        ({"columns": {"klass": "x"}}, "unknown role of a column 'klass'"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    fill(tmp_path / "cat", 3)
    with pytest.raises(UsageError, match=message):
        load_dataset({"folder": tmp_path, **options})


def test_parts_one_level_down_are_found_and_said(tmp_path: Path) -> None:
    for part in ("train", "test"):
        fill(tmp_path / "data" / part / "cat", 3)
    dataset = load_dataset({"folder": tmp_path})
    assert dataset.class_names == ("cat",)
    assert len(dataset.test) == 3
    assert any("are those of data/" in note for note in dataset.notes)
    fill(tmp_path / "more" / "train" / "cat", 3)
    with pytest.raises(UsageError, match=rf"`folder: {tmp_path}/data`"):
        load_dataset({"folder": tmp_path})
    assert load_dataset({"folder": tmp_path, "ignore": ["more"]}).class_names == ("cat",)


def test_test_alone_is_no_class(tmp_path: Path) -> None:
    fill(tmp_path / "test" / "cat", 3)
    fill(tmp_path / "test" / "dog", 3)
    with pytest.raises(UsageError, match=rf"holds test/ and no train/.*`folder: {tmp_path}/test`"):
        load_dataset({"folder": tmp_path})
    assert load_dataset({"folder": tmp_path / "test"}).class_names == ("cat", "dog")


def test_two_folders_for_one_part_are_refused(tmp_path: Path) -> None:
    for part in ("train", "val", "valid"):
        fill(tmp_path / part / "cat", 1)
    with pytest.raises(UsageError, match=r"val/ and valid/ are both.*`ignore: \[valid\]`"):
        load_dataset({"folder": tmp_path})
    assert len(load_dataset({"folder": tmp_path, "ignore": ["valid"]}).test) == 1


def test_nested_folders_are_classes_or_parts_of_one_as_the_user_says(tmp_path: Path) -> None:
    for name in ("animal/cat", "animal/dog", "plant/oak"):
        fill(tmp_path / name, 3)
    with pytest.raises(UsageError, match=r"animal/ holds no image but cat/, dog/.*`depth: leaf`.*`depth: top`"):
        load_dataset({"folder": tmp_path})
    assert load_dataset({"folder": tmp_path, "depth": "leaf"}).class_names == ("cat", "dog", "oak")
    assert load_dataset({"folder": tmp_path, "depth": "top"}).class_names == ("animal", "plant")
    renamed = load_dataset({"folder": tmp_path, "depth": "leaf", "rename": {"animal/cat": "tabby"}})
    assert renamed.class_names == ("tabby", "dog", "oak")
    with pytest.raises(UsageError, match=rf"`folder: {tmp_path}/animal` if these are all"):
        load_dataset({"folder": tmp_path, "ignore": ["plant"]})


def test_what_is_no_class_beside_classes_is_left_out_or_asked_about(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 3)
    fill(tmp_path / "__MACOSX" / "cat", 3)
    assert load_dataset({"folder": tmp_path}).class_names == ("cat",)
    fill(tmp_path / "annotations" / "trimaps", 3)
    with pytest.raises(UsageError, match=r"annotations/ does not look like a class.*`ignore: \[annotations\]`"):
        load_dataset({"folder": tmp_path})
    assert load_dataset({"folder": tmp_path, "ignore": ["annotations"]}).class_names == ("cat",)
    fill(tmp_path / "annotations", 3)
    assert load_dataset({"folder": tmp_path, "ignore": []}).class_names == ("annotations", "cat")
    fill(tmp_path / "7", 3)
    assert load_dataset({"folder": tmp_path, "ignore": [7]}).class_names == ("annotations", "cat")


def test_numbers_sort_as_numbers_and_are_no_names(tmp_path: Path) -> None:
    for name in ("0", "1", "2", "10"):
        fill(tmp_path / name, 3)
    dataset = load_dataset({"name": "pets", "folder": tmp_path})
    assert dataset.class_names == ("0", "1", "2", "10")
    assert dataset.numbered
    assert any("called by numbers" in note for note in dataset.notes)
    (tmp_path / "names.txt").write_text("cat\ndog\nred fox\nNone\n")
    for names in (["cat", "dog", "red fox", "None"], str(tmp_path / "names.txt")):
        named = load_dataset({"folder": tmp_path, "names": names})
        assert named.class_names == ("cat", "dog", "red fox", "None")
        assert not named.numbered
    assert not load_dataset({"folder": tmp_path, "numbers_are_names": True}).numbered
    with pytest.raises(UsageError, match="names has 3 names for 4 classes"):
        load_dataset({"folder": tmp_path, "names": ["a", "b", "c"]})
    (tmp_path / "10").rename(tmp_path / "ten")
    with pytest.raises(UsageError, match="names is for classes that are numbers, not 'ten'"):
        load_dataset({"folder": tmp_path, "names": ["a", "b", "c", "d"]})


def test_16_bit_images_of_ones_own_are_noted_once(tmp_path: Path) -> None:
    fill(tmp_path / "cat", 3)
    fill(tmp_path / "dog", 3)
    assert not any("8 bits" in note for note in load_dataset({"folder": tmp_path}).notes)
    for i in range(3):
        Image.fromarray(np.full((4, 4), 30000, np.uint16)).save(tmp_path / "dog" / f"{i:02d}.png")
    dataset = load_dataset({"folder": tmp_path})
    (note,) = (note for note in dataset.notes if "8 bits" in note)
    assert "dog/0" in note
    assert np.asarray(dataset.open(dataset.test[-1])).max() == 117
    assert any("3 of 6 images have more than 8 bits" in warning for warning in verify(dataset).warnings)


CSV = "path,class_name,split\na/00.png,cat,train\na/01.png,cat,val\nb/00.png,dog,train\nb/01.png,dog,test\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    fill(tmp_path / "a", 4)
    fill(tmp_path / "b", 4)
    (tmp_path / "list.csv").write_text(CSV)
    return tmp_path / "list.csv"


def test_a_csv_is_read_as_it_is(table: Path) -> None:
    dataset = load_dataset({"csv": str(table)})
    assert names(dataset) == {"train": ["a/00.png", "b/00.png"], "val": ["a/01.png"], "test": ["b/01.png"]}
    assert dataset.class_names == ("cat", "dog")
    assert (dataset.name, dataset.split) == ("list", "own")


def test_a_csv_may_stand_elsewhere_carry_a_mark_and_leave_out_the_split(table: Path, tmp_path: Path) -> None:
    moved = tmp_path / "lists" / "mine.csv"
    moved.parent.mkdir()
    rows = [f"{folder}/0{i}.png;{name}" for folder, name in (("a", "cat"), ("b", "dog")) for i in range(4)]
    moved.write_text("\n".join(["path,class", *rows]).replace(";", ",") + "\n\n", encoding="utf-8-sig")
    dataset = load_dataset({"csv": moved, "root": tmp_path})
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (4, 2, 2)


@pytest.mark.parametrize("split", [True, False])
def test_classes_of_a_csv_can_be_renamed_and_keep_their_order(table: Path, split: bool) -> None:
    rows = [f"{folder}/0{i}.png,{name}" for folder, name in (("a", "cat"), ("b", "dog")) for i in range(4)]
    if not split:
        table.write_text("\n".join(["path,class_name", *rows]))
    dataset = load_dataset({"csv": table, "rename": {"cat": "wild cat"}})
    assert dataset.class_names == ("wild cat", "dog")
    assert {(item.label, item.class_name) for item in dataset.train} == {(0, "wild cat"), (1, "dog")}


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        (3, "rename must say"),
        ("cat", "rename must say"),
        ({"cat": None}, "rename must say"),
        ({"zz": "y"}, r"unknown class in rename.*'zz'.*Choices: cat, dog"),
        ({"cat": "Dog"}, "same prompt"),
        ({"cat": "dog"}, "two classes are called 'dog'"),
        ({"cat": " "}, "a class name is empty"),
    ],
)
@pytest.mark.parametrize("source", ["folder", "csv"])
def test_wrong_renames_are_refused(tmp_path: Path, source: str, rename: object, message: str) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / name, 3)
    rows = [f"{name}/0{i}.png,{name}" for name in ("cat", "dog") for i in range(3)]
    (tmp_path / "list.csv").write_text("\n".join(["path,class", *rows]))
    place = tmp_path if source == "folder" else tmp_path / "list.csv"
    with pytest.raises(UsageError, match=message.replace("class in", "class (in|folder in)")):
        load_dataset({source: place, "rename": rename})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("path,class_name,split\n", "", "line 1.*header"),
        ("class_name", "kind", "line 1.*kind"),
        ("a/01.png,cat,val", "a/01.png,cat", "line 3.*2 columns"),
        ("cat,val", ",val", "line 3"),
        ("cat,val", "cat,maybe", "line 3.*maybe"),
        ("a/01.png", "a/00.png", "line 3.*line 2 already"),
        ("a/01.png", "./b/../a/00.png", "line 3.*line 2 already"),
        ("a/01.png", "a/99.png", r"1 of 4 images are missing or empty \(line 3.*99\.png"),
        (",val", ",train", "ok"),
        ("b/01.png,dog,test", "b/01.png,Cat,test", "same prompt"),
        ("dog,test", 'dog,"test', "cannot be read as CSV"),
        (CSV, "", "header"),
        (CSV, "path,class,split\n", "lists no image"),
    ],
)
def test_damaged_csvs_are_refused(table: Path, old: str, new: str, message: str) -> None:
    table.write_text(CSV.replace(old, new))
    if message == "ok":
        assert len(load_dataset({"csv": table}).train) == 3
        return
    with pytest.raises(UsageError, match=message) as caught:
        load_dataset({"csv": table})
    assert "list.csv" in str(caught.value)


def test_a_csv_must_be_utf8_and_have_something_to_test_on(table: Path) -> None:
    table.write_bytes(CSV.replace("cat", "ch\xe2t").encode("latin-1"))
    with pytest.raises(UsageError, match="UTF-8"):
        load_dataset({"csv": table})
    table.write_text(CSV.replace("val", "train").replace("test", "train"))
    with pytest.raises(UsageError, match="nothing to evaluate"):
        load_dataset({"csv": table})


@pytest.mark.parametrize(
    "header",
    [
        "file_name,category,partition",
        "filepath;target;subset",
        "image_path\tspecies\tfold",
        "img,label_name,split",
        "Image Path,Class-Name,Set",
    ],
)
def test_the_names_that_people_use_are_known(table: Path, header: str) -> None:
    delimiter = next(one for one in ";\t," if one in header)
    table.write_text(header + CSV.removeprefix("path,class_name,split").replace(",", delimiter))
    assert names(load_dataset({"csv": table})) == {
        "train": ["a/00.png", "b/00.png"],
        "val": ["a/01.png"],
        "test": ["b/01.png"],
    }


def test_the_message_lists_what_a_csv_may_have(table: Path) -> None:
    table.write_text(CSV.replace("class_name", "kind"))
    with pytest.raises(UsageError, match=r"path: path, file,.*class_name: classname,.*split: split,.*columns: \{path"):
        load_dataset({"csv": table})
    assert load_dataset({"csv": table, "columns": {"class_name": "kind"}}).class_names == ("cat", "dog")
    table.write_text(table.read_text().replace("kind", "7", 1))
    assert load_dataset({"csv": table, "columns": {"class_name": 7}}).class_names == ("cat", "dog")
    with pytest.raises(UsageError, match="has 0 columns 'none'"):
        load_dataset({"csv": table, "columns": {"class_name": "none"}})


def test_two_candidates_for_one_role_are_both_named(table: Path) -> None:
    lines = CSV.replace("class_name", "label,label_name").replace("cat", "7,cat").replace("dog", "8,dog")
    table.write_text(lines)
    with pytest.raises(UsageError, match=r"'label' and 'label_name' may both be the class_name.*columns: \{class_name"):
        load_dataset({"csv": table})
    dataset = load_dataset({"csv": table, "columns": {"class_name": "label_name"}})
    assert dataset.class_names == ("cat", "dog")
    assert any("columns that are not used: label" in note for note in dataset.notes)


def test_hugging_faces_metadata_has_its_split_in_its_folders(tmp_path: Path) -> None:
    for part in ("train", "test"):
        fill(tmp_path / part, 4)
    rows = [f"{part}/0{i}.png,{'cat' if i % 2 else 'dog'}" for part in ("train", "test") for i in range(4)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label", *rows]))
    dataset = load_dataset({"csv": tmp_path / "metadata.csv"})
    assert [len(dataset.train), len(dataset.val), len(dataset.test)] == [4, 0, 4]
    assert any("the split is that of the folders" in note for note in dataset.notes)


WORDS = ("nan", "None", "NA", "null", "true", "no", "1e5", "2026-01-02", "F/A-18", "a=1+1")


def test_words_that_others_turn_into_something_else_stay(tmp_path: Path) -> None:
    fill(tmp_path / "x", 3 * len(WORDS))
    rows = [f"x/{i:02d}.png,{WORDS[i % len(WORDS)]}" for i in range(3 * len(WORDS))]
    (tmp_path / "list.csv").write_text("\n".join(["path,class", *rows]))
    assert set(load_dataset({"csv": tmp_path / "list.csv"}).class_names) == set(WORDS)
    (tmp_path / "list.csv").write_text("\n".join(["path,class", *(row.replace("nan", "007") for row in rows)]))
    dataset = load_dataset({"csv": tmp_path / "list.csv"})
    assert "007" in dataset.class_names
    assert not dataset.numbered


def test_real_photographs_in_class_folders(shared: Path) -> None:
    folder = shared / "data" / "mini" / "caltech-101" / "101_ObjectCategories"
    dataset = load_dataset({"name": "photos", "folder": folder, "rename": {"Faces": "face"}}, check_images=True)
    assert (len(dataset.items), len(dataset.class_names)) == (2400, 100)
    assert dataset.open(dataset.test[0]).mode == "RGB"
