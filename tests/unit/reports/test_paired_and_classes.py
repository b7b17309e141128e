"""Paired differences, accuracy per class, confusion, and what a report leaves out when asked to."""

import csv
import json

import numpy as np
import pytest
from scipy.stats import ttest_rel

from lamm_cl.errors import UsageError
from lamm_cl.reports.figures.gallery import pictures
from lamm_cl.reports.figures.heatmaps import confusion_figure, confusion_shares
from lamm_cl.reports.html import points_of
from lamm_cl.reports.output import render, write_tables
from lamm_cl.reports.report import make_report
from lamm_cl.reports.results import read_results
from lamm_cl.reports.tables.extra import class_tables, paired_table

SEEDS = {"coop": {1: 0.5, 2: 0.61, 3: 0.58}, "lamm": {1: 0.6, 2: 0.64, 3: 0.7, 4: 0.1}, "maple": {1: 0.9}}


@pytest.fixture
def runs(run):
    return [
        run({(2, name, "own"): value for name in ("set1", "set2")}, method=method, seed=seed)
        for method, values in SEEDS.items()
        for seed, value in values.items()
    ]


def test_differences_are_those_of_scipys_paired_test_on_the_seeds_of_both(frame, runs):
    table = paired_table(frame(runs), "class_incremental", "coop")
    ((label, difference, low, high, p),) = [row.cells[-5:] for row in table.rows]
    known = ttest_rel([SEEDS["lamm"][k] for k in (1, 2, 3)], [SEEDS["coop"][k] for k in (1, 2, 3)])
    assert label.text == "lamm"
    assert (difference.seeds, difference.value) == (3, pytest.approx(100 * np.mean([0.1, 0.03, 0.12])))
    assert p.value == pytest.approx(known.pvalue, rel=1e-9)
    interval = known.confidence_interval()
    assert (low.value, high.value) == pytest.approx((100 * interval.low, 100 * interval.high))


def test_an_experiment_is_compared_method_by_method(frame, run, steps):
    runs = [
        run(steps((0.1, value + 0.01 * seed**2, value)), experiment=experiment, method=method, seed=seed)
        for experiment, method, value in (("a", "coop", 0.5), ("b", "coop", 0.6), ("b", "lamm", 0.9))
        for seed in (1, 2)
    ]
    table = paired_table(frame(runs), "class_incremental", "a")
    assert [cell.text for cell in table.column("method")] == ["coop"]
    assert table.column("difference")[0].value == pytest.approx(10)
    within = paired_table(frame(runs), "class_incremental", "coop")
    assert [round(cell.value) for cell in within.column("difference")] == [30]
    assert paired_table(frame(runs), "class_incremental", "b").rows


def test_a_reference_that_is_not_there_is_refused(write, two_methods):
    with pytest.raises(UsageError, match="Did you mean 'coop'"):
        make_report(read_results(write(two_methods)), against="cop")


def test_classes_have_their_names_and_come_in_their_order(frame, run):
    rows = frame([run({(k, "set1", space): 0.5 for k in (1, 2) for space in ("own", "seen", "all")}, run_id="a")])
    rows = rows.loc[rows.index.repeat(3)].reset_index(drop=True)
    rows["metric"] = [f"class_accuracy/{k % 3}" for k in range(len(rows))]
    rows["value"] = [0.1 * (1 + k % 3) * row.stage / 2 for k, row in enumerate(rows.itertuples())]
    (table,) = class_tables(rows, {"a": ["zebra", "ant"]})
    assert [cell.text for cell in table.column("class")] == ["zebra", "ant", "class 2"] * 2
    assert [cell.text for cell in table.column("label_space")] == ["own"] * 3 + ["all"] * 3
    assert [cell.value for cell in table.column("method_lamm")] == pytest.approx([10, 20, 30] * 2)


def test_confusion_is_drawn_where_it_is_recorded(write, run, steps):
    found = {"classes": ["zebra", "ant", "owl"], "sets": {"set1": [[0, 0, 3], [0, 1, 1]], "set2": [[1, 2, 5]]}}
    shares = confusion_shares([found, found], 3)
    assert shares[:2].tolist() == [[75, 25, 0], [0, 0, 100]]
    assert np.isnan(shares[2]).all()
    home = write([run(steps((0.5, 0.5, 0.5)), seed=k) for k in (1, 2)], lambda _: {"confusion": found})
    (picture,) = [one for one in pictures(read_results(home)) if one.name.startswith("confusion")]
    figure = picture.draw()
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == found["classes"]
    assert figure.get_suptitle() == "digits, tiny, embedded, 16 shots; mean over 2 seeds (1, 2)"
    assert {(down, across, value) for *_, across, down, value in points_of(figure)} >= {("zebra", "ant", "25.00")}
    few, all_ = figure.axes[0].collections[0].norm([5, 100])
    assert all_ == 1
    assert few > 0.2, "what is confused is seen beside the diagonal"
    one = {"classes": [f"c{k}" for k in range(60)], "sets": {"set1": [[0, 1, 1]]}}
    many = confusion_figure({str(k): [one] for k in range(6)}, "")
    assert [tick.get_text() for tick in many.axes[0].get_xticklabels()] == ["0", "10", "20", "30", "40", "50"]


def test_filters_leave_the_rest_out_and_know_every_name(write, two_methods):
    results = read_results(write(two_methods))
    chosen = results.only(["lamm"], ["2", "3"], ["digits"])
    assert set(chosen.runs["method"]) == {"lamm"}
    assert set(chosen.runs["seed"]) == {2.0, 3.0}
    assert set(chosen.records) == set(chosen.runs["run_id"])
    assert make_report(chosen).problems == ()
    assert results.only() is results
    with pytest.raises(UsageError, match=r"unknown seed '4'.*1, 2, 3"):
        results.only(seeds=["4"])


def test_json_holds_every_number_and_each_table_becomes_a_file(write, two_methods, tmp_path):
    report = make_report(read_results(write(two_methods)), against="coop")
    content = json.loads(render(report, "json"))
    tables = {table["name"]: table for table in content["tables"]}
    assert list(tables) == ["class_incremental", "paired_class_incremental", "cost"]
    cell = next(row for row in tables["class_incremental"]["rows"] if row["method"] == "coop")["degradation"]
    assert (cell["mean"], cell["std"], cell["seeds"], len(cell["runs"])) == (
        pytest.approx(-20),
        pytest.approx(10),
        3,
        3,
    )
    files = list(write_tables(report, tmp_path / "tables"))
    assert [path.stem for path in files] == list(tables)
    rows = list(csv.DictReader(files[0].read_text().splitlines()))
    assert {row["method"] for row in rows} == {"coop", "lamm"}
