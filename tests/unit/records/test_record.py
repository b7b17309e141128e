import errno
import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from lamm_cl import files
from lamm_cl.errors import UsageError
from lamm_cl.files import TEMPORARY, parse_json
from lamm_cl.records import COLUMNS, ExperimentDirectory, Record
from lamm_cl.records.record import DAMAGED, Entry, Progress, sealed


def make(run_id: str, seed: int = 1, shots: int = 16, status: str = "done", method: str = "lamm") -> Record:
    columns = {
        "experiment": "try", "protocol": "few_shot", "dataset": "digits", "method": method, "dialect": None,
        "backbone": "tiny", "pretrained": "", "shots": shots, "seed": seed,
    }  # fmt: skip
    rows = [(0, "digits", "own", "accuracy", 1 / 3, 899), (1, "digits", "own", "accuracy", float("nan"), None)]
    return Record(run_id, status, columns, rows if status == "done" else (), {"error": None})


@pytest.fixture
def home(tmp_path: Path) -> ExperimentDirectory:
    directory = ExperimentDirectory(tmp_path / "out")
    directory.open("try", "0.1.0", {"protocol": {"name": "few_shot"}})
    return directory


def store(home: ExperimentDirectory, *records: Record) -> bytes:
    for record in records:
        with home.claim(record.run_id) as mine:
            assert mine
            record.write(home.record(record.run_id))
        home.rebuild_table()
    return (home.path / "runs.csv").read_bytes()


def test_columns_are_the_contract() -> None:
    assert ", ".join(COLUMNS) == (
        "experiment, protocol, dataset, method, dialect, backbone, pretrained, shots, seed, stage, eval_set, "
        "label_space, metric, value, n, status, run_id"
    )


def test_full_precision_and_empty_for_missing(home: ExperimentDirectory) -> None:
    text = store(home, make("a")).decode().splitlines()
    assert text[1] == ("try,few_shot,digits,lamm,,tiny,,16,1,0,digits,own,accuracy,0.3333333333333333,899,done,a")
    assert text[2] == "try,few_shot,digits,lamm,,tiny,,16,1,1,digits,own,accuracy,,,done,a"


def test_the_same_bytes_whatever_the_order(tmp_path: Path) -> None:
    records = [make("b", 1), make("a", 10, 2), make("c", 2, 16), make("d", 1, 16, "failed", "coop")]
    tables = set()
    for number, order in enumerate(itertools.permutations(records)):
        home = ExperimentDirectory(tmp_path / str(number))
        home.open("try", "0.1.0", {})
        tables.add(store(home, *order))
    assert len(tables) == 1
    lines = tables.pop().decode().splitlines()
    assert [line.split(",")[-1] for line in lines[1:]] == ["d", "a", "a", "b", "b", "c", "c"]


def test_a_failed_run_is_one_line_without_value(home: ExperimentDirectory) -> None:
    lines = store(home, make("a", status="failed")).decode().splitlines()
    assert lines[1:] == ["try,few_shot,digits,lamm,,tiny,,16,1,,,,,,,failed,a"]


def test_a_later_success_takes_the_place_of_a_failure(home: ExperimentDirectory) -> None:
    store(home, make("a", status="failed"))
    assert not home.is_done("a")
    assert b"failed" not in store(home, make("a"))
    assert home.is_done("a")


@pytest.mark.parametrize("damage", ["", "{}", '{"format": 1, "run_id": "a", "status": "done"}', "[]"])
def test_damaged_records_are_not_done_and_not_in_the_table(home: ExperimentDirectory, damage: str) -> None:
    store(home, make("a"), make("b", 2))
    (home.run("a") / "record.json").write_text(damage)
    home.rebuild_table()
    assert not home.is_done("a")
    assert {line.rsplit(",", 1)[1] for line in (home.path / "runs.csv").read_text().splitlines()[1:]} == {"b"}
    assert [run_id for run_id in "ab" if home.is_done(run_id)] == ["b"]


