"""Cached features are the same bits as computed ones, and computed once."""

import copy
import errno
import logging
import os
import pickle

import pytest
import torch

from lamm_cl.clip import feature_files
from lamm_cl.clip.backbone import FEATURE_KINDS
from lamm_cl.clip.feature_cache import FeatureStore
from lamm_cl.errors import UsageError
from tests.unit.clip.cached import Pictures, files, get, key, picture


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

    monkeypatch.setattr(feature_files.View, "write", full)
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


def test_a_disk_that_fills_up_at_the_first_file_is_left_clean(store, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    get(store, [0])
    assert not store.writable
    assert [file for file in store.directory.rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("n", [1, 5, 33])
def test_one_pass_serves_features_before_and_after_normalising(n: int, tiny, tmp_path) -> None:
    store, pictures = FeatureStore(tiny, tmp_path), Pictures(range(n))
    unit = store.features(pictures.keys, pictures, "eval")
    raw = store.features(pictures.keys, pictures, "eval", "raw")
    assert store.encoded == n
    images = torch.stack([picture(k) for k in [*range(n), *[0] * (-n % store.batch_size)]])
    for kind, rows in (("unit", unit), ("raw", raw)):
        parts = [tiny.encode_images(part, kind) for part in images.split(store.batch_size)]
        assert torch.equal(rows, torch.cat(parts)[:n])


def test_features_before_the_projection_give_the_others(tiny, tmp_path) -> None:
    store, pictures = FeatureStore(tiny, tmp_path), Pictures(range(5))
    unprojected = store.features(pictures.keys, pictures, "eval", "unprojected")
    assert unprojected.shape == (5, tiny.width("unprojected"))
    raw = store.features(pictures.keys, pictures, "eval", "raw")
    torch.testing.assert_close(unprojected @ tiny.projection, raw, rtol=1e-5, atol=1e-5)
    again = FeatureStore(tiny, tmp_path)
    assert torch.equal(again.features(pictures.keys, pictures, "eval", "unprojected"), unprojected)
    assert again.encoded == 0


@pytest.mark.parametrize("n", [1, 5, 40])
@pytest.mark.parametrize("first", ["raw", "unprojected", "unit"])
def test_one_pass_fills_all_kinds_that_are_wanted_with_the_bits_of_each_alone(n, first, tiny, tmp_path) -> None:
    pictures = Pictures(range(n))
    alone = FeatureStore(tiny, None)
    expected = {kind: alone.features(pictures.keys, pictures, "eval", kind) for kind in FEATURE_KINDS}
    both = FeatureStore(tiny, tmp_path / "cache", kinds=("raw", "unprojected"))
    for kind in (first, *FEATURE_KINDS):
        assert torch.equal(both.features(pictures.keys, pictures, "eval", kind), expected[kind])
    assert both.encoded == n
    other = FeatureStore(tiny, tmp_path / "cache")
    assert torch.equal(other.features(pictures.keys, pictures, "eval", "raw"), expected["raw"])
    assert torch.equal(other.features(pictures.keys, pictures, "eval", "unprojected"), expected["unprojected"])
    assert other.encoded == 0


def test_a_kind_that_another_process_writes_is_left_to_it(tiny, tmp_path) -> None:
    pictures = Pictures(range(5))
    store = FeatureStore(tiny, tmp_path / "cache", kinds=("raw", "unprojected"))
    beside = FeatureStore(tiny, tmp_path / "cache")._view("eval/unprojected", "unprojected")
    assert beside.acquire(0)
    raw = store.features(pictures.keys, pictures, "eval", "raw")
    beside.refresh()
    assert beside.missing(pictures.keys) == pictures.keys
    beside.release()
    memory = FeatureStore(tiny, None, kinds=("raw", "unprojected"))
    assert torch.equal(memory.features(pictures.keys, pictures, "eval", "raw"), raw)
    memory.features(pictures.keys, pictures, "eval", "unprojected")
    assert memory.encoded == 5
