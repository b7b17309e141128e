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
