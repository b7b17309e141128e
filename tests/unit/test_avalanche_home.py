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


def test_streams_are_made_without_a_home(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder can be made below this")
    home = str(tmp_path / "file" / "home")
    code = "import warnings; warnings.simplefilter('ignore'); import lamm_cl.streams.benchmark; print('made')"
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HOME": home, "USERPROFILE": home},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stdout.strip() == "made", said.stderr
