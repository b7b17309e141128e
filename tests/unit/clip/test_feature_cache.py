"""Cached features are the same bits as computed ones, computed once, and never trusted blindly."""

import copy
import errno
import hashlib
import json
import logging
import os
import pickle
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lamm_cl.clip import cache_folder, feature_files, feature_key, feature_locks
from lamm_cl.clip.feature_cache import FeatureStore
from lamm_cl.errors import UsageError


def picture(number: int, size: int = 32) -> torch.Tensor:
    return torch.randn(3, size, size, generator=torch.Generator().manual_seed(number))


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


class Pictures:
    """Random pictures by number, counting how often each was asked for."""

    def __init__(self, numbers):
        self.numbers = list(numbers)
        self.keys = [key(n) for n in self.numbers]
        self.loaded = []

    def __call__(self, i):
        self.loaded.append(self.numbers[i])
        return picture(self.numbers[i])


@pytest.fixture
def store(tiny, tmp_path):
    return FeatureStore(tiny, tmp_path / "cache", batch_size=4)


def get(store, numbers, view="eval"):
    pictures = Pictures(numbers)
    return store.features(pictures.keys, pictures, view)


def files(store):
    return sorted(store.directory.rglob("*.safetensors"))


def test_features_are_the_backbones(store, tiny):
    rows = get(store, range(6))
    expected = tiny.encode_images(torch.stack([picture(n) for n in range(6)]))
    torch.testing.assert_close(rows, expected, rtol=1e-5, atol=1e-6)
    assert rows.shape == (6, tiny.embed_dim)
    assert not rows.requires_grad


def test_an_image_has_the_same_bits_whatever_is_beside_it(tiny):
    alone = torch.cat([get(FeatureStore(tiny, None), [n]) for n in range(5)])
    together = get(FeatureStore(tiny, None), range(70))[:5]
    backwards = get(FeatureStore(tiny, None), range(69, -1, -1)).flip(0)[:5]
    assert torch.equal(alone, together)
    assert torch.equal(alone, backwards)


def test_bits_do_not_depend_on_the_number_of_threads(tiny):
    one = get(FeatureStore(tiny, None, batch_size=8), range(40))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        three = get(FeatureStore(tiny, None, batch_size=8), range(40))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one, three)


def test_autocast_around_it_changes_nothing(tiny):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = get(FeatureStore(tiny, None), range(3))
    assert torch.equal(inside, get(FeatureStore(tiny, None), range(3)))


def test_only_missing_images_are_loaded_and_encoded(store):
    first = Pictures(range(10))
    store.features(first.keys, first, "eval")
    assert store.encoded == 10
    assert sorted(first.loaded) == list(range(10))
    second = Pictures([3, 12, 7])
    store.features(second.keys, second, "eval")
    assert second.loaded == [12]
    assert store.encoded == 11


def test_another_store_on_the_same_folder_encodes_nothing(store, tiny):
    rows = get(store, range(10))
    other = FeatureStore(tiny, store.directory, batch_size=4)
    assert torch.equal(get(other, range(9, -1, -1)).flip(0), rows)
    assert other.encoded == 0


def test_one_image_given_twice_is_encoded_once(store):
    rows = get(store, [1, 2, 1])
    assert store.encoded == 2
    assert torch.equal(rows[0], rows[2])


def test_no_images_give_no_rows(store, tiny):
    assert get(store, []).shape == (0, tiny.embed_dim)
    assert store.encoded == 0


def test_views_are_kept_apart(store):
    get(store, range(4), "eval")
    get(store, range(4), "train/seed1/epoch0")
    assert store.encoded == 8
    get(store, range(4), "train/seed1/epoch0")
    assert store.encoded == 8


def test_many_rounds_end_in_few_files(store):
    get(store, range(200))
    assert store.encoded == 200
    assert len(files(store)) == 1


