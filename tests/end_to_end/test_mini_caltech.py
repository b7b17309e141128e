"""Real photographs from the config alone: lamm and coop on 2,400 images of Caltech101 in CoOp's layout."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CONFIG = """\
protocol: {protocol}
datasets: [caltech101]
methods: {{lamm: {{epochs: {epochs}}}, coop: {{epochs: {epochs}}}}}
backbone: tiny
shots: {shots}
seeds: [1]
root: {root}
"""


def lamm_cl(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "lamm_cl", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "LAMM_CL_CACHE": str(folder / "cache")},
    )


class Table:
    """The rows of a finished experiment."""

    def __init__(self, folder: Path) -> None:
        with (folder / "runs.csv").open(newline="") as file:
            self.rows = list(csv.DictReader(file))
        self.records = [json.loads(path.read_bytes()) for path in sorted(folder.glob("runs/*/record.json"))]

    def value(self, method: str, stage: int, eval_set: str, metric: str = "accuracy", space: str = "own") -> float:
        wanted = (method, str(stage), eval_set, metric, space)
        keys = ("method", "stage", "eval_set", "metric", "label_space")
        (row,) = (row for row in self.rows if tuple(row[key] for key in keys) == wanted)
        return float(row["value"])

    def images(self) -> dict[str, int]:
        return {row["eval_set"]: int(row["n"]) for row in self.rows if row["metric"] == "accuracy"}


@pytest.fixture(scope="module")
def run(shared: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("mini")  # one cache for all protocols

    def go(protocol: str, shots: int, epochs: int) -> Table:
        text = CONFIG.format(protocol=protocol, shots=shots, epochs=epochs, root=shared / "data" / "mini")
        (folder / f"{protocol}.yaml").write_text(text)
        done = lamm_cl(folder, "run", f"{protocol}.yaml", "--out", protocol, "--jobs", "1")
        assert done.returncode == 0, done.stdout + done.stderr
        return Table(folder / protocol)

    return go


@pytest.fixture(scope="module")
def base_to_novel(run) -> Table:
    table: Table = run("class_incremental", 16, 8)
    return table


def test_base_to_novel_gives_set1_and_set2(base_to_novel: Table) -> None:
    assert base_to_novel.images() == {"set1": 300, "set2": 300, "total": 600}
    assert {row["status"] for row in base_to_novel.rows} == {"done"}
    for method in ("lamm", "coop"):
        for stage in (0, 1, 2):
            for space in ("own", "all"):
                values = [base_to_novel.value(method, stage, name, space=space) for name in ("set1", "set2", "total")]
                assert all(0 <= value <= 1 for value in values)
                assert values[2] == pytest.approx((values[0] + values[1]) / 2, abs=1e-12)


def test_lamm_learns_both_sets_and_keeps_the_first_exactly(base_to_novel: Table) -> None:
    chance = 1 / 50
    learned = base_to_novel.value("lamm", 1, "set1")
    assert learned > 2 * chance
    assert base_to_novel.value("lamm", 2, "set2") > 2 * chance
    assert base_to_novel.value("lamm", 2, "set1") == learned
    assert base_to_novel.value("lamm", 2, "set1", "degradation") == 0
    drop = base_to_novel.value("coop", 2, "set1") - base_to_novel.value("coop", 1, "set1")
    assert base_to_novel.value("coop", 2, "set1", "degradation") == pytest.approx(drop, abs=1e-12)


def test_records_say_that_the_split_is_not_the_papers(base_to_novel: Table) -> None:
    assert len(base_to_novel.records) == 2
    for record in base_to_novel.records:
        assert record["data"]["split"] == "own"
        assert not record["data"]["synthetic"]
        assert len(record["data"]["fingerprint"]) == 64
        assert any("not the papers' data" in note for note in record["data"]["notes"])


def test_base_to_new_tests_both_halves(run) -> None:
    table = run("base_to_new", 2, 1)
    assert table.images() == {"base": 300, "new": 300, "total": 600}
    for method in ("lamm", "coop"):
        base, new = (table.value(method, 1, name) for name in ("base", "new"))
        expected = 2 * base * new / (base + new) if base + new else 0.0
        assert table.value(method, 1, "total", "harmonic_mean") == pytest.approx(expected, abs=1e-12)


def test_few_shot_tests_all_classes(run) -> None:
    table = run("few_shot", 2, 1)
    assert table.images()["caltech101"] == 600
    assert {record["data"]["split"] for record in table.records} == {"own"}
    for method in ("lamm", "coop"):
        assert table.value(method, 1, "caltech101") == table.value(method, 1, "caltech101", space="all")


def test_a_missing_photograph_stops_the_command_before_any_run(shared: Path, tmp_path: Path) -> None:
    source, copy = shared / "data" / "mini" / "caltech-101", tmp_path / "caltech-101"
    split = json.loads((source / "split_zhou_Caltech101.json").read_bytes())
    split["test"][5][0] = "emu/no_such_photograph.jpg"
    copy.mkdir()
    (copy / "split_zhou_Caltech101.json").write_text(json.dumps(split))
    (copy / "101_ObjectCategories").symlink_to(source / "101_ObjectCategories")
    (tmp_path / "x.yaml").write_text(CONFIG.format(protocol="few_shot", shots=1, epochs=1, root=tmp_path))
    done = lamm_cl(tmp_path, "run", "x.yaml", "--out", "out", "--jobs", "1")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "1 of the 800 images to be used are missing or empty" in done.stderr
    assert "no_such_photograph.jpg" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "out" / "runs.csv").exists()
