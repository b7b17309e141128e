"""What is looked at before a grid starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lamm_cl.data.items import Dataset
from lamm_cl.errors import UsageError
from lamm_cl.experiments import preflight
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import grid
from lamm_cl.experiments.preflight import _layouts, check
from lamm_cl.experiments.spec import Environment


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Shots and seed of every layout whose pictures were looked for; those of seed 2 with 4 shots are missing."""
    seen: list[tuple[Any, Any]] = []
    real = preflight.build_layout

    def recording(protocol: str, datasets: Any, shots: Any, seed: int, *rest: Any, **options: Any) -> Any:
        seen.append((shots, seed))
        assert len(seen) == 1 or all(isinstance(one, Dataset) for one in datasets)
        if (shots, seed) == (4, 2):
            raise UsageError("an image of seed 2 is missing")
        return real(protocol, datasets, shots, seed, *rest, **options)

    monkeypatch.setattr(preflight, "build_layout", recording)
    return seen


def layouts(config: Path) -> dict[str, Any]:
    return _layouts(grid(read_config(config)), Environment())


def test_every_draw_is_looked_at_once_and_the_data_are_read_once(
    looked_at: list[Any], write_config: Callable[..., Path]
) -> None:
    found = layouts(write_config(shots=[1, 2], seeds=[1, 2]))
    assert sorted(looked_at) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert len(found) == 1


def test_an_image_that_only_another_seed_draws_is_missed_before_the_grid(
    looked_at: list[Any], write_config: Callable[..., Path]
) -> None:
    with pytest.raises(UsageError, match="an image of seed 2 is missing"):
        layouts(write_config(shots=[4], seeds=[1, 2]))
    assert len(looked_at) == 2


@pytest.mark.filterwarnings("ignore:tiny has not learned the words")
def test_classes_of_one_prompt_are_refused_before_the_grid(
    write_config: Callable[..., Path], tmp_path: Path, tiny: Any
) -> None:
    for name in ("caf\u00e9", "cafe\u0301", "pen"):
        (tmp_path / "drinks" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / "drinks" / name / f"{number}.png")
    specs = grid(read_config(write_config(datasets=[{"folder": str(tmp_path / "drinks")}], shots=[1])))
    place = Environment(cache=False)
    with pytest.raises(UsageError, match=r"\('cafe\\u0301'\) and .*give the same prompt"):
        check(specs, place, "cpu")


@pytest.mark.filterwarnings("ignore:tiny has not learned the words")
def test_a_method_that_looks_at_validation_images_is_refused_before_the_grid_where_a_data_set_has_none(
    write_config: Callable[..., Path], tmp_path: Path, tiny: Any
) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "own" / split / name).mkdir(parents=True)
            for number in range(2):
                color = (number, len(name), len(split))
                Image.new("RGB", (4, 4), color).save(tmp_path / "own" / split / name / f"{number}.png")
    datasets = ["digits", {"folder": str(tmp_path / "own")}]
    tips: dict[str, Any] = {"zero_shot": {}, "tip_adapter": {}, "f": {"method": "tip_adapter_f", "best_epoch": "none"}}
    specs = grid(read_config(write_config(datasets=datasets, methods=tips, shots=[1])))
    with pytest.raises(UsageError, match=r"own: tip_adapter looks at validation .*'val' in its options") as caught:
        check(specs, Environment(cache=False), "cpu")
    assert "own: tip_adapter_f looks at" in str(caught.value)
    assert "digits" not in str(caught.value)
    none = {name: {**options, "selection": "none"} for name, options in tips.items() if name != "zero_shot"}
    specs = grid(read_config(write_config(datasets=datasets, methods=none, shots=[1])))
    check(specs, Environment(cache=False), "cpu")
