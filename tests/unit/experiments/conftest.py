import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = str(Path(__file__).parent)


@pytest.fixture
def fake_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let worker processes find `lamm_cl_fake_work`: they take over this process's path."""
    monkeypatch.syspath_prepend(HERE)
    assert HERE in sys.path


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str = "", name: str = "try.yaml", **changes: Any) -> Path:
        import yaml

        content = {
            "protocol": "few_shot",
            "datasets": ["digits"],
            "methods": ["zero_shot", "lamm"],
            "seeds": [1, 2],
            **changes,
        }
        path = tmp_path / name
        path.write_text(text or yaml.safe_dump(content, sort_keys=False))
        return path

    return write
