"""What features depend on is in their key: weights, transform, settings of torch."""

import random

import numpy as np
import pytest
import torch

from lamm_cl.clip import cache_folder, feature_key
from lamm_cl.clip.feature_cache import FeatureStore
from tests.unit.clip.cached import get


@pytest.mark.parametrize("change", ["weights", "transform", "batch"])
def test_what_the_features_depend_on_is_in_the_key(store, tiny, change, monkeypatch):
    get(store, range(3))
    other = FeatureStore(tiny, store.directory, batch_size=8 if change == "batch" else 4)
    if change == "weights":
        monkeypatch.setattr(type(tiny), "fingerprint", "0" * 64)
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
