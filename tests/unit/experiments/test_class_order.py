"""Class orders of a config: numpy's, by the run's seed, and listed in files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lamm_cl.errors import UsageError
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import grid
from lamm_cl.streams.build import build_layout

Write = Callable[..., Path]


def protocol(order: Any) -> dict[str, Any]:
    return {"name": "class_incremental", "steps": 2, "order": order}


def test_classes_listed_in_a_file_make_the_run_not_the_file(write_config: Write, tmp_path: Path) -> None:
    order = list(reversed(range(60)))
    (tmp_path / "order.yaml").write_text(f"class_order: {order}\n")
    by_file = grid(read_config(write_config(protocol=protocol({"file": "order.yaml"}), datasets=["glyphs"])))[0]
    assert by_file.protocol_options["order"] == order
    listed = grid(read_config(write_config(protocol=protocol(order), datasets=["glyphs"])))[0]
    assert by_file.run_id == listed.run_id


def test_an_order_by_the_runs_seed_is_an_axis_of_the_grid(write_config: Write) -> None:
    config = read_config(write_config(protocol=protocol({"numpy": "seed"}), datasets=["glyphs"], seeds=[1, 2]))
    parts = [
        build_layout("class_incremental", "glyphs", 1, spec.seed, **spec.protocol_options).train[0].own
        for spec in grid(config)[:2]
    ]
    assert parts[0] != parts[1]


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"file": "nowhere.yaml"}, r"protocol.order.*nowhere.yaml cannot be read"),
        ({"numpy": True}, "protocol.order"),
        ({"nump": 1993}, "protocol.order"),
        ({"numpy": 1.5}, "protocol.order"),
    ],
)
def test_what_is_wrong_with_an_order_is_said_where_it_stands(order: Any, message: str, write_config: Write) -> None:
    with pytest.raises(UsageError, match=message) as said:
        read_config(write_config(protocol=protocol(order), datasets=["glyphs"]))
    assert "file" not in order or "errors" not in str(said.value)  # said once
