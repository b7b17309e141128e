"""Directories that are unfinished, empty, damaged or foreign: everything usable, and words for the rest."""

import json
import math
from typing import Any

import pytest

from lamm_cl.errors import UsageError
from lamm_cl.records.record import sealed
from lamm_cl.reports.figures.gallery import write_figures
from lamm_cl.reports.output import render
from lamm_cl.reports.report import make_report
from lamm_cl.reports.results import read_results
from lamm_cl.reports.tables import PROTOCOLS

HEADER = (
    "experiment,protocol,dataset,method,dialect,backbone,pretrained,shots,seed,stage,eval_set,label_space,metric,"
    "value,n,status,run_id\n"
)
LINE = "demo,class_incremental,digits,lamm,paper,tiny,,16,1,{},{},own,accuracy,{},10,done,{}\n"


def problems(path):
    return " ".join(read_results(path).problems)


def test_a_whole_directory_has_no_problem(write, two_methods):
    results = read_results(write(two_methods))
    assert results.problems == ()
    assert len(results.records) == 6
    assert PROTOCOLS["class_incremental"].table(results.frame).column("degradation")[0].value == pytest.approx(-20)


def test_records_of_several_versions_are_named(write, two_methods):
    def made_by(settings):
        new = settings["seed"] == 2
        return {"versions": {"lamm_cl": "0.2.0" if new else "0.1.0", "torch": "2.6", "python": "3.11"}}

    home = write(two_methods, made_by)
    ids = sorted(path.name for path in (home / "runs").iterdir())
    new = [name for name in ids if read_results(home).records[name]["run"]["seed"] == 2]
    [said] = read_results(home).problems
    assert said.startswith("The records are of several versions of lamm_cl, whose numbers may differ: 0.")
    assert "0.1.0 (4 runs: " in said
    assert f"0.2.0 (2 runs: {', '.join(new)})" in said
    assert all(form in render(make_report(read_results(home)), "text") for form in ("0.1.0 (4", "0.2.0 (2"))


def test_a_table_over_class_orders_says_so(write, two_methods):
    home = write(two_methods, lambda settings: {"config": {"protocol": {"order": {"numpy": "seed"}}}})
    assert "means and deviations are over class orders as well" in render(make_report(read_results(home)), "text")
    fixed = write(two_methods, lambda settings: {"config": {"protocol": {"order": {"numpy": 1993}}}})
    assert "class orders" not in render(make_report(read_results(fixed)), "text")


def test_no_such_directory(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_results(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        read_results(tmp_path / "file")


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "csv", "html"])
def test_an_empty_directory_says_so_in_every_format(tmp_path, form):
    report = make_report(read_results(tmp_path))
    assert "no results" in report.problems[0]
    assert form == "csv" or "no results" in render(report, form)


def test_records_replace_a_lost_table(write, two_methods):
    home = write(two_methods)
    whole = read_results(home)
    (home / "runs.csv").unlink()
    again = read_results(home)
    assert "runs.csv is missing" in again.problems[0]
    assert PROTOCOLS["class_incremental"].table(again.frame) == PROTOCOLS["class_incremental"].table(whole.frame)


def test_a_run_that_the_table_lacks_comes_from_its_record(write, two_methods):
    home = write(two_methods)
    table = (home / "runs.csv").read_text().splitlines(keepends=True)
    (home / "runs.csv").write_text("".join(line for line in table if "-lamm-" not in line or "-3\n" not in line))
    results = read_results(home)
    assert "lacks 1 run" in " ".join(results.problems)
    assert PROTOCOLS["class_incremental"].table(results.frame).column("set2")[1].seeds == 3


@pytest.mark.parametrize("cut", [1, 5, 12, 20, 40])
def test_a_half_written_last_line_is_not_used(tmp_path, cut):
    text = HEADER + LINE.format(1, "set1", 0.5, "aaaaaaaaaaaa") + LINE.format(2, "set1", 0.25, "aaaaaaaaaaaa")
    (tmp_path / "runs.csv").write_text(text[:-cut])
    results = read_results(tmp_path)
    assert "cut off" in " ".join(results.problems)
    assert results.frame["value"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "lacks the column(s) experiment"),
        (HEADER.replace("value,", "") + "x\n", "lacks the column(s) value"),
        (
            HEADER + "only,three,fields\n" + LINE.format(1, "set1", 0.5, "a"),
            "1 line(s) of runs.csv do not have 17 fields",
        ),
        (HEADER + LINE.format(1, "set1", "high", "a"), "a value that is no number"),
        (HEADER + LINE.format(1, "set1", 55.5, "a"), "an accuracy outside 0..1"),
        (HEADER + LINE.format(1, "set1", "inf", "a"), "a value that is no number"),
        (HEADER + LINE.format(1, "set1", 0.5, ""), "name no run"),
        (HEADER + 2 * LINE.format(1, "set1", 0.5, "a"), "given twice"),
        (HEADER + LINE.format(1, 'se"t1', 0.5, "a"), "do not have 17 fields"),
    ],
)
def test_damage_is_named_and_costs_only_its_rows(tmp_path, text, words):
    (tmp_path / "runs.csv").write_text(text)
    results = read_results(tmp_path)
    assert words in " ".join(results.problems)
    for form in ("text", "html"):
        assert render(make_report(results), form)