@pytest.mark.parametrize("change", ["weights", "transform", "batch"])
def test_what_the_features_depend_on_is_in_the_key(store, tiny, change, monkeypatch):
    get(store, range(3))
    other = FeatureStore(tiny, store.directory, batch_size=8 if change == "batch" else 4)
    if change == "weights":
        monkeypatch.setattr(tiny, "_fingerprint", "0" * 64)
    if change == "transform":
        monkeypatch.setattr(tiny, "preprocess", lambda picture: torch.zeros(3, 32, 32))
    get(other, range(3))
    assert other.encoded == 3


@pytest.mark.parametrize("setting", ["products", "attention", "kernels"])
def test_settings_that_change_the_last_bits_are_in_the_key(store, setting, monkeypatch):
    get(store, range(3))
    if setting == "kernels":
        monkeypatch.setattr(feature_key, "KERNELS", 1)
    try:
        if setting == "products":
            torch.set_float32_matmul_precision("medium")
        if setting == "attention":
            torch.backends.cuda.enable_flash_sdp(False)
        rows = get(store, range(3))
        assert torch.equal(rows, get(FeatureStore(store.backbone, None, batch_size=4), range(3)))
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.enable_flash_sdp(True)
    assert store.encoded == 6
    assert len(cache_folder.status(store.directory)) == 2


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize("change", ["type", "weights", "transform"])
def test_a_backbone_that_changes_while_a_store_lives_gets_its_own_features(tmp_path, on_disk, change):
    import lamm_cl

    backbone = lamm_cl.load_clip("tiny")
    folder = tmp_path if on_disk else None
    store = FeatureStore(backbone, folder)
    get(store, range(3))
    if change == "type":
        backbone.to(dtype=torch.bfloat16)
    if change == "weights":
        with torch.no_grad():
            next(backbone.model.visual.parameters()).mul_(1.1)
    if change == "transform":
        backbone.preprocess = lambda picture: torch.zeros(3, 32, 32)
    rows = get(store, range(5))
    assert store.encoded == 8
    assert torch.equal(rows, get(FeatureStore(backbone, None), range(5)))
    fresh = FeatureStore(lamm_cl.load_clip("tiny"), folder)
    assert torch.equal(get(fresh, range(5)), get(FeatureStore(fresh.backbone, None), range(5)))


def test_another_name_for_the_same_weights_shares_features(store, tiny, monkeypatch):
    get(store, range(3))
    monkeypatch.setattr(tiny, "name", "mine")
    other = FeatureStore(tiny, store.directory, batch_size=4)
    get(other, range(3))
    assert other.encoded == 0


def test_a_transform_that_is_never_the_same_stays_in_memory(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny, "preprocess", lambda picture: torch.rand(3, 32, 32))
    store = FeatureStore(tiny, tmp_path / "cache")
    get(store, range(3))
    get(store, range(3))
    assert store.encoded == 3
    assert not (tmp_path / "cache").exists()


def draws_of_python(picture):
    return torch.full((3, 32, 32), float(random.random() < 1e-6))


def draws_of_numpy(picture):
    return torch.full((3, 32, 32), float(np.random.random() < 1e-6))


def draws_of_torch(picture):
    return torch.full((3, 32, 32), float(torch.rand(()) < 1e-6))


def generators():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


@pytest.mark.parametrize("transform", [draws_of_python, draws_of_numpy, draws_of_torch])
def test_a_transform_that_draws_is_not_kept_though_it_seldom_does_another_thing(transform):
    before = generators()
    assert feature_key.transform_key(transform) is None
    assert generators() == before


def test_a_transform_with_a_generator_of_its_own_is_tried_often():
    own = random.Random(0)
    assert feature_key.transform_key(lambda picture: torch.full((3, 32, 32), float(own.random() < 0.2))) is None


def flip(file):
    content = bytearray(file.read_bytes())
    content[-7] ^= 1
    file.write_bytes(content)


def swap_names(file):
    """Exchange two images' keys in the metadata: every number is sound, and every feature is another's."""
    content = file.read_bytes()
    a, b = key(0).encode(), key(1).encode()
    file.write_bytes(content.replace(a, b"x" * 64).replace(b, a).replace(b"x" * 64, b))