def test_a_single_flipped_bit_is_damage_or_changes_nothing(home: ExperimentDirectory) -> None:
    """Every bit of a record, one after the other: what still reads as a record says what it said."""
    store(home, make("a"))
    path = home.run("a") / "record.json"
    good, read = path.read_bytes(), Record.from_json(json.loads(path.read_text()))
    assert read is not None
    kept = 0
    for place in range(len(good)):
        for bit in range(8):
            data = bytearray(good)
            data[place] ^= 1 << bit
            content = parse_json(bytes(data))
            record = Record.from_json(content) if content is not None else None
            assert record in (None, read), (place, bit)
            kept += record is not None
    assert kept < 0.05 * 8 * len(good), "only the form of white space and of numbers is free"


def test_what_a_record_notes_is_known_in_short(home: ExperimentDirectory) -> None:
    record = make("a")
    store(home, replace(record, details={**record.details, "notes": ["it began anew."]}), make("b", 2))
    assert [entry.note for name in "ab" if (entry := home.entry(name))] == ["it began anew.", ""]


def test_a_damaged_record_is_kept_aside(home: ExperimentDirectory) -> None:
    store(home, make("a"))
    (home.run("a") / "record.json").write_text("half")
    assert home.entry("a") == Entry(DAMAGED)
    with home.claim("a"):
        assert home.entry("a") is None
    assert (home.run("a") / "record.damaged.json").read_text() == "half"


