"""Damaged and foreign files of features are computed again, never trusted."""

import errno
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lamm_cl.clip import feature_files
from lamm_cl.clip.feature_cache import FeatureStore
from tests.unit.clip.cached import Pictures, files, get, key


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
    folder = store._view("eval/raw", "raw")
    file = folder.folder / "1-0123456789abcdef.safetensors"
    for keys in ('[["a"]]', "[null]", '{"a": 1}', "1"):
        metadata = {"keys": keys, "scope": folder.scope, "view": "eval/raw"}
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
