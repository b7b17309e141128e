"""What somebody tries in the first hour: help, completion, a config for pictures of one's own."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import lamm_cl


def command(folder: Path, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "lamm_cl", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "LAMM_CL_CACHE": str(folder / "cache"), **more},
    )


@pytest.mark.parametrize("words", [[], ["run"], ["data", "prepare"], ["predict"], ["init"]])
def test_a_short_option_asks_for_help(words: list[str], tmp_path: Path, lamm_cl_in: Any) -> None:
    said = command(tmp_path, *words, "-h")
    assert said.returncode == 0
    assert said.stdout == lamm_cl_in(tmp_path, *words, "--help").stdout
    assert "Usage: lamm-cl" in said.stdout


@pytest.mark.parametrize(("typed", "offered"), [("lamm-cl re", "report"), ("lamm-cl report --for", "--format")])
def test_shells_complete(typed: str, offered: str, tmp_path: Path) -> None:
    place = str(len(typed.split()) - 1)
    said = command(tmp_path, _LAMM_CL_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=place)
    assert offered in said.stdout.split()


def test_init_writes_a_config_that_validates_and_runs(tmp_path: Path, lamm_cl_in: Any) -> None:
    command = partial(lamm_cl_in, tmp_path)
    digits = lamm_cl.load_dataset("digits")
    for name in digits.class_names[:4]:
        (tmp_path / "my digits" / name).mkdir(parents=True)
        for k, item in enumerate([item for item in digits.train if item.class_name == name][:12]):
            digits.open(item).save(tmp_path / "my digits" / name / f"{k}.png")
    said = command("init", "my digits")
    assert said.returncode == 0, said.stderr
    valid = command("validate", "experiment.yaml")
    assert valid.returncode == 0, valid.stderr
    assert "my_digits, 9 runs" in valid.stdout
    few = ["--set", "methods.coop.epochs=1", "--set", "methods.lamm.epochs=1", "--set", "seeds=[1]"]
    done = command("run", "experiment.yaml", "--jobs", "1", *few)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.glob("runs/my_digits/runs/*/model.safetensors"))) == 3
    again = command("init", "my digits")
    assert (again.returncode, "exists" in again.stderr) == (2, True)
    assert "is no folder" in command("init", "absent", "--out", "x.yaml").stderr
