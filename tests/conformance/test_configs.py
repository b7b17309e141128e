"""Every file in configs/ is right, says what it reproduces, and can be run in small anywhere."""

import re
import shlex
from pathlib import Path

import pytest

from lamm_cl.data.catalogue import find
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import grid
from lamm_cl.experiments.spec import RunSpec

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
HEADER = ("paper", "table", "command", "run time", "score")
OF_A_PAPER = (*HEADER, "copied", "unknown", "precision")
PAPERS = [path for path in CONFIGS if path.parent.name in ("lamm", "maple", "align", "promptsrc")]
every_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))


def header(path: Path) -> dict[str, str]:
    """Return what the comment at the top says, by key; continued lines are joined."""
    entries: dict[str, str] = {}
    key = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        named = re.match(r"# ([a-z ]+):\s+(.*)", line)
        if named and named[1] in OF_A_PAPER:
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
    assert tuple(said) == (OF_A_PAPER if path in PAPERS else HEADER)
    assert all(said.values())


def estimate(run: RunSpec) -> float:
    """Return the seconds of a run as configs/README.md estimates them."""
    classes = find(run.datasets[0]).classes
    base, new = classes - classes // 2, classes // 2
    stages = {"class_incremental": (base, new), "base_to_new": (base,)}.get(run.protocol, (classes,))
    chosen, shots = run.options, int(run.shots)
    prompts = chosen.get("n_prompts", 1)
    if run.method.endswith("+lamm") and chosen["dialect"] == "official" and chosen["lambda_kd"]:
        prompts = 2
    steps = [chosen["epochs"] * max(1, shots * one // chosen["batch_size"]) for one in stages]
    trained = sum(prompts * one * count for one, count in zip(stages, steps, strict=True))
    return 400 + (0 if run.method == "zero_shot" else 0.64e-3 * trained)


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_its_run_time_is_the_estimate(path: Path) -> None:
    runs = grid(read_config(path))
    days = sum(map(estimate, runs)) / 86400
    assert header(path)["run time"].startswith(
        f"{len(runs)} runs, about {days:.0f} days on one A100, by the estimate of"
    )


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_its_backbone_can_say_the_precision_of_the_published_runs(path: Path) -> None:
    said = "precision: pure_fp16"
    assert f"`{said}`" in header(path)["precision"]
    config = read_config(path, [f"backbone={{name: ViT-B-16-quickgelu, pretrained: openai, {said}}}"])
    assert {run.precision for run in grid(config)} == {"pure_fp16"}


def test_the_constants_of_the_estimate_are_what_maples_documentation_gives() -> None:
    # The base classes of the ten data sets other than ImageNet; 16 shots in batches of 4, 5 epochs: 20 steps a class.
    classes = [50, 19, 98, 51, 51, 50, 199, 24, 5, 51]
    assert pytest.approx(3600, rel=0.01) == 400 + 0.64e-3 * 20 * 500 * 500
    assert 3 * sum(400 + 0.64e-3 * 20 * one * one for one in classes) == pytest.approx(4 * 3600, rel=0.01)
    text = (ROOT / "configs" / "README.md").read_text()
    assert "400 seconds a run, and 0.64 milliseconds for each prompt" in text


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