DAMAGE = {
    "flipped bit": flip,
    "exchanged names": swap_names,
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "empty": lambda file: file.write_bytes(b""),
    "junk": lambda file: file.write_bytes(b"\xff" * 5000),
    "text": lambda file: file.write_text("not features"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_computed_again(store, tiny, damage):
    rows = get(store, range(5))
    [file] = files(store)
    DAMAGE[damage](file)
    other = FeatureStore(tiny, store.directory, batch_size=4)
    assert torch.equal(get(other, range(5)), rows)
    assert other.encoded == 5
    assert file not in files(store)
    third = FeatureStore(tiny, store.directory, batch_size=4)
    get(third, range(5))
    assert third.encoded == 0


def in_place(change):
    """Change a file's bytes where they lie: whoever has mapped it sees that at once."""

    def damage(file):
        content = bytearray(file.read_bytes())
        with file.open("r+b") as opened:
            opened.truncate(len(change(content)))
            opened.write(change(content))

    return damage


LIVE_DAMAGE = {
    "cut off": in_place(lambda content: content[:100]),
    "empty": in_place(lambda content: b""),
    "flipped bit": in_place(lambda content: content[:-3] + bytes([content[-3] ^ 64]) + content[-2:]),
    "another file": lambda file: file.rename(file.with_suffix(".old")) and flip(copied(file)),
}


def copied(file):
    file.write_bytes(file.with_suffix(".old").read_bytes())
    return file


@pytest.mark.parametrize("damage", LIVE_DAMAGE)
def test_a_file_that_is_damaged_while_it_is_mapped_is_computed_again(store, damage):
    rows = get(store, range(300))
    [file] = files(store)
    LIVE_DAMAGE[damage](file)
    assert torch.equal(get(store, range(300)), rows)  # touching pages that are gone would kill the process
    assert store.encoded == 600
    assert torch.equal(get(store, range(300)), rows)
    assert store.encoded == 600


def test_a_file_that_is_damaged_while_others_are_computed_is_computed_again(store):
    rows = get(store, range(300))
    [file] = files(store)
    pictures = Pictures(range(301))

    def load(i):
        if i == 300 and not damaged:
            damaged.append(LIVE_DAMAGE["empty"](file))
        return pictures(i)

    damaged = []
    assert torch.equal(store.features(pictures.keys, load, "eval")[:300], rows)


def test_names_that_are_none_are_not_trusted_though_their_sum_is_right(store, tiny):
    rows = get(store, [0])
    folder = store._folder("eval")
    file = folder.folder / "1-0123456789abcdef.safetensors"
    for keys in ('[["a"]]', "[null]", '{"a": 1}', "1"):
        metadata = {"keys": keys, "scope": folder.scope, "view": "eval"}
        save_file({"features": rows}, file, metadata | {"sum": feature_files._sum(metadata, rows)})
        assert torch.equal(get(FeatureStore(tiny, store.directory, batch_size=4), [0]), rows)
        assert not file.exists()


@pytest.mark.parametrize("readable", [True, False])
def test_a_sound_file_outlives_a_time_when_it_cannot_be_opened(store, tiny, monkeypatch, readable):
    rows = get(store, range(5))
    other = FeatureStore(tiny, store.directory, batch_size=4)

    def many(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as short:
        short.setattr(feature_files, "_mapped", many)
        if not readable:
            short.setattr(Path, "read_bytes", many)
        assert torch.equal(get(other, range(5)), rows)
    assert other.encoded == (0 if readable else 5)
    third = FeatureStore(tiny, store.directory, batch_size=4)
    assert torch.equal(get(third, range(5)), rows)
    assert third.encoded == 0


def test_a_file_made_for_something_else_is_not_trusted(store, tiny):
    get(store, range(5), "eval")
    [eval_file] = files(store)
    rows = get(store, range(5), "other")
    [other_file] = [file for file in files(store) if file != eval_file]
    other_file.write_bytes(eval_file.read_bytes())
    again = FeatureStore(tiny, store.directory, batch_size=4)
    assert torch.equal(get(again, range(5), "other"), rows)
    assert again.encoded == 5


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
    assert left.parent == lowered._folder("a").folder


def test_features_whose_scope_lost_its_name_are_found_by_status_again(store):
    get(store, range(4))
    next(store.directory.rglob("scope.json")).unlink()
    assert cache_folder.status(store.directory) == []
    get(store, range(4))
    assert store.encoded == 4
    assert cache_folder.status(store.directory)[0].images == 4


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


def test_a_folder_that_cannot_be_written_is_said_once_and_does_no_harm(tiny, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    store = FeatureStore(tiny, tmp_path / "file")
    with caplog.at_level(logging.WARNING, "lamm_cl"):
        rows = get(store, range(3))
        get(store, range(3, 5))
    assert torch.equal(rows, get(FeatureStore(tiny, None), range(3)))
    assert store.encoded == 5
    assert [r.message for r in caplog.records if "can't be written" in r.message] != []
    assert len(caplog.records) == 1


def test_a_full_disk_loses_no_work_and_what_was_there_is_still_read(store, tiny, monkeypatch):
    get(store, range(4))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(feature_files.ViewFolder, "write", full)
    other = FeatureStore(tiny, store.directory, batch_size=4)
    rows = get(other, range(9))
    assert other.encoded == 5
    assert not other.writable
    assert torch.equal(rows, get(FeatureStore(tiny, None, batch_size=4), range(9)))
    get(other, range(9))
    assert other.encoded == 5
    assert list(store.directory.rglob("*.tmp")) == []


def test_an_image_that_cannot_be_loaded_is_the_callers_error(store):
    def load(i):
        raise FileNotFoundError("no such picture")

    with pytest.raises(FileNotFoundError, match="no such picture"):
        store.features([key(1)], load, "eval")
    assert store.writable
    assert list(store.directory.rglob("*.claim")) == []
    get(store, [1])
    assert store.encoded == 1


def test_two_at_once_share_the_work(tiny, tmp_path):
    stores = [FeatureStore(tiny, tmp_path / "cache", batch_size=2) for _ in range(3)]
    results = [None] * 3

    def slow(pictures):
        def load(i):
            time.sleep(0.002)
            return pictures(i)

        return load

    def work(i):
        pictures = Pictures(range(100))
        results[i] = stores[i].features(pictures.keys, slow(pictures), "eval")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(store.encoded for store in stores) == 100
    assert min(store.encoded for store in stores) > 0
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


SCRIPT = """
import hashlib, json, sys, torch, lamm_cl
from lamm_cl.clip.feature_cache import FeatureStore
torch.set_num_threads(int(sys.argv[2]))
store = FeatureStore(lamm_cl.load_clip("tiny"), sys.argv[1], batch_size=4)
picture = lambda n: torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(n))
keys = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(150)]
rows = store.features(keys, picture, "eval")
print(json.dumps([store.encoded, hashlib.sha256(rows.numpy().tobytes()).hexdigest()]))
"""


def test_two_processes_share_the_work_and_get_the_same_bits(tiny, tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "cache")]
    running = [subprocess.Popen([*command, threads], stdout=subprocess.PIPE) for threads in ("1", "2")]
    told = [json.loads(process.communicate(timeout=120)[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert told[0][0] + told[1][0] == 150
    here = get(FeatureStore(tiny, None, batch_size=4), range(150))
    assert {digest for _, digest in told} == {hashlib.sha256(here.numpy().tobytes()).hexdigest()}


def test_what_a_dead_process_claimed_is_computed_by_others(store):
    get(store, [0])
    folder = files(store)[0].parent
    (folder / "00000000deadbeef.claim").write_text(json.dumps([key(n) for n in range(5)]))
    get(store, range(5))
    assert store.encoded == 5
    assert list(folder.glob("*.claim")) == []


def test_a_claim_that_never_ends_is_not_waited_for_for_ever(store, monkeypatch):
    monkeypatch.setattr(feature_locks, "PATIENCE_SECONDS", 0.05)
    get(store, [0])
    claim = feature_locks.Claim(files(store)[0].parent, [key(1)])
    get(store, [1])
    assert store.encoded == 2
    claim.release()


def test_a_lock_that_is_never_let_go_is_not_waited_for_for_ever(store, monkeypatch, caplog):
    monkeypatch.setattr(feature_locks, "PATIENCE_SECONDS", 0.05)
    get(store, [0])
    with feature_locks.locked(files(store)[0].parent / "lock"), caplog.at_level(logging.WARNING, "lamm_cl"):
        get(store, [0, 1])
    assert store.encoded == 2
    assert "keeps" in caplog.text


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_keeps_no_claim(tmp_path):
    claim = feature_locks.Claim(tmp_path, [key(1)])
    (born, tell_born), (end, tell_end) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(tell_born, b"x")
        os.read(end, 1)
        os._exit(0)
    os.read(born, 1)
    try:
        assert feature_locks.is_held(claim.file)
        os.close(claim._held.handle)  # as the end of this process would
        assert not feature_locks.is_held(claim.file)
    finally:
        os.write(tell_end, b"x")
        os.waitpid(child, 0)
        for pipe in (born, tell_born, end, tell_end):
            os.close(pipe)


def test_copies_are_the_store_itself_and_pickles_carry_no_features(store, tiny):
    assert copy.deepcopy(store) is store
    again = pickle.loads(pickle.dumps(store))
    assert (again.directory, again.batch_size, again.encoded) == (store.directory, 4, 0)


def test_float64_features_keep_their_type(tmp_path):
    import lamm_cl

    backbone = lamm_cl.load_clip("tiny", precision="fp64")
    store = FeatureStore(backbone, tmp_path)
    rows = get(store, range(3))
    assert rows.dtype == torch.float64
    assert torch.equal(get(FeatureStore(backbone, tmp_path), range(3)), rows)


def test_nonsense_is_refused(tiny):
    with pytest.raises(UsageError, match="batch_size"):
        FeatureStore(tiny, None, batch_size=0)


def test_status_and_clear(store):
    get(store, range(5), "eval")
    get(store, range(3), "train")
    stranger = store.directory / "0123456789abcdef"
    stranger.mkdir()
    (stranger / "5-0123456789abcdef.safetensors").write_text("not ours: no scope.json")
    notes = store.directory / "notes.txt"
    notes.write_text("mine")
    [scope] = cache_folder.status(store.directory)
    assert (scope.images, scope.views, scope.about["backbone"]) == (8, 2, "tiny")
    assert scope.bytes == sum(file.stat().st_size for file in files(store) if stranger not in file.parents)
    assert cache_folder.clear(store.directory, older_than_days=1) == (0, 0)
    assert cache_folder.clear(store.directory) == (8, scope.bytes)
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


def test_clearing_leaves_the_claims_of_living_processes(store):
    get(store, [0])
    claim = feature_locks.Claim(files(store)[0].parent, [key(1)])
    dead = claim.file.with_name("00000000deadbeef.claim")
    dead.write_text("[]")
    cache_folder.clear(store.directory)
    assert claim.file.exists()
    assert not dead.exists()
    claim.release()
    cache_folder.clear(store.directory)
    assert list(store.directory.iterdir()) == []


def test_a_disk_that_fills_up_at_the_first_file_is_left_clean(store, monkeypatch):
    def full(file, text, **_):
        file.write_bytes(text.encode()[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    get(store, [0])
    assert not store.writable
    assert [file for file in store.directory.rglob("*") if file.is_file()] == []


def test_nothing_is_left_of_a_cleared_cache(store):
    get(store, range(5))
    scope = files(store)[0].parent.parent
    (scope / "0123456789abcdef.tmp").write_text("half")
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