def test_damage_leaves_the_other_rows(tmp_path):
    text = HEADER + "garbage\n" + LINE.format(1, "set1", 0.5, "a") + "\0\0,\n" + LINE.format(2, "set1", 0.25, "a")
    (tmp_path / "runs.csv").write_bytes(text.encode() + b"\xff\xfe\n")
    results = read_results(tmp_path)
    assert results.frame["value"].tolist() == [0.5, 0.25]


def test_a_byte_order_mark_and_windows_line_ends(tmp_path):
    text = "\ufeff" + (HEADER + LINE.format(1, "set1", 0.5, "a")).replace("\n", "\r\n")
    (tmp_path / "runs.csv").write_bytes(text.encode())
    assert read_results(tmp_path).frame[["value", "run_id"]].to_numpy().tolist() == [[0.5, "a"]]


@pytest.fixture(scope="module")
def shown():
    """What reports were made of."""
    return []


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"run": 3, "rows": [1, [2]]}', '{"format": 1}', "[" * 100_000]
)
def test_a_broken_record_costs_only_itself(write, two_methods, content, shown):
    home = write(two_methods)
    place = next((home / "runs").iterdir())
    (place / "record.json").write_text(content)
    results = read_results(home)
    assert PROTOCOLS["class_incremental"].table(results.frame).column("set2")[0].seeds == 3
    assert f"1 record(s) cannot be read: {place.name}" in " ".join(results.problems)
    assert place.name not in results.records
    found = results.problems, results.frame.to_csv(), sorted(results.records)
    if found not in shown:
        shown.append(found)
        for form in ("text", "html"):
            assert render(make_report(results, "lamm-table2"), form)


@pytest.mark.parametrize("table", [True, False])
def test_a_record_in_another_runs_place_is_not_counted(write, two_methods, table):
    home = write(two_methods)
    (first, *_, last) = sorted((home / "runs").iterdir())
    (first / "record.json").write_bytes((last / "record.json").read_bytes())
    if not table:
        (home / "runs.csv").unlink()
    results = read_results(home)
    assert f"1 record(s) are another run's and are not used: {first.name}" in " ".join(results.problems)
    assert first.name not in results.records
    assert (first.name in set(results.frame["run_id"])) == table
    assert PROTOCOLS["class_incremental"].table(results.frame).column("set2")[0].seeds == (3 if table else 2)


@pytest.mark.parametrize("damage", [{"rows": []}, {"status": "odd"}, {"format": 2}, {"rows": [[1, "set1"]]}])
def test_a_record_that_would_be_run_again_is_not_counted(write, two_methods, damage):
    home = write(two_methods)
    (home / "runs.csv").unlink()
    place = sorted((home / "runs").iterdir())[0]
    content = json.loads((place / "record.json").read_text()) | damage
    (place / "record.json").write_text(json.dumps(content))
    assert f"1 record(s) cannot be read: {place.name}" in problems(home)


def test_a_failed_record_gives_no_numbers(write, two_methods):
    home = write(two_methods)
    (home / "runs.csv").unlink()
    place = sorted((home / "runs").iterdir())[0]
    content = json.loads((place / "record.json").read_text()) | {"status": "failed"}
    (place / "record.json").write_text(json.dumps(sealed(content)))
    frame = read_results(home).frame
    assert frame.loc[frame["run_id"] == place.name, "value"].isna().all()


def test_half_a_letter_reaches_no_output(write, two_methods, tmp_path):
    home = write(two_methods)
    halves = {"config": {"method": "m\ud800", "options": {"odd\udfff": "\ud800"}}, "git": {"commit": "c\ud800"}}
    for path in (home / "runs").glob("*/record.json"):
        path.write_text(json.dumps(sealed(json.loads(path.read_text()) | halves)))
    (home / "experiment.json").write_text(json.dumps({"settings": {"tiny: methods.\ud800": {}}}))
    (home / "runs" / "caf\udce9").mkdir()
    report = make_report(read_results(home), "lamm-table2")
    for form in ("text", "markdown", "latex", "csv", "html"):
        render(report, form).encode()
    assert "c\\ud800" in render(report, "text")
    assert "c\\\\ud800" in render(report, "json")
    assert write_figures(report.results, tmp_path / "figures")


