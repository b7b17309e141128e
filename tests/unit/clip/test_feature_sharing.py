"""Stores that want the same features at once share the work: one computes a view, the others wait for its files."""

import hashlib
import json
import logging
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import torch

from lamm_cl.clip import cache_folder, feature_cache
from lamm_cl.clip.feature_cache import FeatureStore
from lamm_cl.locks import Lock
from tests.unit.clip.cached import Pictures, files, get


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
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


SCRIPT = """
import hashlib, json, sys, torch, lamm_cl
from lamm_cl.clip.feature_cache import FeatureStore
torch.set_num_threads(int(sys.argv[2]))
store = FeatureStore(lamm_cl.load_clip("tiny"), sys.argv[1], batch_size=4)
print("ready", flush=True)
picture = lambda n: torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(n))
keys = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(150)]
rows = store.features(keys, picture, "eval")
print(json.dumps([store.encoded, hashlib.sha256(rows.numpy().tobytes()).hexdigest()]))
"""


def test_two_processes_share_the_work_and_get_the_same_bits(tiny, tmp_path, python_elsewhere):
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda threads: python_elsewhere(SCRIPT, tmp_path / "cache", threads), ("1", "2")))
    assert [one.returncode for one in ended] == [0, 0], ended
    told = [json.loads(one.stdout.splitlines()[-1]) for one in ended]
    assert told[0][0] + told[1][0] == 150
    here = get(FeatureStore(tiny, None, batch_size=4), range(150))
    assert {digest for _, digest in told} == {hashlib.sha256(here.numpy().tobytes()).hexdigest()}


def test_who_waits_goes_on_as_soon_as_its_own_images_are_there(store, tiny):
    """Not only when the holder of the lock has all that it wants."""
    first, entered, go_on = Pictures(range(100)), threading.Event(), threading.Event()

    def load(i):
        if i == 90:
            entered.set()
            go_on.wait(60)
        return first(i)

    thread = threading.Thread(target=lambda: store.features(first.keys, load, "eval"))
    thread.start()
    entered.wait(60)
    other = FeatureStore(tiny, store.directory, batch_size=4)
    rows = get(other, range(30))
    go_on.set()
    thread.join()
    assert other.encoded == 0
    assert torch.equal(rows, get(FeatureStore(tiny, None, batch_size=4), range(30)))


def test_what_a_killed_process_left_is_used_and_the_rest_computed(tiny, tmp_path, python_elsewhere):
    code = SCRIPT.replace(
        "picture = lambda n:", "import os, signal\npicture = lambda n: os.kill(os.getpid(), 9) if n == 100 else"
    )
    killed = python_elsewhere(code, tmp_path / "cache", "1")
    assert killed.returncode == -signal.SIGKILL
    (view,) = {file.parent for file in (tmp_path / "cache").rglob("*.safetensors")}
    (view / ".00000000deadbeef.tmp").write_text("half")
    store = FeatureStore(tiny, tmp_path / "cache", batch_size=4)
    assert torch.equal(get(store, range(150)), get(FeatureStore(tiny, None, batch_size=4), range(150)))
    assert store.encoded == 150 - 96, "three rounds of 32 were written"
    assert [file.suffix for file in view.iterdir()] == [".safetensors"]


def test_a_lock_that_is_never_let_go_is_not_waited_for_for_ever(store, monkeypatch, caplog):
    monkeypatch.setattr(feature_cache, "PATIENCE_SECONDS", 0.05)
    get(store, [0])
    with Lock(files(store)[0].parent / "lock"), caplog.at_level(logging.WARNING, "lamm_cl"):
        get(store, [0, 1])
    assert store.encoded == 2
    assert "keeps" in caplog.text


def test_a_lock_is_waited_for_as_long_as_its_holder_brings_anything(store, tiny, monkeypatch):
    """A view of many images on a slow machine takes longer than anybody's patience."""
    monkeypatch.setattr(feature_cache, "PATIENCE_SECONDS", 1.0)
    first, other = Pictures(range(300)), FeatureStore(tiny, store.directory, batch_size=4)
    started = threading.Event()

    def load(i):
        started.set()
        time.sleep(0.01)
        return first(i)

    thread = threading.Thread(target=lambda: store.features(first.keys, load, "eval"))
    thread.start()
    started.wait(60)
    get(other, range(299, 300))
    thread.join()
    assert other.encoded == 0


def test_clearing_under_a_living_writer_takes_nothing_that_it_writes(store, tiny):
    """Its half-written file is not deleted, so that nobody is told to free space where there is some."""
    view = store._view("eval/raw", "raw")
    assert view.acquire(0)
    (view.folder / "0123456789abcdef.tmp").write_text("being written")
    (view.folder.parent / "scope.json").write_text("{}")
    cache_folder.clear(store.directory)
    assert (view.folder / "0123456789abcdef.tmp").exists()
    view.release()
    cache_folder.clear(store.directory)
    assert list(store.directory.iterdir()) == []


def test_a_cache_that_is_cleared_again_and_again_stays_writable(store, tiny):
    expected = get(FeatureStore(tiny, None, batch_size=4), range(40))
    end = threading.Event()

    def clear():
        while not end.is_set():
            cache_folder.clear(store.directory)

    thread = threading.Thread(target=clear)
    thread.start()
    try:
        for turn in range(12):
            other = FeatureStore(tiny, store.directory, batch_size=4)
            assert torch.equal(get(other, range(40)), expected)
            assert other.writable, turn
    finally:
        end.set()
        thread.join()
