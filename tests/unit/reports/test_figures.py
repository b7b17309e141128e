"""Figures: what is drawn, that series stay apart without colour, and that files are whole and repeatable."""

import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lamm_cl.methods.registry import METHODS
from lamm_cl.reports.figures import (
    ablation_dots,
    accuracy_against_cost,
    accuracy_matrix,
    accuracy_over_steps,
    few_shot_curves,
    own_against_joint,
    render,
    save,
)
from lamm_cl.reports.figures.charts import TOGETHER, described, over_stages, point
from lamm_cl.reports.figures.gallery import pictures, write_figures
from lamm_cl.reports.figures.style import COLOURS, fitted, series
from lamm_cl.reports.results import read_results
from lamm_cl.reports.tables import PROTOCOLS
from lamm_cl.reports.tables.collect import tidy


@pytest.fixture
def shots(frame, run) -> pd.DataFrame:
    return frame(
        [
            run(
                {(1, name, "own"): 0.4 + 0.02 * k}, protocol="few_shot", dataset=name, shots=k, seed=seed, method=method
            )
            for name in ("dtd", "digits")
            for k in (1, 4, 16)
            for seed in (1, 2)
            for method in ("lamm", "coop", "mine_$x^2_$")
        ]
    )


def texts(figure):
    root = ET.fromstring(render(figure, "svg"))
    return [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_few_shot_has_a_panel_per_data_set_and_one_for_the_average(shots):
    figure = few_shot_curves(shots)
    assert [axes.get_title() for axes in figure.axes] == ["average", "dtd", "digits"]
    assert {line.get_label() for line in figure.axes[0].containers} == {"CoOp", "LAMM", "mine_$x^2_$"}
    found = texts(figure)
    assert "accuracy [%]" in found
    assert "mine_$x^2_$" in found  # a dollar sign in a name is no mathematics


def test_the_matrix_is_the_mean_over_seeds_and_missing_is_not_zero(frame, two_methods):
    own, _, _ = accuracy_matrix(frame(two_methods)).axes
    (a,) = [mesh.get_array().filled(np.nan) for mesh in own.collections if mesh.get_label() == "CoOp"]
    assert own.get_ylabel().startswith("own")
    assert a[:, 0] == pytest.approx([90, 70])
    assert np.isnan(a[0, 1])
    found = texts(accuracy_matrix(frame(two_methods)))
    assert "70.0" in found
    assert "0.0" not in found


def test_steps_take_the_sets_met_so_far(frame, two_methods):
    rows = over_stages(frame(two_methods))
    lamm = rows[(rows["method"] == "lamm") & (rows["label_space"] == "all")].groupby("stage")["value"].mean()
    assert lamm.tolist() == pytest.approx([0.9, 0.6])


def test_steps_prefer_what_the_run_itself_counted(frame, two_methods):
    rows = frame(two_methods)
    own = rows.iloc[[0]].assign(metric="incremental_accuracy", eval_set="total", value=0.123)
    found = over_stages(pd.concat([rows, own]))
    assert found[found["run_id"] == own["run_id"].iloc[0]]["value"].tolist() == [0.123]


def many(run, steps, count=16, shots=(16,)):
    names = [*list(METHODS)[:8], *(f"mine{k}" for k in range(count - 8))]
    values = [steps((0.9, 0.8 - 0.01 * k, 0.8), (0.9, 0.4, 0.75)) for k in range(count)]
    costs = [{"seconds": 1.0 + k, "trained_parameters": 10.0**k, "peak_memory_mb": 900.0 + k} for k in range(count)]
    return [
        run(values[k], costs[k], method=name, shots=n, seed=seed)
        for k, name in enumerate(names)
        for n in shots
        for seed in (1, 2)
    ]


def test_one_figure_a_setting_and_its_title_names_what_was_averaged(write, run, steps):
    runs = [
        run(steps((0.9, 0.8, 0.8)), dataset=name, shots=n, seed=seed)
        for name in ("digits", "glyphs")
        for n in (1, 16)
        for seed in (1, 2)
    ]
    shown = {picture.name: picture for picture in pictures(read_results(write(runs)))}
    assert {"steps_class_incremental_1_shot", "steps_class_incremental_16_shots"} <= set(shown)
    title = "tiny, embedded, 16 shots; mean over 2 data sets (digits, glyphs) and 2 seeds (1, 2)"
    for name in ("steps", "label_spaces"):
        assert shown[f"{name}_class_incremental_16_shots"].draw().get_suptitle() == title
    assert shown["steps_class_incremental_1_shot"].title == "Accuracy over steps (class_incremental), 1 shot"


def test_rows_of_several_settings_are_named_as_a_mean(frame, run, steps):
    rows = frame([run(steps((0.9, 0.8, 0.8)), shots=n) for n in (1, 16)])
    assert "mean over 2 numbers of shots (1, 16)" in accuracy_over_steps(rows).get_suptitle()
    assert described(tidy(rows), ["shots"]) == "digits, tiny, embedded, seed 1"


def test_many_methods_get_a_panel_or_a_line_each(frame, run, steps):
    rows = frame(many(run, steps))
    figure = accuracy_over_steps(rows)
    assert len(figure.axes) == 16
    assert {line.get_label() for line in figure.axes[0].containers} == {"own label space", "all label space"}
    for draw in (own_against_joint, accuracy_against_cost, accuracy_matrix):
        assert {"mine7", "CoOp"} <= set(texts(draw(rows)))


def test_label_spaces_that_are_equal_by_definition_are_drawn_once(frame, run):
    values = {(2, name, space): 0.5 for name in ("set1", "set2") for space in ("own", "seen", "all")}
    found = texts(own_against_joint(frame([run(values)])))
    assert {"own label space", "all label space"} <= set(found)
    assert "seen label space" not in found


def test_costs_leave_out_zero_shot_and_the_process(frame, run, steps):
    runs = [
        run(steps((0.9, 0.9, 0.9)), {"seconds": 1e-4, "peak_memory_mb": 900.0}, method="zero_shot"),
        run(steps((0.9, 0.9, 0.9)), {"seconds": 50.0, "peak_memory_mb": 950.0}, method="coop"),
        run(steps((0.9, 0.9, 0.9)), {"seconds": 60.0, "peak_memory_mb": 980.0}),
    ]
    seconds, memory = accuracy_against_cost(frame(runs)).axes
    assert seconds.get_xlim()[0] > 40
    assert memory.get_xlim()[1] < 100
    assert memory.get_xlabel() == "Peak\nmemory above 900 [MB]"


def test_methods_of_a_row_share_its_axes(frame, run, steps):
    """Sixteen methods in two label spaces: a pair of axes a method would take ten times as long to draw."""
    *axes, _ = accuracy_matrix(frame(many(run, steps))).axes
    meshes = [mesh for axis in axes for mesh in axis.collections]
    assert len(axes) == 6
    assert len({mesh.get_label() for mesh in meshes}) == len(meshes) / 2 > 12


def test_stages_are_named_by_their_data_set(frame, run):
    names = ("digits", "glyphs")
    values = {(k, name, "all"): 0.5 + 0.1 * k for k in (1, 2) for name in names}
    rows = frame([run(values, protocol="multi_domain", dataset="digits+glyphs")])
    ticks = [
        [tick.get_text() for tick in draw(rows).axes[0].get_xticklabels()]
        for draw in (accuracy_over_steps, accuracy_matrix)
    ]
    assert ticks == [list(names), list(names)]
    assert [tick.get_text() for tick in accuracy_matrix(rows).axes[0].get_yticklabels()] == list(names)


def test_matrix_colours_run_over_what_occurs(frame, two_methods):
    bar = accuracy_matrix(frame(two_methods)).axes[-1]
    assert bar.get_ylim() == pytest.approx((40, 95))


@pytest.mark.parametrize(("width", "inches"), [("column", 3.3), ("page", 6.9)])
def test_figures_fit_a_column_or_a_page(frame, run, steps, width, inches):
    with fitted(width):
        for draw in (accuracy_over_steps, own_against_joint, accuracy_against_cost, accuracy_matrix):
            assert draw(frame(many(run, steps))).get_figwidth() == inches


def test_own_against_joint_and_steps_and_cost_draw_every_method(frame, two_methods):
    rows = frame(two_methods)
    for figure in (own_against_joint(rows), accuracy_over_steps(rows), accuracy_against_cost(rows)):
        assert {"CoOp", "LAMM"} <= set(texts(figure))
    assert {"own label space", "all label space"} <= set(texts(own_against_joint(rows)))


def test_ablation_dots_are_named(shots):
    figure = ablation_dots(shots, {"lamm": "all terms", "coop": "none"})
    assert {"all terms", "none", "1 shot", "16 shots"} <= set(texts(figure))


def test_the_headline_of_a_stream_is_the_mean_over_its_sets_at_the_end(frame, two_methods, run):
    rows = PROTOCOLS["class_incremental"].accuracy(frame(two_methods))
    lamm = rows[(rows["method"] == "lamm") & (rows["label_space"] == "all")]
    assert lamm["accuracy"].tolist() == pytest.approx([0.6] * 3)
    begun = PROTOCOLS["class_incremental"].accuracy(frame([run({(1, "set1", "own"): 0.9, (1, "set2", "own"): 0.9})]))
    assert begun["accuracy"].isna().all()


def test_one_seed_has_no_interval():
    assert np.isnan(point([0.5]).low)
    assert point([]) is None
    assert point([0.5, 0.6]).low < 50


@pytest.mark.parametrize("draw", [accuracy_matrix, few_shot_curves, accuracy_over_steps, own_against_joint])
def test_nothing_to_draw_is_said(draw, frame, two_methods):
    assert any("measured yet" in text for text in texts(draw(frame(two_methods).iloc[:0])))


def test_series_differ_without_colour():
    first = [series(k) for k in range(len(COLOURS))]
    assert len({look["marker"] for look in first}) == len({look["color"] for look in first}) == len(COLOURS)
    assert len(COLOURS) >= TOGETHER


def test_neighbouring_colours_differ_in_grey():
    grey = [np.dot([int(c[k : k + 2], 16) for k in (1, 3, 5)], [0.299, 0.587, 0.114]) for c in COLOURS[:5]]
    assert min(abs(a - b) for a, b in pairwise(grey)) > 5


def test_files_come_as_svg_and_png_and_repeat_to_the_byte(tmp_path, shots):
    paths = save(few_shot_curves(shots), tmp_path / "new" / "curves")
    assert sorted(path.name for path in paths) == ["curves.pdf", "curves.png", "curves.svg"]
    assert paths[2].read_bytes().startswith(b"%PDF")
    ET.fromstring(paths[0].read_bytes())
    with Image.open(paths[1]) as image:
        assert image.size[0] > 400
    again = save(few_shot_curves(shots), tmp_path / "again.svg")
    assert again[0].read_bytes() == paths[0].read_bytes()
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == [
        "again.svg",
        "curves.pdf",
        "curves.png",
        "curves.svg",
    ]


def test_the_gallery_has_what_the_results_have(write, two_methods, tmp_path):
    results = read_results(write(two_methods))
    names = [picture.name for picture in pictures(results)]
    assert names == [
        "steps_class_incremental",
        "label_spaces_class_incremental",
        "matrix_class_incremental_digits",
        "cost_class_incremental",
    ]
    files = [path.name for path in write_figures(results, tmp_path / "figures")]
    assert len(files) == 3 * len(names)