def test_a_directory_whose_name_is_no_text_gives_a_title_that_is(tmp_path):
    home = tmp_path / "caf\udce9"
    home.mkdir()
    report = make_report(read_results(home))
    assert report.title == "caf\\udce9"
    for form in ("text", "html"):
        render(report, form).encode()


def test_unfinished_and_failed_runs_and_missing_seeds_are_named(write, two_methods, run, steps):
    failed = run(steps((0.5, 0.5, 0.5)), method="maple", dialect=None)
    error = {"error": {"kind": "ValueError", "message": "the loss is\nNaN", "traceback": ""}}
    home = write([*two_methods[:-1], failed], lambda settings: error if settings["method"] == "maple" else {})
    (home / "runs" / "begun").mkdir()
    report = make_report(read_results(home))
    text = " ".join(report.problems)
    assert "1 run(s) started and have no record yet: begun" in text
    assert "1 run(s) failed: class_incremental-digits-maple-None-tiny-16-1 (the loss is NaN)" in text
    assert "Not run yet: coop on digits, tiny, 16 shots, seed 3" in text
    assert report.summary[0] == "6 runs: 5 done, 1 failed."
    assert "maple" not in [cell.text for cell in report.tables[0].column("method")]


def test_missing_values_stay_missing(tmp_path):
    (tmp_path / "runs.csv").write_text(HEADER + LINE.format(1, "set1", "", "a"))
    frame = read_results(tmp_path).frame
    assert math.isnan(frame["value"][0])
    assert frame["pretrained"][0] == ""


def test_records_of_any_shape_are_shown(write, two_methods):
    home = write(two_methods)
    for path in (home / "runs").glob("*/record.json"):
        content = json.loads(path.read_text()) | {"config": ["odd"], "data": 3, "git": "none", "split": {"a": 1}}
        path.write_text(json.dumps(sealed(content)))
    assert render(make_report(read_results(home), "lamm-table2"), "html")


def test_sets_of_unknown_names_are_passed_over(tmp_path):
    text = HEADER + "".join(LINE.format(stage, name, 0.5, "a") for stage in (1, 2, 3) for name in ("x", "y", "z"))
    (tmp_path / "runs.csv").write_text(text)
    for form in ("text", "html"):
        assert render(make_report(read_results(tmp_path), "lamm-table2"), form)


def test_runs_that_nobody_began_are_named(write, two_methods, run, steps):
    home = write([*two_methods, run(steps((0.5, 0.5, 0.5)), dataset="dtd", seed=2)])
    settings = {"tiny: methods.lamm": {}, "tiny: methods.align": {}, "tiny: backbone": {}, "compute": {}}
    (home / "experiment.json").write_text(json.dumps({"settings": settings}))
    (text,) = make_report(read_results(home)).problems
    assert "align on digits, tiny, 16 shots;" in text
    assert "lamm on dtd, tiny, 16 shots, seed 1, 3" in text
    (home / "experiment.json").write_text("[1")
    assert make_report(read_results(home)).problems


def test_one_seed_of_zero_shot_is_enough(write, two_methods, run, steps):
    home = write([*two_methods, run(steps((0.5, 0.5, 0.5)), method="zero_shot", dialect=None)])
    assert make_report(read_results(home)).problems == ()


