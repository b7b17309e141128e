"""Names that a spreadsheet would run stand in no table: they are refused where they are given."""

import re
from pathlib import Path

import pytest
from PIL import Image

from lamm_cl.data.load import load_dataset
from lamm_cl.data.own_data import is_formula
from lamm_cl.errors import UsageError
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import grid

FORMULAS = ("=HYPERLINK(1)", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", " =1+1", "\uff1d1")
WORDS = ("cat", "7", "-1", "+1", "-1.0", "a=b", "x-ray", "e@mail", "(=1)")


def test_which_words_are_formulas() -> None:
    assert all(map(is_formula, FORMULAS))
    assert not any(map(is_formula, WORDS))


def photos(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / name / f"{number}.png")
    return folder


def refused(folder: Path, text: str) -> str:
    path = folder / "config.yaml"
    path.write_text(f"protocol: few_shot\nmethods: [zero_shot]\nseeds: 1\n{text}\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        grid(read_config(path))
    return str(caught.value)


@pytest.mark.parametrize("word", [word for word in FORMULAS if not word.startswith(" ")])
def test_names_of_data_sets(tmp_path: Path, word: str) -> None:
    quoted = "'" + word.replace("'", "''") + "'"
    said = refused(tmp_path, f"datasets: [{{folder: x, name: {quoted}}}]")
    assert "line 4, datasets.0: the name" in said
    assert "a spreadsheet with the results would run: give it another name (`name: ...`)" in said
    if "/" not in word:
        assert "line 4, datasets.0: the name" in refused(tmp_path, f"datasets: [{{folder: {quoted}}}]")
    place = photos(tmp_path / "data", "cat", "dog")
    with pytest.raises(UsageError, match="begins as a formula does"):
        load_dataset({"folder": place, "name": word})


@pytest.mark.parametrize("word", ["=HYPERLINK(1)", "-2+3", "@SUM(1)"])
def test_names_of_classes(tmp_path: Path, word: str) -> None:
    folders = photos(tmp_path / "folders", word, "dog")
    with pytest.raises(UsageError, match=f"the class {re.escape(repr(word))} begins as .* e.g. by `rename`"):
        load_dataset({"folder": folders})
    assert load_dataset({"folder": folders, "rename": {word: "cat"}}).class_names[0] == "cat"  # what it advises
    plain = photos(tmp_path / "plain", "cat", "dog")
    with pytest.raises(UsageError, match="begins as a formula does"):
        load_dataset({"folder": plain, "rename": {"cat": word}})
    table = tmp_path / "list.csv"
    rows = [
        f"plain/{name}/{number}.png,{word if name == 'cat' else name}" for name in ("cat", "dog") for number in "012"
    ]
    table.write_text("path,class\n" + "\n".join(rows))
    with pytest.raises(UsageError, match="begins as a formula does"):
        load_dataset({"csv": table})


def test_weights_and_labels_of_methods(tmp_path: Path) -> None:
    said = refused(tmp_path, "datasets: [digits]\nbackbone: {name: ViT-B-32, pretrained: '=x.pt'}")
    assert "line 5, backbone.pretrained: '=x.pt' begins as a formula does" in said
    assert "a path with ./ before it" in said
    said = refused(tmp_path, "datasets: [digits]\nexperiment: '=1+1'")
    assert "line 5, experiment: should be a name of letters" in said
    path = tmp_path / "config.yaml"
    path.write_text("protocol: few_shot\nmethods: {'=1+1': {method: coop}}\ndatasets: [digits]\n")
    with pytest.raises(UsageError, match=r"line 2, methods\.=1\+1: should be a name of letters"):
        read_config(path)
