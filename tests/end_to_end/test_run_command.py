"""`lamm-cl` as a user types it: what it says, what it returns, what it leaves."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LIGHT = ("torch", "avalanche", "open_clip", "pandas", "matplotlib", "sklearn", "submitit")


@pytest.fixture
def lamm_cl(tmp_path: Path, lamm_cl_in: Any) -> Any:
    return partial(lamm_cl_in, tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rum"], "No such command 'rum'. Did you mean 'run'?"),
        (["run"], "Missing argument 'CONFIG.yaml'"),
        (["run", "absent.yaml"], "there is no config file absent.yaml"),
        (["run", "configs/quickstart.yaml", "--jbos", "3"], "No such option: --jbos"),
        (["run", "configs/quickstart.yaml", "--jobs", "many"], "Invalid value for '--jobs'"),
        (["run", "configs/quickstart.yaml", "--json", "--dry-run"], "leave one of them out"),
        (["run", "configs/quickstart.yaml", "--jobs", "0"], "--jobs 0: at least 1"),
        (["run", "configs/quickstart.yaml", "--executor", "slrum"], "Did you mean 'slurm'?"),
        (["run", "configs/quickstart.yaml", "--device", "tpu"], "unknown device 'tpu'. Choices: auto, cpu, cuda"),
        (["run", "configs/quickstart.yaml", "--set", "methods=[lam]"], "Did you mean 'lamm'?"),
        (["run", "configs/quickstart.yaml", "--set", "datasets=[digit]"], "Did you mean 'digits'?"),
        (["run", "configs/quickstart.yaml", "--set", "backbone=tinny"], "Did you mean 'tiny'?"),
        (["run", "configs/quickstart.yaml", "--set", "protocol.stesp=3"], "Did you mean 'steps'?"),
        (["run", "configs/quickstart.yaml", "--set", "sedes=3"], "Did you mean 'seeds'?"),
        (["run", "configs/quickstart.yaml", "--set", "seeds=[]"], "would expand to no run"),
        (["run", "configs/quickstart.yaml", "--out", "/dev/null/out"], "cannot write in /dev/null/out"),
        (["quickstart", "--out", "/dev/null/out"], "cannot write in /dev/null/out"),
        (["quickstart", "--device", "gpu"], "unknown device 'gpu'"),
        (["list", "mehtods"], "Did you mean 'methods'?"),
        (["validate"], "name at least one config file"),
        (["report", "nowhere"], "nowhere does not exist"),
    ],
)
def test_wrong_use_is_one_message_and_exit_code_two(lamm_cl, tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    said = lamm_cl(*words)
    assert said.returncode == 2, said
    assert said.stderr.startswith("error: ")
    assert message in said.stderr
    assert "Traceback" not in said.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["configs"]


def test_data_that_is_not_there_is_said_before_any_work(lamm_cl, tmp_path: Path) -> None:
    said = lamm_cl("run", ROOT / "configs/quickstart.yaml", "--set", "datasets=[dtd, eurosat]", "--out", "out")
    assert said.returncode == 2, said
    assert "dtd" in said.stderr
    assert "eurosat" in said.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["list", "methods"],
        ["list", "datasets"],
        ["list", "protocols", "--options"],
        ["list", "backbones"],
        ["list", "published"],
        ["validate", str(ROOT / "configs" / "quickstart.yaml")],
        ["run", "absent.yaml"],
    ],
)
def test_light_commands_import_nothing_heavy(words: list[str]) -> None:
    """What makes them answer at once; their time itself depends on the machine."""
    code = f"""
import sys
from lamm_cl.cli.main import call
call({words!r})
print("heavy:", [name for name in {LIGHT!r} if name in sys.modules], file=sys.stderr)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stderr.rstrip().endswith("heavy: []"), said.stderr


def test_listings_name_what_there_is(lamm_cl) -> None:
    assert "text -> vision" in lamm_cl("list", "methods").stdout
    assert "methods.lamm.lambda_kd" in lamm_cl("list", "methods", "--options").stdout
    assert "non-commercial research" in lamm_cl("list", "datasets").stdout
    assert "protocol.class_incremental.steps" in lamm_cl("list", "protocols", "--options").stdout
    assert "ViT-B-16-quickgelu" in lamm_cl("list", "backbones").stdout
    assert "lamm-table2" in lamm_cl("list", "published").stdout


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m lamm_cl list backbones | head -1"
    said = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert said.stderr == ""
    assert said.stdout.startswith("backbone")


def test_help_names_every_command(lamm_cl) -> None:
    said = lamm_cl("--help").stdout
    assert all(f"\n  {name} " in said for name in ("quickstart", "run", "validate", "report", "data", "cache", "list"))


def test_a_small_experiment_from_config_to_report(lamm_cl, tmp_path: Path) -> None:
    """The whole way for real: dry run, run, nothing left to do, another setting, report."""
    config = tmp_path / "small.yaml"
    config.write_text(
        "protocol: class_incremental\ndatasets: [digits]\nmethods: {zero_shot: , lamm: {epochs: 2}}\n"
        "shots: 2\nseeds: [1]\n"
    )
    dry = lamm_cl("run", config, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "2 runs in runs/small: 2 to do." in dry.stdout
    assert "Estimate with" in dry.stdout
    assert not (tmp_path / "runs").exists()

    first = lamm_cl("run", config, "--jobs", "1", "--json")
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert (told["done"], told["left"], told["failed"], told["exit_code"]) == (2, 0, [], 0)
    assert told["results"] == "runs/small/runs.csv"
    assert "[2/2] done" in first.stderr
    quiet = lamm_cl("run", config, "--set", "save=prompts", "--quiet")
    assert quiet.stdout == "2 runs: 0 done now, 2 done before. Results: runs/small/runs.csv\n"
    again = lamm_cl("run", config, "--set", "save=prompts").stdout
    assert "2 runs: 0 done now, 2 done before." in again
    assert "note: 2 runs that are done have no model.safetensors, since `save` came later" in again
    other = lamm_cl("run", config, "--set", "methods.lamm.lr=0.5")
    assert other.returncode == 2
    assert "methods.lamm.lr was" in other.stderr
    report = lamm_cl("report", "runs/small")
    assert report.returncode == 0, report.stderr
    assert "lamm" in report.stdout


def test_a_method_of_ones_own_runs_from_a_config(lamm_cl, tmp_path: Path) -> None:
    (tmp_path / "my_methods.py").write_text((ROOT / "benchmarks" / "examples" / "confidence_penalty.py").read_text())
    (tmp_path / "own.yaml").write_text(
        "import: [my_methods.py]\nprotocol: class_incremental\ndatasets: [digits]\nshots: 1\nseeds: [1]\n"
        "methods:\n  confidence_penalty: {epochs: 1}\n"
        "  with-replay: {method: confidence_penalty, epochs: 1, plugins: {ReplayPlugin: {mem_size: 8}}}\n"
    )
    said = lamm_cl("run", "own.yaml", "--jobs", "1", "--out", "out")
    assert said.returncode == 0, said
    rows = (tmp_path / "out" / "runs.csv").read_text().splitlines()
    assert {line.split(",")[3] for line in rows[1:]} == {"confidence_penalty", "with-replay"}
    report = lamm_cl("report", "out")
    assert report.returncode == 0, report
    assert "confidence_penalty" in report.stdout
    with (tmp_path / "my_methods.py").open("a") as file:
        file.write("# edited\n")
    again = lamm_cl("run", "own.yaml", "--jobs", "1", "--out", "out")
    assert again.returncode == 2, again
    assert "import my_methods.py" in again.stderr
