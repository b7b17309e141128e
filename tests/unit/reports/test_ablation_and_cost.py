"""Options in columns, and what a method costs."""

import pandas as pd
import pytest

from lamm_cl.reports.report import make_report
from lamm_cl.reports.results import read_results
from lamm_cl.reports.tables.extra import cost_table


def test_options_that_differ_stand_in_columns(write, run):
    options = {
        "lamm": {"lambda_kd": 0.05, "label_init": "words", "lambda_wc": None},
        "lamm-random": {"lambda_kd": 0.05, "label_init": "random", "lambda_wc": None},
        "lamm-no-kd": {"lambda_kd": 0.0, "label_init": "words", "lambda_wc": None},
    }
    runs = [run({(1, "dtd", "own"): 0.5}, protocol="few_shot", dataset="dtd", method=label) for label in options]
    runs.append(run({(1, "dtd", "own"): 0.4}, protocol="few_shot", dataset="dtd", method="coop", dialect=None))
    home = write(
        runs,
        lambda settings: {
            "config": {
                "method": "coop" if settings["method"] == "coop" else "lamm",
                "options": options.get(settings["method"], {}),
            }
        },
    )
    _, table = make_report(read_results(home)).tables
    assert table.title.startswith("Options of lamm. ")
    assert [column.key for column in table.columns] == ["method", "lambda_kd", "label_init", "shots16"]
    rows = {row.cells[0].text: [cell.text for cell in row.cells[1:3]] for row in table.rows}
    assert rows == {"lamm": ["0.05", "words"], "lamm-no-kd": ["0", "words"], "lamm-random": ["0.05", "random"]}


def test_options_that_vary_within_a_label_are_called_so(write, run):
    runs = [
        run({(1, name, "own"): 0.5}, protocol="few_shot", dataset=name, method=label)
        for name in ("dtd", "ucf101")
        for label in ("a", "b")
    ]
    home = write(
        runs,
        lambda settings: {
            "config": {
                "method": "align",
                "options": {"lr": 1.0 if settings["dataset"] == "dtd" else 2.0, "x": settings["method"]},
            }
        },
    )
    _, table = make_report(read_results(home)).tables
    assert [column.key for column in table.columns][2:4] == ["x", "shots16"]


def test_costs_add_up_over_stages_in_time_and_not_in_memory(frame, run):
    rows = frame([run({}, {"seconds": 2.0, "peak_memory_mb": 100.0, "trained_parameters": 7.0})])
    later = rows.assign(stage=2)
    table = cost_table(pd.concat([rows, later]))
    assert table.column("seconds")[0].value == pytest.approx(4)
    assert table.column("peak_memory_mb")[0].value == pytest.approx(100)
    assert table.column("trained_parameters")[0].value == pytest.approx(7)


def test_state_is_that_of_the_end_and_speed_a_mean_over_stages(frame, run):
    first = frame([run({}, {"seconds": 2.0, "state_mb": 4.0, "kept_parameters": 9.0, "test_images_per_second": 10.0})])
    later = first.assign(stage=2, value=first["value"] / 2)  # a merged state may shrink
    table = cost_table(pd.concat([later, first]))
    assert table.column("state_mb")[0].value == pytest.approx(2)
    assert table.column("kept_parameters")[0].value == pytest.approx(4.5)
    assert table.column("test_images_per_second")[0].value == pytest.approx(7.5)
    assert [column.key for column in table.columns if column.numeric] == [
        "seconds",
        "kept_parameters",
        "state_mb",
        "test_images_per_second",
    ]


def test_no_costs_no_table(frame, two_methods):
    rows = frame(two_methods)
    assert cost_table(rows[rows["metric"] == "accuracy"]).rows == ()
