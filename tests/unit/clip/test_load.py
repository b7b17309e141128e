"""Backbones load by name and tag, offline; what cannot work is said before anything is built."""

import json
import logging

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import transforms

import lamm_cl
from lamm_cl.clip import hub
from lamm_cl.clip.families import split_name
from lamm_cl.clip.feature_key import same_features
from lamm_cl.clip.load import check_device, load_clip
from lamm_cl.errors import UsageError
from tests.unit.clip.weight_files import never, saved

pytestmark = pytest.mark.usefixtures("no_network")


def test_tiny_is_the_default(tiny):
    backbone = lamm_cl.load_clip()
    assert backbone.name == "tiny"
    assert backbone.fingerprint == tiny.fingerprint
    with pytest.raises(UsageError, match="weights embedded"):
        load_clip("tiny", pretrained="openai")


def test_random_weights_come_from_a_seed_and_touch_no_generator(listed, caplog):
    state = torch.get_rng_state()
    with caplog.at_level(logging.WARNING):
        first = load_clip(listed)
        assert [r.message for r in caplog.records] == [
            "backbone 'small-ViT' has random weights: no pretrained=... was given."
        ]
        caplog.clear()
        second = load_clip(listed, pretrained="random")
        assert not caplog.records
    assert torch.equal(torch.get_rng_state(), state)
    assert first.fingerprint == second.fingerprint
    assert first.pretrained == second.pretrained == "random"
    assert first.fingerprint != load_clip("small-ViT-quickgelu", "random").fingerprint


@pytest.mark.parametrize("causal", [True, False])
def test_a_text_tower_that_takes_the_plain_path_is_said(listed, monkeypatch, caplog, causal):
    config = open_clip.factory._MODEL_CONFIGS[listed]
    text = config["text_cfg"] | ({} if causal else {"no_causal_mask": True, "pool_type": "last"})
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, listed, config | {"text_cfg": text, "custom_text": True})
    with caplog.at_level(logging.WARNING, "lamm_cl"):
        backbone = load_clip(listed, "random")
    assert backbone.text.exact == causal
    assert ("over the whole window: its attention is not causal" in caplog.text) == (not causal)


def test_image_settings_are_those_on_which_the_listed_weights_agree(listed):
    backbone = load_clip("small-ViT-quickgelu", "random")
    assert backbone.image_mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)


@pytest.mark.parametrize("precision", ["fp32", "fp64", "fp16", "bf16"])
def test_precision(listed, precision):
    backbone = load_clip(listed, "random", precision=precision)
    wanted = {"fp32": torch.float32, "fp64": torch.float64, "fp16": torch.float16, "bf16": torch.bfloat16}
    assert backbone.dtype == wanted[precision]
    features = backbone.encode_images(torch.zeros(1, 3, 32, 32))
    assert features.dtype == (torch.float64 if precision == "fp64" else torch.float32)


def test_a_resize_mode_is_of_the_evaluation_transform_alone(listed):
    usual, squeezed = load_clip(listed, "random"), load_clip(listed, "random", resize_mode="squash")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8))
    size = transforms.Resize(usual.image_size, transforms.InterpolationMode.BICUBIC)
    normalise = transforms.Normalize(usual.image_mean, usual.image_std)
    expected = normalise(transforms.functional.to_tensor(size(picture)))
    assert torch.equal(squeezed.preprocess(picture), expected)
    assert not torch.equal(usual.preprocess(picture), expected)
    assert squeezed.fingerprint == usual.fingerprint
    assert squeezed.interpolation == usual.interpolation
    assert not same_features(usual, squeezed)
    assert "resize_mode" not in usual.source[1]
    load, arguments = squeezed.source
    assert torch.equal(load(**arguments).preprocess(picture), expected)
    with pytest.raises(UsageError, match=r"unknown resize_mode 'squeeze'.*squash"):
        load_clip(listed, resize_mode="squeeze")


