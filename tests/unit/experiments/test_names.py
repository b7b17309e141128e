"""Names are what is written, or an error asks for quotes: never `True`, and never another number."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lamm_cl.data.load import load_dataset
from lamm_cl.errors import UsageError
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import grid
from lamm_cl.experiments.spec import RunSpec
from lamm_cl.records import ExperimentDirectory
from lamm_cl.records.record import DONE, Record
from lamm_cl.reports.results import read_results

Write = Callable[..., Path]
# Every one of these is read as something else than text by YAML 1.1 or 1.2, or would be written otherwise than here.
READ = ("true", "1e5", "1.50", "0x10", "+7", "007", "on", "No", "1:30", "1_000", "2024-01-01", ".nan", "null", "~")
# These are text, but pandas takes them for missing or for numbers.
TEXT = ("nan", "NA", "None", "none", "N/A", "y", "inf", "１６", "7")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("no", "off", "yes"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def run_of(path: Path) -> RunSpec:
    return grid(read_config(path))[0]


def text(protocol: str = "few_shot", datasets: str = "[digits]", methods: str = "[zero_shot]", more: str = "") -> str:
    return f"protocol: {protocol}\ndatasets: {datasets}\nmethods: {methods}\nseeds: [1]\n{more}\n"


PLACES: dict[str, Callable[[str], str]] = {
    "experiment": lambda word: text(more=f"experiment: {word}"),
    "method": lambda word: text(methods=f"[{word}]"),
    "method of a variant": lambda word: text(methods=f"{{x: {{method: {word}}}}}"),
    "data set": lambda word: text(datasets=f"[{word}]"),
    "own name": lambda word: text(datasets=f"{{folder: x, name: {word}}}"),
    "folder": lambda word: text(datasets=f"{{folder: {word}}}"),
    "rename": lambda word: text(datasets=f"{{folder: x, rename: {{a: {word}}}}}"),
    "order": lambda word: text(f"{{name: class_incremental, order: [{word}, a]}}", "{folder: x}"),
    "evaluate": lambda word: text(f"{{name: cross_dataset, evaluate: [{word}]}}", "[imagenet, {folder: x}]"),
    "override": lambda word: text(more=f"overrides: [{{when: {{dataset: [{word}]}}, options: {{}}}}]"),
    "weights": lambda word: text(more=f"backbone: {{name: ViT-B-32, pretrained: [{word}]}}"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("word", [word for word in READ if word not in ("null", "~")])
def test_what_is_not_read_as_text_is_refused_where_a_name_is_wanted(write_config: Write, place: str, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        run_of(write_config(PLACES[place](word)))
    said = str(caught.value)
    assert "line " in said
    assert "quotes" in said or f"'{word}'" in said  # the latter: unknown, under the name that is written


@pytest.mark.parametrize("word", [*READ, *TEXT])
def test_names_in_quotes_and_keys_are_what_is_written(write_config: Write, photos: Path, word: str) -> None:
    data = f"{{folder: {photos}, name: '{word}', rename: {{no: '{word}', yes: x}}}}"
    run = run_of(write_config(text("{name: class_incremental, order: ['" + word + "', x, 'off']}", data)))
    assert (run.dataset, run.protocol_options["order"][0]) == (word, word)
    assert load_dataset(run.datasets[0]).class_names == (word, "off", "x")
    if re.fullmatch("[0-9A-Za-z][0-9A-Za-z._+-]*", word):
        run = run_of(write_config(text(methods=f"{{{word}: {{method: zero_shot}}}}", more=f"experiment: '{word}'")))
        assert (run.label, run.experiment) == (word, word)


def test_class_folders_are_called_as_they_are(write_config: Write, photos: Path) -> None:
    run = run_of(write_config(text(datasets=f"{{folder: {photos}, rename: {{no: nein, yes: 'on', off: '007'}}}}")))
    assert load_dataset(run.datasets[0]).class_names == ("nein", "007", "on")


def test_a_name_that_says_nothing_is_refused(write_config: Write) -> None:
    for word in ("null", "~"):
        with pytest.raises(UsageError, match="name says nothing: leave it out, or put it in quotes"):
            run_of(write_config(text(datasets=f"{{folder: x, name: {word}}}")))


def test_names_are_the_same_in_the_table_and_in_reports(tmp_path: Path) -> None:
    labels = ("nan", "NA", "None", "null", "1e5", "007", "true", "inf", "0x10")
    for number, label in enumerate(labels):
        run_id = f"{number:012x}"
        spec = RunSpec("007", "few_shot", ("digits",), label, label, "coop", "tiny", 1, 1, pretrained="NA")
        record = Record(run_id, DONE, spec.columns(), ((1, label, "all", "accuracy", 0.5, 10),), {})
        (tmp_path / "runs" / run_id).mkdir(parents=True)
        record.write(tmp_path / "runs" / run_id / "record.json")
    ExperimentDirectory(tmp_path).rebuild_table()
    results = read_results(tmp_path)
    assert not results.problems
    for column in ("method", "dataset", "eval_set"):
        assert sorted(results.frame[column]) == sorted(labels)
    assert set(results.frame["experiment"]) == {"007"}
    assert set(results.frame["pretrained"]) == {"NA"}


def test_a_label_that_is_another_class_s_name_is_ambiguous() -> None:
    from lamm_cl.streams.orders import class_order

    names = ["1", "10", "2"]
    assert class_order(names, ["2", "1", "10"]) == (2, 0, 1)
    with pytest.raises(UsageError, match="1 is a label, but class 0 is called '1': give names, in quotes"):
        class_order(names, [2, 1, 0])
    assert class_order(["0", "1", "2"], [2, 0, 1]) == (2, 0, 1)
