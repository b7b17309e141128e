"""Each worker keeps to its own GPU."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

import lamm_cl
from lamm_cl.clip.precision import arithmetic
from lamm_cl.experiments import calibrate, environment, run_one


@pytest.mark.parametrize(("device", "made"), [("cuda:1", [1]), ("cuda", []), ("cpu", [])])
def test_a_workers_gpu_becomes_the_current_one(device: str, made: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[Any] = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda place: current.append(place.index))
    monkeypatch.setattr(run_one, "load_clip", lambda *_, **__: MagicMock())
    monkeypatch.setattr(run_one, "FeatureStore", lambda *_, **__: None)
    spec = MagicMock(backbone="tiny", pretrained=None, precision="fp32")
    run_one.backbone_of(spec, device, MagicMock(root=Path()))
    assert current == made


@pytest.mark.parametrize(("device", "waits"), [("cuda:1", {"cuda:1"}), ("cpu", set())])
def test_what_is_timed_is_waited_for_on_its_own_gpu(
    device: str, waits: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *place: seen.update(map(str, place or ["current"])))
    calibrate._time(lambda: None, 1, device)
    assert seen == waits


@pytest.mark.parametrize(
    ("device", "made"), [("cuda:1", ["cuda:1"]), ("cuda:0", ["cuda:0"]), ("cuda", []), ("cpu", [])]
)
def test_a_stage_runs_on_its_current_gpu(device: str, made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[str] = []

    def become(place: torch.device) -> AbstractContextManager[None]:
        current.append(str(place))
        return nullcontext()

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device", become)
    with arithmetic(torch.device(device)):
        assert current == made


@pytest.mark.parametrize(("visible", "count"), [("0,2", 2), ("MIG-5c3a9b", 1)])
def test_only_visible_gpus_and_parts_of_them_are_counted(
    visible: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(environment, "_COUNT", "import os; print(len(os.environ['CUDA_VISIBLE_DEVICES'].split(',')))")
    environment.count_gpus.cache_clear()
    try:
        assert environment.count_gpus() == count
        assert environment.one_per_worker("cuda", 3) == [f"cuda:{k % count}" for k in range(3)]
    finally:
        environment.count_gpus.cache_clear()


def test_mps_and_names_of_gpus_are_refused(tiny: Any) -> None:
    for name in ("mps", "MIG-5c3a9b"):
        with pytest.raises(lamm_cl.UsageError, match=rf"unknown device '{name}'\. Choices: auto, cpu, cuda, cuda:N\."):
            environment.find_device(name)
    with pytest.raises(lamm_cl.UsageError, match="mps"):
        lamm_cl.CoOp(backbone=tiny, class_names=["one", "two"], device="mps")
