"""Imports between the rooms of the package go one way only."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "lamm_cl"

# What each room may import beside itself and the bottom (errors, files, locks, seeds, the package's own lazy names).
BELOW: dict[str, set[str]] = {}
BELOW["data"] = set()
BELOW["clip"] = set()
BELOW["prompts"] = {"clip"}
BELOW["methods"] = {"prompts", "clip"}
BELOW["records"] = set()
BELOW["streams"] = {"data", "clip"}
BELOW["evaluation"] = {"methods", "prompts", "clip"}
BELOW["strategies"] = {"evaluation", "streams", "methods", "prompts", "clip", "data"}
BELOW["experiments"] = {"strategies", "streams", "evaluation", "records", "methods", "prompts", "clip", "data"}
BELOW["reports"] = {"records", "evaluation", "streams", "methods", "data"}
BELOW["cli"] = set(BELOW) - {"cli"}
BOTTOM = {"__main__", "avalanche_home", "errors", "files", "locks", "seeds", "tensor_file", "__init__"}

# Where each third-party library that shapes a room may be imported.
OWNERS = {
    "open_clip": {"clip"},
    "avalanche": {"strategies", "streams", "evaluation", "experiments"},
    "filelock": set(),
    "psutil": {"experiments", "evaluation"},
    "typer": {"cli"},
    "matplotlib": {"reports"},
    "pandas": {"reports", "evaluation"},
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imported(path: Path) -> set[str]:
    """Return the modules that a file imports anywhere, in functions too."""
    found = set()
    package = ["lamm_cl", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{start}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(path for path in PACKAGE.rglob("*.py") if room_of(path) not in BOTTOM)


def test_every_room_has_its_place() -> None:
    assert {room_of(path) for path in FILES} == set(BELOW)
    order = list(BELOW)
    for room, below in BELOW.items():
        assert all(order.index(other) < order.index(room) for other in below), f"{room} imports upwards"


@pytest.mark.parametrize("room", sorted(BELOW))
def test_a_room_imports_only_what_is_below_it(room: str) -> None:
    wrong = []
    for path in FILES:
        if room_of(path) != room:
            continue
        for module in imported(path):
            parts = module.split(".")
            if parts[0] != "lamm_cl" or len(parts) < 2:
                continue
            other = parts[1]
            if other in BELOW and other != room and other not in BELOW[room]:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {module}")
    assert not wrong


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_a_library_is_known_to_its_room_alone(library: str) -> None:
    users = {room_of(path) for path in FILES if any(name.split(".")[0] == library for name in imported(path))}
    assert users <= OWNERS[library]


def test_the_bottom_imports_nothing_of_the_package() -> None:
    for name in ("errors.py", "locks.py", "seeds.py"):
        assert not any(module.startswith("lamm_cl") for module in imported(PACKAGE / name))


@pytest.mark.parametrize("room", sorted(BELOW))
def test_no_circle_inside_a_room(room: str) -> None:
    names = {".".join(["lamm_cl", *path.relative_to(PACKAGE).with_suffix("").parts]): path for path in FILES}
    graph = {
        name: {other for other in names if any(f"{module}.".startswith(f"{other}.") for module in imported(path))}
        for name, path in names.items()
        if room_of(path) == room
    }
    sorter = TopologicalSorter(graph)
    sorter.prepare()  # raises CycleError, which names the files