def test_words_that_pandas_takes_for_something_else_stay_words(
    run: Any, steps: Any, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamm_cl.reports.html.pictures", lambda results: [])  # dear, and of no matter here
    words = ["nan", "None", "NA", "null", "true", "no", "1e5", "007", "2026-01-02", "16.0", "-inf"]
    runs = [run(steps((0.9, 0.8, 0.7)), dataset=word, method=word, run_id=f"r{k}") for k, word in enumerate(words)]
    results = read_results(write(runs))
    assert set(results.runs["dataset"]) == set(results.runs["method"]) == set(words)
    report = make_report(results)
    table = next(table for table in report.tables if table.name == "class_incremental")
    assert {cell.text for cell in table.column("method")} == set(words)
    assert {cell.text for cell in table.column("dataset")} - {"average"} == set(words)
    for form in ("text", "markdown", "latex", "csv", "html"):
        text = render(report, form)
        assert all(word in text for word in words)


def test_data_notes_stand_below_every_table_of_their_protocol(run: Any, steps: Any, write: Any) -> None:
    def details(settings: dict[str, Any]) -> dict[str, Any]:
        return {"data": {"split": "own", "notes": [f"{settings['dataset']}: own data", "said twice"]}}

    values = steps((0.9, 0.8, 0.7))
    runs = [run(values, dataset="pets"), run({(1, "birds", "own"): 0.5}, dataset="birds", protocol="few_shot")]
    report = make_report(read_results(write(runs, details)))
    notes = {table.name: table.data_notes for table in report.tables}
    assert notes["class_incremental"] == ("pets: own data", "said twice")
    assert notes["few_shot"] == ("birds: own data", "said twice")
    for form in ("text", "markdown", "latex", "csv", "html"):
        text = render(report, form)
        assert "pets: own data" in text
        assert "birds: own data" in text


@pytest.fixture
def experiments(write, run, steps, tmp_path):
    """Makes an experiment of one method's accuracy on Set1, with settings; the same method gives the same run."""

    def make(name, accuracies, settings):
        runs = [
            run(steps((x, x, x)), experiment=name, method=method, run_id=f"{method}{x}") for method, x in accuracies
        ]
        home = write(runs)
        (home / "experiment.json").write_text(json.dumps({"experiment": name, "settings": settings}))
        return home.rename(tmp_path / f"home of {name}")

    return make


def test_experiments_with_the_same_settings_stand_in_one_table_as_one(experiments):
    settings = {"protocol": {"name": "class_incremental"}, "tiny: methods.coop": {"lr": 1}}
    first = experiments("a", [("coop", 0.5), ("zero_shot", 0.4)], settings)
    second = experiments("b", [("zero_shot", 0.4), ("lamm", 0.6)], {**settings, "tiny: methods.lamm": {"lr": 2}})
    report = make_report(read_results(first, second, first), "lamm-table2")
    assert report.title == "a, b"
    assert report.problems == ()
    compared, table, *_ = report.tables
    assert [column.key for column in table.columns][:2] == ["method", "set1_before"]
    assert [cell.text for cell in table.column("method")] == ["zero_shot", "coop", "lamm"]
    assert [cell.seeds for cell in table.column("set2")] == [1, 1, 1]  # the run that both have counts once
    assert [cell.best for cell in table.column("set2")] == [False, False, True]
    assert {cell.text for cell in compared.column("method")} == {"zero_shot", "coop", "lamm"}


def test_experiments_with_other_settings_stand_apart_in_one_table(experiments):
    first = experiments("a", [("coop", 0.5)], {"protocol": {"steps": 2}, "tiny: methods.coop": {}})
    second = experiments("b", [("coop", 0.7)], {"protocol": {"steps": None}, "tiny: methods.coop": {}})
    third = experiments("c", [("lamm", 0.6)], {})
    report = make_report(read_results(first, second, third), "lamm-table2")
    assert {cell.text for cell in report.tables[0].column("method")} == {"coop a", "coop b", "lamm c"}
    assert "since their settings differ: protocol.steps is 2 in a and None in b." in " ".join(report.problems)
    table = report.tables[1]
    rows = zip(*(table.column(key) for key in ("method", "experiment", "set2")), strict=True)
    assert [(method.text, home.text, one.best) for method, home, one in rows] == [
        ("coop", "a", False),
        ("coop", "b", True),
        ("lamm", "c", False),
    ]
    for form in ("text", "markdown", "latex", "csv"):
        assert render(report, form)
    page = render(report, "html")
    assert page.count(">CoOp (a)</text>") == page.count(">CoOp (b)</text>") == page.count(">LAMM (c)</text>") >= 2


def test_experiments_of_one_name_are_told_by_their_directories(experiments, tmp_path):
    first = experiments("a", [("coop", 0.5)], {"protocol": {"steps": 2}}).rename(tmp_path / "one")
    second = experiments("a", [("coop", 0.7)], {"protocol": {"steps": 3}})
    (second / "runs.csv").unlink()
    report = make_report(read_results(first, second))
    assert [cell.text for cell in report.tables[0].column("experiment")] == [f"a ({second})", f"a ({first})"]
    assert f"{second}: runs.csv is missing." in report.problems


def test_experiments_of_several_protocols_have_their_own_tables_and_costs(write, run, steps, tmp_path):
    homes = []
    for name, values in (("class_incremental", steps((0.5, 0.5, 0.5))), ("few_shot", {(1, "test", "own"): 0.5})):
        home = write([run(values, {"seconds": float(len(name))}, experiment=name[:3], protocol=name)])
        settings = {"protocol": {"name": name}}
        (home / "experiment.json").write_text(json.dumps({"experiment": name[:3], "settings": settings}))
        homes.append(home.rename(tmp_path / name))
    report = make_report(read_results(*homes))
    assert report.problems == ()
    assert [table.name for table in report.tables] == ["class_incremental", "few_shot", "cost"]
    assert [cell.value for cell in report.tables[2].column("seconds")] == [17, 8]
