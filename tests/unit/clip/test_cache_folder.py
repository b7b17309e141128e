"""The cache folder: who may write it, that no link in it is followed, and how it is kept small."""

import logging
import os
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lamm_cl.clip import cache_folder
from lamm_cl.clip.feature_cache import FeatureStore
from lamm_cl.errors import UsageError
from lamm_cl.experiments.environment import cache_trouble
from lamm_cl.experiments.spec import Environment
from tests.unit.clip.cached import Pictures, files, get

posix = pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")


@pytest.fixture
def right(tiny: Any) -> torch.Tensor:
    return get(FeatureStore(tiny, None, batch_size=4), range(4))


def places(store: Any) -> tuple[Path, Path]:
    """Return the folders of the scope and of the view that a store would use."""
    view = store._view("eval/raw", "raw").folder
    return view.parent, view


@posix
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


@posix
def test_the_folder_itself_may_be_a_link_of_the_user_s(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    store = FeatureStore(tiny, tmp_path / "cache", batch_size=4)
    get(store, range(4))
    assert store.writable
    assert files(store)


@posix
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


@posix
def test_a_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.getuid() == 0:
        os.chown(tmp_path, 54321, 54321)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert "it belongs to another user" in str(cache_folder.distrust(tmp_path))


@posix
def test_a_group_that_is_the_user_s_own_is_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o775)
    monkeypatch.setattr(cache_folder, "_is_private", lambda group: True)
    assert cache_folder.distrust(tmp_path) is None
    monkeypatch.setattr(cache_folder, "_is_private", lambda group: False)
    assert "other users can write it" in str(cache_folder.distrust(tmp_path))
    tmp_path.chmod(0o755)


@posix
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


@posix
def test_a_folder_that_becomes_foreign_is_written_no_more(store: Any, right: Any) -> None:
    get(store, range(2))
    store.directory.chmod(0o777)
    try:
        assert torch.equal(get(store, range(4)), right)
        assert not store.writable
    finally:
        store.directory.chmod(0o755)


def test_the_folder_stays_within_its_bound_and_drops_what_was_used_longest_ago(tiny, tmp_path):
    probe = FeatureStore(tiny, tmp_path / "probe", batch_size=4)
    get(probe, range(4))
    each = files(probe)[0].stat().st_size
    store = FeatureStore(tiny, tmp_path / "cache", max_bytes=int(2.5 * each), batch_size=4)
    for view in ("a", "b", "a", "c"):
        get(store, range(4), view)
        time.sleep(0.02)
    assert sum(file.stat().st_size for file in files(store)) <= store.max_bytes
    fresh = FeatureStore(tiny, tmp_path / "cache", max_bytes=store.max_bytes, batch_size=4)
    get(fresh, range(4), "a")
    get(fresh, range(4), "c")
    assert fresh.encoded == 0
    get(fresh, range(4), "b")
    assert fresh.encoded == 4


def test_a_bound_that_was_lowered_holds_though_nothing_is_computed(store, tiny):
    for view in "abc":
        get(store, range(4), view)
    lowered = FeatureStore(tiny, store.directory, max_bytes=files(store)[0].stat().st_size, batch_size=4)
    get(lowered, range(4), "a")
    assert lowered.encoded == 0
    [left] = files(store)
    assert left.parent == lowered._view("a/raw", "raw").folder


def test_features_whose_scope_lost_its_name_are_found_by_status_again(store):
    get(store, range(4))
    next(store.directory.rglob("scope.json")).unlink()
    assert cache_folder.status(store.directory) == []
    get(store, range(4))
    assert store.encoded == 4
    assert cache_folder.status(store.directory)[0]["features"] == 4


def test_a_bound_of_nothing_still_gives_features(tiny, tmp_path):
    store = FeatureStore(tiny, tmp_path / "cache", max_bytes=0)
    assert torch.equal(get(store, range(3)), get(FeatureStore(tiny, None), range(3)))
    assert files(store) == []


def test_memory_is_bounded_too(tiny):
    store = FeatureStore(tiny, None, max_bytes=1)
    get(store, range(3), "a")
    get(store, range(3), "b")
    get(store, range(3), "b")
    assert store.encoded == 6
    get(store, range(3), "a")
    assert store.encoded == 9


def test_status_and_clear(store):
    get(store, range(5), "eval")
    get(store, range(3), "train")
    stranger = store.directory / "0123456789abcdef"
    stranger.mkdir()
    (stranger / "5-0123456789abcdef.safetensors").write_text("not ours: no scope.json")
    notes = store.directory / "notes.txt"
    notes.write_text("mine")
    [scope] = cache_folder.status(store.directory)
    assert (scope["features"], scope["views"], scope["backbone"]) == (8, 2, "tiny")
    assert scope["bytes"] == sum(file.stat().st_size for file in files(store) if stranger not in file.parents)
    assert cache_folder.clear(store.directory, older_than_days=1) == (0, 0)
    assert cache_folder.clear(store.directory) == (8, scope["bytes"])
    assert cache_folder.status(store.directory) == []
    assert notes.exists()
    assert stranger.exists()
    get(store, range(5), "eval")
    assert store.encoded == 13


def test_clearing_while_another_process_works_does_no_harm(tiny, tmp_path):
    store = FeatureStore(tiny, tmp_path / "cache", batch_size=2)
    pictures = Pictures(range(60))

    def load(i):
        if i % 10 == 5:
            cache_folder.clear(store.directory)
        return pictures(i)

    rows = store.features(pictures.keys, load, "eval")
    assert torch.equal(rows, get(FeatureStore(tiny, None, batch_size=2), range(60)))
    assert store.writable


def test_nothing_is_left_of_a_cleared_cache(store, monkeypatch):
    half = []
    monkeypatch.setattr(os, "fsync", lambda _: half.extend(store.directory.rglob("*.tmp")))
    get(store, range(5))
    assert {len(file.relative_to(store.directory).parts) for file in half} == {2, 3}, "scope.json, and features"
    for file in half:
        file.write_text("half, as a killed process leaves it")
    scope = files(store)[0].parent.parent
    (scope / "0123456789abcdef.tmp").write_text("half, of an earlier version")
    (files(store)[0].parent / "0123456789abcdef.claim").write_text("of an earlier version")
    cache_folder.clear(store.directory)
    assert list(store.directory.iterdir()) == []


def test_the_folder_is_chosen_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("LAMM_CL_CACHE", str(tmp_path))
    assert cache_folder.default_folder() == tmp_path
    monkeypatch.delenv("LAMM_CL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder.default_folder() == tmp_path / "lamm_cl" / "features"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder.default_folder() == Path.home() / ".cache" / "lamm_cl" / "features"


def test_the_bound_is_chosen_by_the_environment(monkeypatch, tiny):
    monkeypatch.delenv("LAMM_CL_CACHE_GIB", raising=False)
    assert FeatureStore(tiny, None).max_bytes == 10 * 1024**3
    monkeypatch.setenv("LAMM_CL_CACHE_GIB", "0.5")
    assert FeatureStore(tiny, None).max_bytes == 512 * 1024**2
    for nonsense in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("LAMM_CL_CACHE_GIB", nonsense)
        with pytest.raises(UsageError, match="must be a number of GiB"):
            FeatureStore(tiny, None)
