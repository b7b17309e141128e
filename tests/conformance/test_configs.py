"""Every file in configs/ is right, says what it reproduces, and can be run in small anywhere."""

import re
import shlex
from pathlib import Path

import pytest

from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import grid

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
HEADER = ("paper", "table", "command", "run time", "score")
every_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))


def header(path: Path) -> dict[str, str]:
    """Return what the comment at the top says, by key; continued lines are joined."""
    entries: dict[str, str] = {}
    key = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        named = re.match(r"# ([a-z ]+):\s+(.*)", line)
        if named and named[1] in HEADER:
            key = named[1]
            entries[key] = named[2]
        elif key:
            entries[key] += "\n" + line[1:].strip()
    return entries


def test_there_are_configs() -> None:
    assert CONFIGS


@every_config
def test_it_expands_to_runs(path: Path) -> None:
    config = read_config(path)
    runs = grid(config)
    assert 0 < len(runs) <= config.max_runs


@every_config
def test_it_says_what_it_reproduces_and_at_what_cost(path: Path) -> None:
    said = header(path)
    assert list(said) == list(HEADER)
    assert all(said.values())


@every_config
def test_its_command_is_right(path: Path) -> None:
    for line in header(path)["command"].splitlines():
        words = shlex.split(re.sub(r"\s+\(.*\)$", "", line))
        assert words[0] == "lamm-cl"
        if words[1] == "run":
            assert words[2] == str(path.relative_to(ROOT))
            sets = [words[index + 1] for index, word in enumerate(words) if word == "--set"]
            assert grid(read_config(path, sets))


@every_config
def test_it_names_no_place_of_one_machine(path: Path) -> None:
    config = read_config(path)
    assert config.root is None
    assert config.cache is None


def test_experiments_have_different_names() -> None:
    names = [read_config(path).experiment for path in CONFIGS]
    assert len(set(names)) == len(names)


def test_the_quickstart_in_the_package_is_the_one_in_configs() -> None:
    packaged = ROOT / "lamm_cl" / "experiments" / "quickstart.yaml"
    assert packaged.read_bytes() == (ROOT / "configs" / "quickstart.yaml").read_bytes()
