"""Avalanche can be imported where the home directory cannot be written, or holds damaged settings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lamm_cl import avalanche_home


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The name of Avalanche's settings, not imported; the home is an empty folder."""
    monkeypatch.delitem(sys.modules, avalanche_home._MODULE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return avalanche_home._MODULE


@pytest.mark.parametrize("content", [None, "", '{"data', "[]", "{}", "3"])
def test_settings_that_cannot_be_read_are_stood_in_for(module: str, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / ".avalanche").mkdir()
        (tmp_path / ".avalanche" / "config.json").write_text(content)
    avalanche_home.do_without()
    stand_in = sys.modules.pop(module)
    assert stand_in.default_dataset_location("mnist") == tmp_path / ".avalanche" / "data" / "mnist"
    stand_in.set_dataset_root("/elsewhere")
    assert stand_in.default_dataset_location("mnist") == Path("/elsewhere/mnist")
    assert (tmp_path / ".avalanche").exists() == (content is not None)  # nothing was written


def test_the_user_s_own_settings_stay_avalanche_s(module: str, tmp_path: Path) -> None:
    (tmp_path / ".avalanche").mkdir()
    (tmp_path / ".avalanche" / "config.json").write_text(json.dumps({"dataset_location": "/mine"}))
    avalanche_home.do_without()
    assert module not in sys.modules


ALONE = """
import sys, warnings
from lamm_cl.avalanche_home import import_avalanche
import_avalanche()
import lamm_cl.streams.benchmark
import torch
warnings.simplefilter("ignore")
print([name for name in ("wandb", "torchmetrics", "gdown", "qpsolvers") if name in sys.modules])
from avalanche.evaluation.metrics import TopkAccuracy
metric = TopkAccuracy(2)
metric.update(torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0]]), torch.tensor([1, 0]), 0)
from torchmetrics.functional.classification import f1_score
import wandb.plot
from avalanche.training.plugins import gem
solvers = callable(gem.qpsolvers.solve_qp)
print(metric.result()[0], f1_score.__module__.split(".")[0], wandb.__version__ > "", solvers)
"""


def test_avalanche_is_imported_without_a_home_and_without_what_nobody_uses_yet(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder can be made below this")
    home = str(tmp_path / "file" / "home")
    said = subprocess.run(
        [sys.executable, "-c", ALONE],
        env={**os.environ, "HOME": home, "USERPROFILE": home},
        capture_output=True,
        text=True,
        check=False,
    )
    # The first image's class is among its two best, the second's is not.
    assert said.stdout.splitlines() == ["[]", "0.5 torchmetrics True True"], said.stderr
    assert "QP solver" not in said.stderr
