"""A run for which the GPU has no memory is tried once more with pieces of half the size, before it fails."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.speed.pretended_gpu import pretended_gpu
from lamm_cl.clip.image_tower import ImageTower
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import environment, grid
from lamm_cl.experiments.signals import Signals
from lamm_cl.experiments.spec import Grid
from lamm_cl.experiments.work import Outcome, Work, Worker
from lamm_cl.records import MEASURED, ExperimentDirectory, Record

MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB."
Write = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, write_config: Write, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    tower = ImageTower.__call__

    def go(room: int, on_device: int = 1) -> tuple[Outcome, Record | None, list[int]]:
        """Do a run on a GPU that has room for so many images without gradient."""
        seen: list[int] = []

        def called(self: ImageTower, images: torch.Tensor, *given: Any, **more: Any) -> Any:
            if not torch.is_grad_enabled():
                seen.append(len(images))
                if len(images) > room:
                    raise torch.OutOfMemoryError(MESSAGE)
            return tower(self, images, *given, **more)

        monkeypatch.setattr(ImageTower, "__call__", called)
        methods = {"vpt": {"epochs": 1, "prompt_depth_vision": 1}}
        few: dict[str, Any] = {"num_workers": 0, "evaluation": {"before_training": False}}
        config = read_config(write_config(methods=methods, seeds=[1], shots=1, cache=False, **few))
        spec = grid(config)[0]
        home = ExperimentDirectory(tmp_path / str(room))
        home.open("try", "0", {})
        with pretended_gpu():
            here = Grid([spec], environment(config))
            outcome = Worker(home, here, Work(), "cuda:0", Signals(), on_device=on_device).run()
        place = home.record(spec.run_id)
        return outcome, Record.from_json(json.loads(place.read_text())) if place.exists() else None, seen

    return go


def numbers(record: Record) -> list[Any]:
    return [tuple(row) for row in record.rows if row[3] not in MEASURED]


def test_it_gives_the_same_numbers(run: Callable[..., Any]) -> None:
    _, whole, seen = run(256)
    assert (whole.status, max(seen)) == ("done", 256)
    _, halves, seen = run(128)
    assert halves.status == "done"
    assert halves.details["notes"] == ["the GPU ran out of memory: it was tried once more with pieces of half the size"]
    assert seen.count(256) == 1
    assert set(seen[seen.index(256) + 1 :]) >= {128}
    assert numbers(halves) == numbers(whole)


def test_it_fails_the_second_time(run: Callable[..., Any]) -> None:
    _, record, seen = run(64)
    assert record.status == "failed"
    assert record.details["error"]["line"] == f"OutOfMemoryError: {MESSAGE}"
    assert record.details["error"]["message"] == MESSAGE
    assert [size for size in seen if size > 64] == [256, 128]


def test_beside_others_it_is_left_to_a_worker_with_more_room(run: Callable[..., Any]) -> None:
    outcome, record, _ = run(64, on_device=2)
    assert outcome == Outcome("memory", MESSAGE)
    assert record is None
