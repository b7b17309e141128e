"""Stores that want the same features at once share the work."""

import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from lamm_cl.clip import feature_locks
from lamm_cl.clip.feature_cache import FeatureStore
from tests.unit.clip.cached import Pictures, files, get, key


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
