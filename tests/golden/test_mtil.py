"""ZSCL's published accuracy matrices give the published Transfer, Avg and Last, to the printed digit."""

import csv
import json

import numpy as np
import pytest

from lamm_cl.evaluation import metrics

# Zheng et al., ICCV 2023, Table 3: plain fine-tuning, and one step of the ablation.
PRINTED = {"t3_1.npy": ("44.6", "55.9", "77.3"), "t3_6.npy": ("62.2", "72.6", "84.5")}


def test_matrices_give_the_published_values(shared):
    cases = json.loads((shared / "oracle" / "mtil_matrices.json").read_text())["cases"]
    assert set(cases) == set(PRINTED)
    for name, case in cases.items():
        a = np.array(case["matrix"])
        ours = {"transfer": metrics.transfer(a), "avg": metrics.average(a), "last": metrics.last(a)}
        assert tuple(f"{value:.1f}" for value in ours.values()) == PRINTED[name]
        assert ours == pytest.approx({key: case[key] for key in ours}, rel=1e-12)
        np.testing.assert_allclose(metrics.transfer_per_set(a), case["transfer_per"], rtol=1e-12)
        np.testing.assert_allclose(metrics.average_per_set(a), case["avg_per"], rtol=1e-12)
        np.testing.assert_allclose(a[-1], case["last_per"], rtol=1e-12)


def test_fine_tuning_is_the_row_of_the_table(shared):
    case = json.loads((shared / "oracle" / "mtil_matrices.json").read_text())["cases"]["t3_1.npy"]["matrix"]
    with (shared / "published" / "mtil.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if (row["order"], row["method"]) == ("1", "Continual-FT"))
    measured = [metrics.transfer(case), metrics.average(case), metrics.last(case)]
    assert [f"{value:.1f}" for value in measured] == [row["transfer"], row["avg"], row["last"]]


def test_the_other_definitions_of_transfer_from_the_matrices(shared):
    cases = json.loads((shared / "oracle" / "mtil_matrices.json").read_text())["cases"]
    for case in cases.values():
        a = case["matrix"]
        later = [a[i][j] for j in range(11) for i in range(j)]
        assert metrics.transfer_over_pairs(a) == pytest.approx(sum(later) / 55)
        before = [20.0 + j for j in range(11)]
        columns = [(before[j] + sum(a[i][j] for i in range(j))) / (j + 1) for j in range(11)]
        assert metrics.transfer_from_start(a, before) == pytest.approx(sum(columns) / 11)


def test_zero_shot_has_a_transfer_for_each_definition(shared):
    with (shared / "published" / "mtil.csv").open(newline="") as file:
        rows = {row["order"]: row for row in csv.DictReader(file) if row["method"] == "zero-shot"}
    # What never changes has the same row in every stage; which one is the first data set, the two numbers tell.
    mean, without_first = float(rows["1"]["avg"]), float(rows["1"]["transfer"])
    first = 11 * mean - 10 * without_first
    a = np.tile([first, *[without_first] * 10], (11, 1))
    assert f"{metrics.transfer(a):.1f}" == f"{metrics.transfer_over_pairs(a):.1f}" == "69.4"
    assert f"{metrics.transfer_from_start(a, a[0]):.1f}" == f"{metrics.average(a):.1f}" == "65.3"
    assert first == pytest.approx(24.3, abs=0.6)  # aircraft
