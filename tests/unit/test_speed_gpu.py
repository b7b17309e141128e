"""The tables of a CUDA card, tried on the processor and on a pretended GPU, with narrow towers of two layers."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

import lamm_cl
from benchmarks.speed import gpu
from benchmarks.speed.gpu_steps import WAYS, Case, built
from benchmarks.speed.gpu_table2 import steps_of, table2
from benchmarks.speed.gpu_timing import kernel_seconds
from benchmarks.speed.launches import GPU, small_backbone
from benchmarks.speed.pretended_gpu import pretended_gpu
from lamm_cl.methods.registry import recipe_for

TABLE2: dict[str, Any] = {
    "methods": {"zero_shot": None, "lamm": {}, "paper": {"method": "lamm", "dialect": "paper"}, "maple": {}},
    "datasets": ["eurosat"],
    "shots": 16,
    "seeds": [1, 2, 3],
}


@pytest.fixture(scope="module")
def backbone() -> lamm_cl.ClipBackbone:
    return small_backbone(2)


@pytest.mark.parametrize("method", gpu.METHODS)
def test_every_way_begins_with_the_same_loss_and_trains(method: str, backbone: lamm_cl.ClipBackbone) -> None:
    reference, engine = gpu.steps(backbone, 0, methods=[method], classes=[4])
    assert [reference.note, engine.note] == ["", ""]
    assert [reference.way, engine.way, reference.ratio] == ["reference", "engine", 1]
    assert engine.loss_difference < 1e-5
    assert engine.ratio == pytest.approx(reference.seconds_a_step / engine.seconds_a_step)
    case = built(method, 4, backbone)
    for way in (WAYS["reference"], WAYS["engine"]):
        case.restore()
        step = way(case)
        losses = [float(step()) for _ in range(4)]
        assert losses[0] != losses[3]


def test_rapf_rehearses_the_older_half_and_has_neighbours(backbone: lamm_cl.ClipBackbone) -> None:
    case = built("rapf", 20, backbone)
    x, labels = case.model.rehearse(case.x, case.labels, case.next())
    assert len(x) > len(case.x)
    assert set(labels.tolist()) > set(range(10, 20))
    terms = case.model.objective(case.model.training_output(x, case.columns), labels, case.columns)
    assert float(terms["hinge"].detach()) > 0


@pytest.mark.parametrize("method", gpu.METHODS)
def test_both_ways_work_where_devices_may_not_mix(method: str) -> None:
    with pretended_gpu():
        case = built(method, 4, small_backbone(2).to(GPU))
        for way in (WAYS["reference"], WAYS["engine"]):
            case.restore()
            assert way(case)().device == GPU


def test_a_failed_way_is_noted_and_the_table_goes_on(
    backbone: lamm_cl.ClipBackbone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(case: Case) -> Callable[[], Tensor]:
        raise RuntimeError("out of\nmemory")

    ways = {**WAYS, "broken": broken}
    rows = gpu.steps(backbone, 0, methods=["lamm", "nothing"], classes=[4], ways=ways)
    gpu.write(rows, tmp_path / "gpu.csv", gpu.machine(torch.device("cpu")), 0.0)
    table = pd.read_csv(tmp_path / "gpu.csv")
    assert list(table["way"]) == ["reference", "engine", "broken"] * 2
    assert table["note"][2] == "RuntimeError: out of memory"
    assert all("nothing" in note for note in table["note"][3:])
    assert {"card", "torch", "cuda", "date"} <= set(table)
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_nothing_begins_when_time_is_over(backbone: lamm_cl.ClipBackbone) -> None:
    rows = gpu.steps(backbone, 0, lambda: True, methods=["lamm"], classes=[4])
    assert {row.note for row in rows} == {"not measured: out of time"}


def test_table_2_is_the_sum_of_its_parts(backbone: lamm_cl.ClipBackbone) -> None:
    zero, lamm, paper, maple, total = table2(backbone, 0, config=TABLE2)
    assert [zero.steps, lamm.steps] == [0, 50 * 2 * (16 * 5 // 32)]
    assert maple.steps == 5 * 2 * (16 * 5 // 4)
    tests = 3 * 1.5 * 8100 / lamm.images_a_second_large
    assert lamm.hours_reference * 3600 == pytest.approx(3 * lamm.steps * lamm.reference_step + tests)
    assert lamm.hours_warm * 3600 == pytest.approx(3 * lamm.steps * lamm.engine_step)
    assert lamm.hours_views * 3600 == pytest.approx((3 * 50 * 160 + 8100) / lamm.images_a_second)
    assert maple.hours_views == 0
    assert maple.hours_warm * 3600 == pytest.approx(3 * maple.steps * maple.engine_step + tests)
    assert total.hours_reference == pytest.approx(sum(p.hours_reference for p in (zero, lamm, paper, maple)))
    assert total.hours_cold == pytest.approx(total.hours_warm + lamm.hours_views)  # once for all
    assert math.isnan(zero.ratio_warm)


def test_steps_of_unequal_halves() -> None:
    assert steps_of(recipe_for("lamm", "ViT-B-16"), 16, (19, 18)) == 50 * (9 + 9)


def test_parts_that_fail_are_counted(backbone: lamm_cl.ClipBackbone) -> None:
    lamm, total = table2(backbone, 0, lambda: True, {**TABLE2, "methods": {"lamm": {}}})
    assert lamm.note == "not measured: out of time"
    assert total.note == "1 parts failed"
    assert math.isnan(total.hours_cold)


def test_no_kernel_runs_on_the_processor() -> None:
    assert kernel_seconds(lambda: torch.ones(3).exp(), torch.device("cpu")) == 0
