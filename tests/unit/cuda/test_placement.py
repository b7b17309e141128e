"""Each worker keeps to its own GPU."""

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from lamm_cl.experiments import calibrate, run_one


@pytest.mark.parametrize(("device", "made"), [("cuda:1", [1]), ("cuda", []), ("cpu", [])])
def test_a_workers_gpu_becomes_the_current_one(device: str, made: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[Any] = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda place: current.append(place.index))
    monkeypatch.setattr(run_one, "load_clip", lambda *_, **__: MagicMock())
    monkeypatch.setattr(run_one, "feature_store", lambda *_: None)
    spec = MagicMock(backbone="tiny", pretrained=None, precision="fp32")
    run_one.backbone_of(spec, device, MagicMock(root=Path()), {})
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
