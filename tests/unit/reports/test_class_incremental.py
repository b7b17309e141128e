"""The table of Set1, Set2 and the degradation."""

import pandas as pd
import pytest

from lamm_cl.reports.results import read_results
from lamm_cl.reports.tables import PROTOCOLS, render_text
from lamm_cl.reports.tables.extra import stream_table


def test_means_deviations_and_degradation(frame, two_methods):
    table = PROTOCOLS["class_incremental"].table(frame(two_methods))
    assert [column.key for column in table.columns][:2] == ["label_space", "method"]
    assert [cell.text for cell in table.column("method")] == ["coop", "lamm", "coop", "lamm"]
    coop = table.column("set1_after")[0]
    assert (coop.value, coop.std, coop.seeds) == (pytest.approx(70.0), pytest.approx(10.0), 3)
    assert [cell.value for cell in table.column("degradation")] == pytest.approx([-20.0, 0.0, -50.0, -40.0])
    assert table.column("degradation")[1].value == 0.0
    assert table.column("degradation")[1].std == 0.0


def test_constant_settings_stand_in_the_title_and_the_best_is_marked_per_section(frame, two_methods):
    table = PROTOCOLS["class_incremental"].table(frame(two_methods))
    assert "tiny, embedded, 16 shots, digits, official dialect" in table.title
    assert [cell.best for cell in table.column("set2")] == [True, False, True, False]


def test_what_is_missing_is_a_dash_and_never_a_zero(frame, run, steps):
    half = {(1, "set1", "own"): 0.9, (1, "set2", "own"): 0.3}
    table = PROTOCOLS["class_incremental"].table(
        frame([run(half, seed=1), run(steps((0.5, 0.5, 0.5)), method="coop", seed=1)])
    )
    lamm = [table.column(key)[1] for key in ("set1_before", "set1_after", "set2", "degradation")]
    assert [cell.value for cell in lamm] == [pytest.approx(90.0), None, None, None]
    assert render_text(table).splitlines()[-4].split() == ["lamm", "90.00", "-", "-", "-"]


def test_an_average_needs_every_data_set(frame, run, steps):
    runs = [run(steps((0.9, 0.8, 0.7)), dataset=name, seed=seed) for name in ("dtd", "digits") for seed in (1, 2)]
    runs += [run(steps((0.5, 0.5, 0.5)), dataset="dtd", method="coop", seed=1)]
    table = PROTOCOLS["class_incremental"].table(frame(runs))
    rows = [(row.cells[0].text, row.cells[1].text) for row in table.rows]
    assert rows == [("dtd", "coop"), ("dtd", "lamm"), ("digits", "lamm"), ("average", "lamm")]
    assert table.rows[-1].cells[-1].value == pytest.approx(-10.0)


def test_unequal_numbers_of_seeds_are_shown(frame, run, steps):
    runs = [run(steps((0.9, 0.8, 0.7)), seed=seed) for seed in (1, 2, 3)] + [run(steps((0.5, 0.5, 0.5)), method="coop")]
    text = render_text(PROTOCOLS["class_incremental"].table(frame(runs)))
    assert "50.00 (1)" in text
    assert "Mean ± sample standard deviation over 3 seeds; fewer where a number in parentheses says so." in text


def stream(steps, loss):
    sets = range(1, steps + 1)
    return {(i, f"set{j}", "own"): 0.9 - loss * max(0, i - j) for i in sets for j in sets} | {
        (i, "total", "own"): 0.8 for i in sets
    }


def test_longer_streams(frame, run):
    table = PROTOCOLS["class_incremental"].table(frame([run(stream(4, 0.1))]))
    (row,) = table.rows
    values = {column.key: cell.value for column, cell in zip(table.columns, row.cells, strict=True) if column.numeric}
    assert values["set1_before"] == pytest.approx(90)
    assert values["set1_after"] == pytest.approx(60)
    assert values["last_set"] == pytest.approx(90)
    assert values["degradation"] == pytest.approx(-20)  # mean of -30, -20, -10
    # Incremental accuracies 90, 85, 80, 75 on 1, 2, 3, 4 hundred images.
    assert values["average_incremental_accuracy"] == pytest.approx(82.5)
    assert values["weighted_average_incremental_accuracy"] == pytest.approx(80)
    assert values["last_incremental_accuracy"] == pytest.approx(75)


def test_streams_of_different_lengths_are_not_averaged(frame, run):
    runs = [run(stream(2, 0.1), run_id="a"), run(stream(4, 0.1), run_id="b")]
    table = PROTOCOLS["class_incremental"].table(frame(runs))
    assert [cell.text for cell in table.column("setting")] == ["2 steps", "4 steps"]
    assert not any(cell.best for row in table.rows for cell in row.cells)


def test_a_longer_stream_that_has_not_ended_has_no_end(frame, run):
    begun = {place: value for place, value in stream(4, 0.1).items() if place[0] <= 2}
    table = PROTOCOLS["class_incremental"].table(frame([run(begun), run(stream(4, 0.2), method="coop")]))
    assert [cell.value for cell in table.column("degradation")] == [pytest.approx(-40), None]
    assert table.column("set1_before")[1].value == pytest.approx(90)


def test_the_same_run_twice_is_one_observation(frame, run, steps):
    runs = [run(steps((0.9, 0.8, 0.7)), run_id="a"), run(steps((0.7, 0.6, 0.5)), run_id="b")]
    cell = PROTOCOLS["class_incremental"].table(frame(runs)).column("set2")[0]
    assert (cell.value, cell.seeds, cell.run_ids) == (pytest.approx(60), 1, ("a", "b"))


def test_nothing_measured(frame, two_methods):
    table = PROTOCOLS["class_incremental"].table(frame(two_methods).iloc[:0])
    assert table.rows == ()
    assert "Set2" in render_text(table)


def test_joint_training_stands_at_the_end(write, run):
    joint = run({(1, "set1", "own"): 0.9, (1, "set2", "own"): 0.8, (0, "set1", "own"): 0.1}, method="upper")
    home = write([joint], lambda settings: {"config": {"method": "coop", "options": {"regime": "joint"}}})
    (row,) = PROTOCOLS["class_incremental"].table(read_results(home).frame).rows
    assert [cell.value for cell in row.cells[1:]] == [None, pytest.approx(90), pytest.approx(80), None]


def test_a_stream_scored_on_some_of_its_sets(frame, run):
    some = {place: value for place, value in stream(4, 0.1).items() if place[1] in ("set1", "set4")}
    (row,) = PROTOCOLS["class_incremental"].table(frame([run(some)])).rows
    values = [cell.value for cell in row.cells[1:]]
    assert values == [pytest.approx(90), pytest.approx(60), pytest.approx(90), *[None] * 4]


def test_the_runs_own_metrics_are_those_of_the_last_stage(frame, two_methods):
    rows = frame(two_methods)
    own = rows[(rows["eval_set"] == "set2") & (rows["label_space"] == "all")]
    extra = [
        own.assign(eval_set="total", metric="forgetting", value=value, stage=stage)
        for stage, value in ((1, 0.9), (2, 0.25))
    ]
    table = stream_table(pd.concat([rows, *extra]))
    assert [column.key for column in table.columns] == ["method", "forgetting"]
    assert [cell.value for cell in table.column("forgetting")] == pytest.approx([25, 25])
    assert stream_table(rows).rows == ()
