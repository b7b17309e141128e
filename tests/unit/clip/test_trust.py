"""A cache that others can write is not used unless the user says so, and no link in it is followed."""

import logging
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lamm_cl.clip import cache_folder
from lamm_cl.clip.feature_cache import FeatureStore
from lamm_cl.experiments.environment import cache_trouble
from lamm_cl.experiments.spec import Environment
from tests.unit.clip.cached import files, get

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")


@pytest.fixture
def right(tiny: Any) -> torch.Tensor:
    return get(FeatureStore(tiny, None, batch_size=4), range(4))


def places(store: Any) -> tuple[Path, Path]:
    """Return the folders of the scope and of the view that a store would use."""
    view = store._view("eval/raw", "raw").folder
    return view.parent, view


@pytest.mark.parametrize("which", ["lock", "scope", "view"])
def test_planted_links_lead_nowhere(store: Any, right: Any, tmp_path: Path, which: str) -> None:
    scope, view = places(store)
    target = tmp_path / "elsewhere"
    target.mkdir()
    (target / "model.safetensors").write_bytes(b"somebody's work")
    if which == "lock":
        view.mkdir(parents=True)
        (view / "lock").symlink_to(target / "made")
    elif which == "scope":
        scope.parent.mkdir(parents=True)
        scope.symlink_to(target)
    else:
        scope.mkdir(parents=True)
        view.symlink_to(target)
    assert torch.equal(get(store, range(4)), right)
    assert sorted(file.name for file in target.rglob("*")) == ["model.safetensors"]
    assert (target / "model.safetensors").read_bytes() == b"somebody's work"
    assert not store.writable
    cache_folder.clear(store.directory)
    assert (target / "model.safetensors").exists()


def test_the_folder_itself_may_be_a_link_of_the_user_s(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    store = FeatureStore(tiny, tmp_path / "cache", batch_size=4)
    get(store, range(4))
    assert store.writable
    assert files(store)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o757])
def test_a_folder_that_all_can_write_is_used_only_when_asked(
    tiny: Any, right: Any, tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    with caplog.at_level(logging.WARNING, "lamm_cl"):
        store = FeatureStore(tiny, folder, batch_size=4)
        assert torch.equal(get(store, range(4)), right)
    assert not store.writable
    assert not any(folder.iterdir())
    assert f"is not used: other users can write it. Forbid that (chmod go-w {folder})" in caplog.text
    said = cache_trouble(Environment(cache=str(folder)))
    assert said is not None
    assert cache_folder.SHARED in said
    monkeypatch.setenv(cache_folder.SHARED, "1")
    assert cache_trouble(Environment(cache=str(folder))) is None
    shared = FeatureStore(tiny, folder, batch_size=4)
    get(shared, range(4))
    assert files(shared)
    monkeypatch.delenv(cache_folder.SHARED)
    folder.chmod(0o755)
    assert cache_folder.distrust(folder) is None  # what the message advises


def test_a_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.getuid() == 0:
        os.chown(tmp_path, 54321, 54321)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert "it belongs to another user" in str(cache_folder.distrust(tmp_path))


def test_a_group_that_is_the_user_s_own_is_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o775)
    monkeypatch.setattr(cache_folder, "_is_private", lambda group: True)
    assert cache_folder.distrust(tmp_path) is None
    monkeypatch.setattr(cache_folder, "_is_private", lambda group: False)
    assert "other users can write it" in str(cache_folder.distrust(tmp_path))
    tmp_path.chmod(0o755)


def test_new_folders_are_their_user_s_whatever_the_umask(tiny: Any, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = FeatureStore(tiny, tmp_path / "a" / "cache", batch_size=4)
        get(store, range(4))
    finally:
        os.umask(before)
    for folder in (tmp_path / "a", *(file for file in (tmp_path / "a").rglob("*") if file.is_dir())):
        assert not folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    assert files(store)


def test_a_folder_that_becomes_foreign_is_written_no_more(store: Any, right: Any) -> None:
    get(store, range(2))
    store.directory.chmod(0o777)
    try:
        assert torch.equal(get(store, range(4)), right)
        assert not store.writable
    finally:
        store.directory.chmod(0o755)
