"""A method that a user adds in one file passes the conformance tests of the methods that came with the package."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lamm_cl.methods.registry import METHODS

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "benchmarks" / "examples" / "kgcoop.py"


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def kgcoop() -> Iterator[str]:
    module(EXAMPLE)
    yield "kgcoop"
    METHODS.pop("kgcoop")


CONFORMANCE = module(HERE / "test_methods.py")
CHECKS = [
    "test_logits_have_a_column_a_class",
    "test_trains_and_improves",
    "test_initialisation_depends_on_the_seed_alone",
    "test_grows_and_freezes",
    "test_features_replace_images_where_the_tower_is_frozen",
    "test_label_space_restricts_the_loss",
]


@pytest.mark.parametrize("form", ["kgcoop", "kgcoop+lamm"])
@pytest.mark.parametrize("check", CHECKS)
def test_passes_conformance(check: str, form: str, kgcoop: str, tiny: Any) -> None:
    getattr(CONFORMANCE, check)(form, tiny)


def test_saves_and_loads(kgcoop: str, tiny: Any, tmp_path: Path) -> None:
    CONFORMANCE.test_saves_and_loads_bitwise(kgcoop, tiny, tmp_path)


def test_is_a_file_of_under_forty_lines() -> None:
    code = EXAMPLE.read_text().split('if __name__ == "__main__"')[0]
    assert sum(1 for line in code.splitlines() if line.strip()) < 40
