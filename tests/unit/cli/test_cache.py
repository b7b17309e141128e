"""`lamm-cl cache status` and `clear` tell the truth about the folder."""

import json

import pytest
import torch
from typer.testing import CliRunner

from lamm_cl.cli.cache import app
from lamm_cl.cli.main import call


def run(*arguments):
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def fill(backbone, folder):
    from lamm_cl.clip.feature_cache import FeatureStore

    pictures = torch.zeros(5, 3, 32, 32)
    FeatureStore(backbone, folder).features([f"{i:064x}" for i in range(5)], pictures.__getitem__, "eval")


def test_an_empty_folder_is_said_to_be_empty(tmp_path):
    assert "nothing is cached" in run("status", "--dir", str(tmp_path / "none"))
    assert "deleted 0 features" in run("clear", "--dir", str(tmp_path / "none"))


def test_status_then_clear(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("LAMM_CL_CACHE", str(tmp_path))
    fill(tiny, tmp_path)
    shown = run("status")
    assert "tiny" in shown
    assert "5" in shown
    [scope] = json.loads(run("status", "--json"))["scopes"]
    assert (scope["backbone"], scope["features"], scope["views"], scope["device"]) == ("tiny", 5, 1, "cpu")
    assert "deleted 5 features" in run("clear")
    assert "nothing is cached" in run("status")


@pytest.mark.parametrize("days", ["nan", "-1"])
def test_nonsense_days_delete_nothing(tiny, tmp_path, days):
    fill(tiny, tmp_path)
    assert call(["cache", "clear", "--dir", str(tmp_path), "--older-than", days]) == 2
    assert list(tmp_path.rglob("*.safetensors"))