@pytest.mark.parametrize("step", ["stat", "read_bytes"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES])
def test_a_read_error_of_a_moment_loses_no_run(
    home: ExperimentDirectory, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    """A record that cannot be read is not absent: it is tried again, then said, and the table stays as it was."""
    table = store(home, make("a"), make("b", 2))
    failures = [number]
    ask = getattr(Path, step)

    def shaky(self: Path, **more: object) -> object:
        if self == home.run("a") / "record.json" and failures:
            raise OSError(failures.pop(), "for a moment", str(self))
        return ask(self, **more)

    monkeypatch.setattr(files, "_PAUSES", (0, 0))
    monkeypatch.setattr(Path, step, shaky)
    again = ExperimentDirectory(home.path)
    assert again.is_done("a")
    assert failures == []
    ExperimentDirectory(home.path).rebuild_table()
    failures += [number] * 100
    with pytest.raises(OSError, match="for a moment"):
        ExperimentDirectory(home.path).is_done("a")
    with pytest.raises(OSError, match="for a moment") as caught:
        ExperimentDirectory(home.path).rebuild_table()
    assert (home.path / "runs.csv").read_bytes() == table
    place = home.run("a") / "record.json"
    assert (home.trouble(caught.value) or "").startswith(f"cannot use {place}: for a moment. What was done is kept;")


def test_half_a_letter_is_damage_not_a_crash(home: ExperimentDirectory) -> None:
    store(home, make("a"), make("b", 2))
    path = home.run("a") / "record.json"
    path.write_text(path.read_text().replace('"digits"', '"\\ud800"'))
    home.rebuild_table()
    assert not home.is_done("a")
    assert "b" in (home.path / "runs.csv").read_text()


def test_a_done_record_without_rows_is_damaged(home: ExperimentDirectory) -> None:
    store(home, make("a"), make("b", 2, status="failed"))
    for run_id in ("a", "b"):
        path = home.run(run_id) / "record.json"
        path.write_text(json.dumps(sealed(json.loads(path.read_text()) | {"rows": []})))
    home.rebuild_table()
    assert not home.is_done("a")
    assert [home.entry(name).status for name in "ab"] == [DAMAGED, "failed"]
    assert (home.path / "runs.csv").read_text().count(",a\n") == 0


def test_a_record_copied_elsewhere_does_not_count(home: ExperimentDirectory) -> None:
    store(home, make("a"))
    home.run("b").mkdir()
    (home.run("b") / "record.json").write_bytes((home.run("a") / "record.json").read_bytes())
    home.rebuild_table()
    assert not home.is_done("b")
    assert (home.path / "runs.csv").read_text().count(",a\n") == 2


def test_a_record_says_what_it_was_told(home: ExperimentDirectory) -> None:
    store(home, make("a"))
    record = Record.from_json(json.loads(home.record("a").read_text()))
    assert record is not None
    assert record.rows[0][4] == 1 / 3
    assert record.rows[1][4] is None
    content = json.loads((home.run("a") / "record.json").read_text())
    assert content["row_columns"] == ["stage", "eval_set", "label_space", "metric", "value", "n"]


def test_a_claim_is_exclusive_and_sweeps(home: ExperimentDirectory) -> None:
    home.run("a").mkdir()
    (home.run("a") / f".record.json.1-2{TEMPORARY}").write_text("half")
    with home.claim("a") as mine:
        assert mine
        with home.claim("a") as also:
            assert not also
    assert list(home.run("a").iterdir()) == []


def test_another_experiment_version_or_setting_is_refused(home: ExperimentDirectory) -> None:
    home.open("try", "0.1.0", {"methods.lamm": {"lr": 0.1}})
    home.open("try", "0.1.0", {"methods.coop": {"lr": 0.2}})
    before = (home.path / "experiment.json").read_bytes()
    with pytest.raises(UsageError, match="holds the experiment 'try', not 'other'"):
        home.open("other", "0.1.0", {})
    with pytest.raises(UsageError, match=r"made by lamm_cl 0\.1\.0, this is 0\.2\.0"):
        home.open("try", "0.2.0", {})
    with pytest.raises(UsageError, match=r"methods\.lamm\.lr was 0\.1 there and is 0\.3 here"):
        home.open("try", "0.1.0", {"methods.lamm": {"lr": 0.3}})
    assert (home.path / "experiment.json").read_bytes() == before


@pytest.mark.parametrize("inside", ["", "below/it"])
def test_no_experiment_lies_among_the_runs_of_another(home: ExperimentDirectory, inside: str) -> None:
    home.open("try", "0.1.0", {})
    with pytest.raises(UsageError, match=r"lies among the runs of .*Choose another --out"):
        ExperimentDirectory(home.path / "runs" / inside).open("other", "0.1.0", {})
    assert list((home.path / "runs").iterdir()) == []
    ExperimentDirectory(home.path / "beside").open("other", "0.1.0", {})


def test_a_foreign_table_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"has a runs\.csv but no experiment\.json"):
        ExperimentDirectory(tmp_path).open("try", "0.1.0", {})
    assert (tmp_path / "runs.csv").read_text() == "mine"


@pytest.mark.parametrize("path", ["/dev/null/out", "/proc/lamm_cl_out", "FILE", "FILE/below"])
def test_a_place_that_cannot_be_written(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write in|is a file"):
        ExperimentDirectory(path.replace("FILE", str(tmp_path / "file"))).open("try", "0.1.0", {})


def test_a_damaged_identity_is_refused(home: ExperimentDirectory) -> None:
    (home.path / "experiment.json").write_text("{")
    with pytest.raises(UsageError, match=r"experiment\.json is damaged"):
        home.open("try", "0.1.0", {})


def test_a_dangling_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"--out .*out is a link to .*nowhere, which is not there"):
        ExperimentDirectory(tmp_path / "out").open("try", "0.1.0", {})


def test_progress_is_there_while_a_run_is_claimed(home: ExperimentDirectory) -> None:
    said = Progress("here:1", 0.5, "stage 1, epoch 3")
    place = home.progress("a")
    assert Progress.read(place) is None
    with home.claim("a"):
        said.write(place)
        assert Progress.read(ExperimentDirectory(home.path).progress("a")) == said
    assert Progress.read(place) is None
    place.write_text('{"worker": "half')
    assert Progress.read(place) is None
