"""`lamm-cl report`, as a user types it."""

import csv
import io
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lamm_cl.records import ExperimentDirectory
from lamm_cl.records.record import DONE, Record

SPLITS = {"data": {"split": "embedded"}}


def write_run(home: Path, method: str, seed: int, accuracies: tuple[float, float, float], **settings: object) -> None:
    columns = {
        "experiment": "demo",
        "protocol": "class_incremental",
        "dataset": "digits",
        "method": method,
        "dialect": "official" if method == "lamm" else None,
        "backbone": "tiny",
        "pretrained": None,
        "shots": 16,
        "seed": seed,
    } | settings
    places = ((1, "set1"), (2, "set1"), (2, "set2"))
    rows = [
        (stage, name, "own", "accuracy", value, 100) for (stage, name), value in zip(places, accuracies, strict=True)
    ]
    run_id = "-".join(str(columns[key]) for key in ("method", "dataset", "seed"))
    (home / "runs" / run_id).mkdir(parents=True)
    details = {"config": {"method": method, "options": {}}, **SPLITS}
    Record(run_id, DONE, columns, rows, details).write(home / "runs" / run_id / "record.json")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "results"
    for seed in (1, 2, 3):
        write_run(home, "lamm", seed, (0.9, 0.9, 0.8 + 0.01 * seed))
        write_run(home, "coop", seed, (0.9, 0.7, 0.9))
    ExperimentDirectory(home).rebuild_table()
    return home


@pytest.fixture
def report(tmp_path: Path, lamm_cl_in: Any) -> Any:
    return partial(lamm_cl_in, tmp_path, "report")


def test_text_is_the_papers_table(home: Path, report: Any) -> None:
    done = report(home)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["coop", "90.00", "±", "0.00", "70.00", "±", "0.00", "90.00", "±", "0.00", "-20.00", "±", "0.00"] in rows
    assert ["lamm", "90.00", "±", "0.00", "90.00", "±", "0.00", "82.00", "±", "1.00", "0.00", "±", "0.00"] in rows


def test_files_in_every_format(home: Path, report: Any, tmp_path: Path) -> None:
    marks = {
        "text": "lamm",
        "markdown": "| lamm |",
        "latex": r"\toprule",
        "csv": "table,method",
        "html": "<!DOCTYPE html>",
        "json": '"class_incremental"',
    }
    for form, mark in marks.items():
        path = tmp_path / "new" / f"report.{form}"
        done = report(home, "--format", form, "--out", path)
        assert (done.returncode, done.stdout.strip()) == (0, str(path))
        assert mark in path.read_text()
    assert sorted(path.suffix for path in (tmp_path / "new").iterdir()) == sorted(f".{form}" for form in marks)


def test_a_file_whose_name_is_no_text(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")
    words = [sys.executable, "-m", "lamm_cl", "report", str(home), "--out", str(tmp_path / "caf\udce9.txt")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/caf\\udce9.txt\n")
    assert (tmp_path / "caf\udce9.txt").read_text().startswith("demo")


def test_csv_is_one_table_that_parses(home: Path, report: Any) -> None:
    done = report(home, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["method"] for row in rows] == ["coop", "lamm"]
    assert float(rows[0]["degradation"]) == -20.0


def test_compare_says_why_not(home: Path, report: Any) -> None:
    done = report(home, "--compare", "lamm-table2")
    assert done.returncode == 0
    assert "not compared: data set digits is not in the published table" in done.stdout
    write_run(home, "lamm", 1, (0.8, 0.8, 0.7), dataset="dtd")
    ExperimentDirectory(home).rebuild_table()
    text = report(home, "--compare", "lamm-table2").stdout
    assert "not compared: other backbone: tiny, published with ViT-B-16-quickgelu" in text
    assert "83.30" in text


def test_what_is_missing_is_said_and_the_rest_shown(home: Path, report: Any) -> None:
    (home / "runs" / "lamm-digits-1" / "record.json").write_text("{")
    with (home / "runs.csv").open("a") as file:
        file.write("demo,class_incr")
    done = report(home)
    assert done.returncode == 0
    assert "What is missing:" in done.stdout
    assert "1 record(s) cannot be read: lamm-digits-1" in done.stdout
    assert "The last line of runs.csv is cut off" in done.stdout
    assert "90.00 ± 0.00" in done.stdout
    assert "cut off" in report(home, "--format", "csv").stderr


def test_figures(home: Path, report: Any, tmp_path: Path) -> None:
    done = report(home, "--figures", tmp_path / "figures", "--width", "column")
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert done.returncode == 0
    assert {f"matrix_class_incremental_digits.{kind}" for kind in ("svg", "png", "pdf")} <= names
    assert 'width="237.6pt"' in (tmp_path / "figures" / "matrix_class_incremental_digits.svg").read_text()


def test_paired_differences_filters_and_tables_as_files(home: Path, report: Any, tmp_path: Path) -> None:
    done = report(
        home, "--against", "coop", "--seeds", "1,2", "--methods", "coop,lamm", "--tables", tmp_path / "tables"
    )
    assert done.returncode == 0
    assert "Paired differences to coop" in done.stdout
    assert "One seed" not in done.stdout
    names = sorted(path.name for path in (tmp_path / "tables").iterdir())
    assert names == ["class_incremental.csv", "paired_class_incremental.csv"]
    rows = list(csv.DictReader((tmp_path / "tables" / "paired_class_incremental.csv").read_text().splitlines()))
    assert [(row["method"], row["difference_seeds"]) for row in rows] == [("lamm", "2")]


def test_the_readmes_python_runs(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    home.rename(tmp_path / "runs" / "my_experiment")
    monkeypatch.chdir(tmp_path)
    readme = Path(__file__).parents[2] / "lamm_cl" / "reports" / "README.md"
    (block,) = re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)
    exec(compile(block, str(readme), "exec"), {})
    assert {"matrix.svg", "matrix.png"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "absent does not exist"),
        (["{home}/runs.csv"], "is a file"),
        (["{home}", "--format", "htm"], "Did you mean 'html'"),
        (["{home}", "--width", "colum"], "Did you mean 'column'"),
        (["{home}", "--methods", "lam"], "Did you mean 'lamm'"),
        (["{home}", "--against", "cop"], "Did you mean 'coop'"),
        (["{home}", "--tables", "{home}/runs"], "belongs to the results"),
        (["{home}", "--compare", "lamm2"], "Did you mean 'lamm-table2'"),
        (["{home}", "--out", "{home}"], "is a directory"),
        (["{home}", "--out", "{home}/runs.csv/x"], "cannot write"),
        (["{home}", "--figures", "{home}/runs.csv"], "is a file"),
        (["{home}", "--format", "csv", "--out", "{home}/runs.csv"], "belongs to the results"),
        (["{home}", "--figures", "{home}/runs/figures"], "belongs to the results"),
        ([], "Missing argument 'DIR'"),
    ],
)
def test_wrong_use_is_one_message_and_exit_code_2(home: Path, report: Any, arguments: list[str], message: str) -> None:
    before = sorted(home.rglob("*"))
    done = report(*(argument.format(home=home) for argument in arguments))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(home.rglob("*")) == before


def test_a_reader_that_has_seen_enough_is_no_error(home: Path) -> None:
    command = f"{sys.executable} -m lamm_cl report {home} | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "demo\n", "")
