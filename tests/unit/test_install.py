"""What installs what: extras for packages that the main job does without, and torch's CPU build where it is wanted."""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import lamm_cl
from lamm_cl.data.download.network import DownloadError, _drive
from lamm_cl.errors import UsageError
from lamm_cl.experiments.environment import check_loggers

ROOT = Path(__file__).parents[2]


def test_tests_have_what_extras_have() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"tensorboard", "drive", "wandb", "hf", "onnx", "docs"} <= set(project["optional-dependencies"])
    needed = " ".join(project["optional-dependencies"]["test"])
    assert all(name in needed for name in ("tensorboard", "gdown", "wandb"))
    assert not any(name in " ".join(project["dependencies"]) for name in ("tensorboard", "gdown", "submitit"))


def test_missing_packages_are_named_with_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else whole(name))
    with pytest.raises(UsageError, match=r"lamm_cl\[tensorboard\]"):
        check_loggers({"tensorboard": {}})
    monkeypatch.setitem(__import__("sys").modules, "gdown.download", None)
    with pytest.raises(DownloadError, match=r"lamm_cl\[drive\]"):
        _drive("gdrive:x", 0)


@pytest.mark.parametrize(("torch", "first"), [("cpu", True), ("", False)])
def test_make_takes_the_cpu_build_where_it_is_asked_for(torch: str, first: bool, tmp_path: Path) -> None:
    words: list[Any] = ["make", "-n", "-C", str(ROOT), "quickstart", f"TORCH={torch}", f"VENV={tmp_path / 'venv'}"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert ("install --quiet --disable-pip-version-check torch torchvision" in said) == first
    assert "http" not in said
    assert ("import torchvision" in said) == first, "torchvision of another build does not load"
    assert said.index("--editable .") > said.find("torch torchvision")


def test_the_reference_holds_every_public_name(tmp_path: Path) -> None:
    pytest.importorskip("pdoc")
    subprocess.run([sys.executable, "-m", "benchmarks.reference", str(tmp_path)], check=True, cwd=ROOT)
    page = (tmp_path / "lamm_cl.html").read_text()
    assert [name for name in lamm_cl.__all__ if f'id="{name}"' not in page] == []
