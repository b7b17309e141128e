"""What runs would cost where their data are not there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lamm_cl.data.catalogue import CATALOGUE
from lamm_cl.errors import UsageError
from lamm_cl.experiments.calibrate import _between, _Speed, measure
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import environment, grid
from lamm_cl.experiments.rehearsal import StandIn, layout_without_data

Write = Callable[..., Path]


def layouts(path: Path) -> list[Any]:
    config = read_config(path)
    return [layout_without_data(spec, environment(config)) for spec in grid(config)]


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if not entry.embedded and entry.sizes[0]])
def test_every_data_set_that_is_trained_on_has_its_numbers_without_being_there(
    name: str, write_config: Write, tmp_path: Path
) -> None:
    path = write_config(datasets=[name], methods=["zero_shot"], seeds=[1], shots=4, root=str(tmp_path / "data"))
    [layout] = layouts(path)
    entry = CATALOGUE[name]
    assert len(layout.class_names) == entry.classes
    assert len(layout.train[0].samples) == 4 * entry.classes
    assert len(layout.test[0].samples) == entry.sizes[2]


@pytest.mark.parametrize(
    ("protocol", "datasets", "stages", "tests"),
    [
        ({"name": "class_incremental", "steps": 5, "order": "shuffled"}, ["dtd"], 5, 1692),
        ("multi_domain", ["dtd", "oxford_pets", "digits"], 3, 1692 + 3669 + 899),
        ("cross_dataset", ["caltech101", "dtd"], 1, 2465 + 1692),
        ("domain_generalization", ["imagenet"], 1, 50_000 + 10_000 + 50_889 + 7500 + 30_000),
    ],
)
def test_every_protocol_is_laid_out_without_data(
    protocol: Any, datasets: list[str], stages: int, tests: int, write_config: Write, tmp_path: Path
) -> None:
    path = write_config(protocol=protocol, datasets=datasets, methods=["zero_shot"], seeds=[1], root=str(tmp_path))
    [layout] = layouts(path)
    assert len(layout.train) == stages
    assert sum(len(part.samples) for part in layout.test) == tests


def test_a_list_that_is_there_tells_the_numbers(shared: Path, write_config: Write, tmp_path: Path) -> None:
    split = json.loads((shared / "data" / "coop_splits" / "eurosat" / CATALOGUE["eurosat"].split_file).read_bytes())
    split["test"] = split["test"][::4]
    (tmp_path / "eurosat").mkdir()
    (tmp_path / "eurosat" / CATALOGUE["eurosat"].split_file).write_text(json.dumps(split))
    [layout] = layouts(write_config(datasets=["eurosat"], methods=["zero_shot"], seeds=[1], root=str(tmp_path)))
    assert len(layout.test[0].samples) == 2025
    assert layout.datasets[0].open(layout.test[0].samples[0].item).size == (500, 375)


def test_pictures_of_ones_own_are_counted_and_read_where_they_are(write_config: Write, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (9, 7), (number, len(name), 0)).save(tmp_path / "own" / name / f"{number}.png")
    path = write_config(datasets=[{"folder": "own"}], methods=["zero_shot"], seeds=[1], shots=2)
    [layout] = layouts(path)
    assert not isinstance(layout.datasets[0], StandIn)
    assert layout.datasets[0].open(layout.train[0].samples[0].item).size == (9, 7)
    with pytest.raises(UsageError, match="gone"):
        layouts(write_config(datasets=[{"folder": "gone"}]))


@pytest.mark.filterwarnings("ignore:tiny has not learned the words")
def test_the_cost_grows_with_what_the_data_sets_hold(write_config: Write, tmp_path: Path, tiny: Any) -> None:
    config = read_config(
        write_config(
            datasets=["dtd", "oxford_pets"], methods=["zero_shot", "vpt"], seeds=[1], shots=1, root=str(tmp_path)
        )
    )
    zero, vpt, more, pets = measure(grid(config), environment(config), "cpu")
    assert list(zero.views.values()) == [1692, 0]
    assert list(more.views.values()) == [3669, 0]
    assert zero.seconds_a_view > 0.001, "a photograph is decoded"
    assert vpt.views == {}
    assert vpt.seconds > 2 * 1692 * 0.001, "each evaluation reads all pictures"
    assert pets.seconds > 2 * 3669 * 0.001


def test_other_numbers_of_classes_lie_on_a_line() -> None:
    timed = {10: _Speed(1.0, 0.1, False), 20: _Speed(9.0, 9.0, False), 110: _Speed(3.0, 0.1, False)}
    assert _between(timed, 60) == _Speed(2.0, 0.1, False)