def test_unknown_precision_and_device():
    with pytest.raises(UsageError, match=r"unknown precision 'half'.*bf16, fp16, fp32, fp64"):
        load_clip("tiny", precision="half")
    for device in ("gpu", "cuda:x", "", "meta"):
        with pytest.raises(UsageError, match=r"unknown device .*cpu, cuda, mps"):
            check_device(device)


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="no CUDA device"):
        load_clip("tiny", device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert check_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(UsageError, match="has 1 CUDA devices"):
        check_device("cuda:1")


@pytest.mark.parametrize(
    ("written", "pretrained", "expected"),
    [
        ("ViT-B-16", None, ("ViT-B-16", None)),
        ("ViT-B/16", "openai", ("ViT-B-16", "openai")),
        ("ViT-B-16-quickgelu/openai", None, ("ViT-B-16-quickgelu", "openai")),
        ("ViT-L/14/laion2b_s32b_b82k", None, ("ViT-L-14", "laion2b_s32b_b82k")),
        ("ViT-B-16/openai", "openai", ("ViT-B-16", "openai")),
        ("tiny", None, ("tiny", None)),
        ("hf-hub:a/b", None, ("hf-hub:a/b", None)),
    ],
)
def test_names_as_people_write_them(written, pretrained, expected):
    assert split_name(written, pretrained, open_clip.list_models) == expected


def test_unknown_names_get_the_nearest():
    with pytest.raises(UsageError, match=r"unknown backbone 'vit-b-16'. Did you mean 'ViT-B-16'"):
        load_clip("vit-b-16")
    with pytest.raises(UsageError, match="Did you mean 'tiny'"):
        load_clip("tinny")
    with pytest.raises(UsageError, match=r"lamm-cl list backbones"):
        load_clip("zzz")
    with pytest.raises(UsageError, match="names the weights 'openai', and pretrained='dfn2b' others"):
        load_clip("ViT-B-16/openai", "dfn2b")
    with pytest.raises(UsageError, match=r"unknown pretrained weights .*'opnai'. Did you mean 'openai'"):
        load_clip("ViT-B-16-quickgelu", "opnai")


@pytest.mark.parametrize("name", ["coca_ViT-B-32", "coca_roberta-ViT-B-32", "roberta-ViT-B-32"])
def test_families_without_prompts_are_refused_before_anything_is_built(name):
    with pytest.raises(UsageError, match=r"is of family [GH] .*Use one of the families A to F"):
        load_clip(name)


def test_a_tag_is_fetched_and_its_image_settings_used(listed, small, tmp_path):
    file = saved(small(seed=7), tmp_path / "fetched.safetensors", "safetensors")
    asked = []

    def download(settings, cache_dir=None):
        asked.append((settings["hf_hub"], cache_dir))
        return str(file)

    backbone = load_clip(listed, "mine", cache_dir=tmp_path / "cache", reach=lambda _: True, download=download)
    assert asked == [("nobody/small/", str(tmp_path / "cache"))]
    assert backbone.image_mean == (0.5, 0.5, 0.5)
    assert backbone.interpolation == "bilinear"
    torch.testing.assert_close(backbone.model.visual.proj, small(seed=7).visual.proj.detach())


def test_a_hub_that_cannot_be_reached_says_what_to_do(listed, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"nobody/small.*pretrained='/path/to/file'.*HF_HOME"):
        load_clip(listed, "mine", cache_dir=tmp_path, reach=lambda _: False, download=never)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE says to stay offline"):
        load_clip(listed, "mine", cache_dir=tmp_path, reach=never, download=never)


def test_a_download_that_fails_says_what_to_do(listed, tmp_path):
    def download(settings, cache_dir=None):
        raise ConnectionResetError("cut")

    with pytest.raises(UsageError, match=r"could not be fetched \(ConnectionResetError: cut\).*HF_HOME"):
        load_clip(listed, "mine", cache_dir=tmp_path, reach=lambda _: True, download=download)


def test_a_file_in_the_cache_needs_no_network(small, listed, tmp_path):
    saved(small(quick_gelu=True), tmp_path / "small-quick.pt", "bare")
    backbone = load_clip("small-ViT-quickgelu", "quick", cache_dir=tmp_path, reach=never, download=never)
    assert backbone.pretrained == "quick"


def test_tokenizers_of_the_hub_are_asked_for_before_anything_is_built(listed, monkeypatch):
    config = open_clip.factory._MODEL_CONFIGS[listed]
    text = config["text_cfg"] | {"hf_tokenizer_name": "nobody/words"}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, listed, config | {"text_cfg": text})
    monkeypatch.setattr("lamm_cl.clip.load._build", never)
    with pytest.raises(UsageError, match=r"the tokenizer's files of 'small-ViT' are not on this machine.*nobody/words"):
        load_clip(listed, "random", reach=lambda _: False)
    with pytest.raises(UsageError, match=r"pip install transformers"):
        load_clip(listed, "random", reach=lambda _: True)


def test_a_folder_with_its_own_configuration(small, tmp_path):
    from lamm_cl.clip.load import load_clip

    model = small(seed=3)
    vision = {"layers": 3, "width": 48, "head_width": 16, "patch_size": 8, "image_size": 32}
    text = {"width": 32, "heads": 2, "layers": 2, "context_length": 32}
    config = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    with pytest.raises(UsageError, match="no folder"):
        load_clip(f"local-dir:{tmp_path}")
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="could not be loaded"):
        load_clip(f"local-dir:{tmp_path}")
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    backbone = load_clip(f"local-dir:{tmp_path}")
    torch.testing.assert_close(backbone.model.visual.proj, model.visual.proj.detach())
    with pytest.raises(UsageError, match="brings its own weights"):
        load_clip(f"local-dir:{tmp_path}", "openai")
    with pytest.raises(UsageError, match=r"'a/b' are not on this machine.*local-dir"):
        load_clip("hf-hub:a/b", reach=lambda _: False)


def test_loading_again_from_what_it_remembers(listed, small, tmp_path):
    file = saved(small(seed=2), tmp_path / "weights.pt", "bare")
    backbone = load_clip(listed, file, precision="fp64", quick_gelu=False)
    load, arguments = backbone.source
    assert load(**arguments).fingerprint == backbone.fingerprint


def test_hub_functions_are_the_injected_ones():
    assert load_clip.__kwdefaults__["reach"] is hub.reachable
