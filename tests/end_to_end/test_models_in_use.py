"""From a config to a model in use: what a run keeps, and what `lamm-cl predict` says with it."""

import csv
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import lamm_cl

CONFIG = """
experiment: kept
protocol: class_incremental
datasets: [digits]
methods: {lamm: {epochs: 2}, simplecil: {}}
shots: 2
seeds: [1]
save: prompts
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, lamm_cl_in: Any) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    (folder / "kept.yaml").write_text(CONFIG)
    said = lamm_cl_in(folder, "run", "kept.yaml", "--jobs", "1")
    assert said.returncode == 0, said.stdout + said.stderr
    digits = lamm_cl.load_dataset("digits")
    (folder / "pictures").mkdir()
    for k, item in enumerate(digits.test[:3]):
        digits.open(item).save(folder / "pictures" / f"{k}.png")
    return folder


def models(folder: Path) -> dict[str, Path]:
    found = {}
    for path in sorted((folder / "runs" / "kept" / "runs").glob("*/record.json")):
        found[json.loads(path.read_text())["run"]["method"]] = path.parent / "model.safetensors"
    return found


def test_each_run_keeps_its_model(place: Path) -> None:
    kept = models(place)
    assert set(kept) == {"lamm", "simplecil"}
    model = lamm_cl.load_model(kept["lamm"])
    assert model.stages == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9)]
    assert model.method == "lamm"


def test_predicts_in_three_formats(place: Path, lamm_cl_in: Any) -> None:
    model = str(models(place)["lamm"])
    command = partial(lamm_cl_in, place)
    text = command("predict", model, "pictures").stdout.splitlines()
    assert [line.split()[0] for line in text] == ["pictures/0.png", "pictures/1.png", "pictures/2.png"]
    assert all(line.endswith("%") for line in text)
    listed = json.loads(command("predict", model, "pictures", "--format", "json", "--top", "2").stdout)
    rows = list(csv.DictReader(io.StringIO(command("predict", model, "pictures", "--format", "csv").stdout)))
    assert [row["class"] for row in rows] == [one["classes"][0]["class"] for one in listed]
    assert [float(row["probability"]) for row in rows] == [one["classes"][0]["probability"] for one in listed]
    assert [line.split()[1] for line in text] == [row["class"] for row in rows]
    assert [len(one["classes"]) for one in listed] == [2, 2, 2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent.safetensors", "pictures"], "there is no file absent.safetensors"),
        (["kept.yaml", "pictures"], "kept.yaml is damaged or no file of a saved learner"),
        (["MODEL", "absent.png"], "there is no file absent.png"),
        (["MODEL", "kept.yaml"], "is not an image that Pillow can read"),
        (["MODEL", "runs"], "holds no picture"),
        (["MODEL", "pictures", "--format", "yaml"], "unknown format 'yaml'"),
        (["MODEL", "pictures", "--top", "0"], "--top 0: at least 1"),
        (["MODEL"], "Missing argument 'IMAGES...'"),
    ],
)
def test_wrong_use(words: list[str], said: str, place: Path, lamm_cl_in: Any) -> None:
    model = str(models(place)["lamm"])
    result = lamm_cl_in(place, "predict", *(model if word == "MODEL" else word for word in words))
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_save_says_what_it_takes(place: Path, lamm_cl_in: Any) -> None:
    result = lamm_cl_in(place, "validate", "kept.yaml", "--set", "save=promts")
    assert result.returncode == 2
    assert "save" in result.stderr
    assert "prompts" in result.stderr
