"""Backbones load by name, tag and file, offline; what cannot work is said before anything is built."""

import json
import logging
import warnings

import open_clip
import pytest
import torch
from safetensors.torch import save_file

import lamm_cl
from lamm_cl.clip import hub, library
from lamm_cl.clip.load import check_device, load_clip, split_name
from lamm_cl.errors import UsageError


def never(*_, **__):
    raise AssertionError("the network was asked")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Any use of the network fails the test."""
    import urllib.request

    monkeypatch.setattr(urllib.request, "urlopen", never)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


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
    assert split_name(written, pretrained) == expected


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


@pytest.mark.parametrize(
    ("name", "tag", "other"),
    [
        ("ViT-B-16", "openai", "ViT-B-16-quickgelu"),
        ("RN50", "openai", "RN50-quickgelu"),
        ("ViT-L-14", "dfn2b", "ViT-L-14-quickgelu"),
        ("ViT-B-32", "metaclip_400m", "ViT-B-32-quickgelu"),
        ("ViT-B-16-quickgelu", "laion2b_s34b_b88k", "ViT-B-16"),
    ],
)
def test_a_quick_gelu_mismatch_is_an_error_before_any_download(name, tag, other):
    with pytest.raises(UsageError, match=rf"QuickGELU mismatch.*Instead, use the name '{other}'"):
        load_clip(name, tag, reach=never, download=never)


def saved(model, file, form):
    """Save a model's weights in one of the forms that people have."""
    state = model.state_dict()
    if form == "safetensors":
        save_file(state, file)
    elif form == "bare":
        torch.save(state, file)
    elif form == "checkpoint":
        state = {f"module.{key}": tensor for key, tensor in state.items()}
        torch.save({"epoch": 3, "name": "x", "state_dict": state}, file)
    return file


@pytest.mark.parametrize("form", ["safetensors", "bare", "checkpoint"])
@pytest.mark.parametrize("custom", [False, True])
def test_local_files_load_without_network(listed, small, tmp_path, form, custom, monkeypatch):
    if custom:
        config = open_clip.factory._MODEL_CONFIGS[listed]
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, listed, config | {"custom_text": True})
    # A flat file fits a model with a text tower of its own: open_clip renames.
    model = small(seed=5)
    file = saved(model, tmp_path / "weights.pt", form)
    backbone = load_clip(listed, str(file), quick_gelu=False, reach=never)
    images = torch.randn(2, 3, 32, 32)
    expected = model.eval().encode_image(images, normalize=True)
    torch.testing.assert_close(backbone.encode_images(images), expected)
    assert backbone.pretrained == str(file)


def torchscript(model, file):
    """Write what OpenAI published: a TorchScript archive in half precision with three scalars beside the weights."""
    model = model.eval()
    for name, value in {"input_resolution": 32, "context_length": 32, "vocab_size": 49408}.items():
        if hasattr(model, name):
            delattr(model, name)
        model.register_buffer(name, torch.tensor(value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Visual(model).eval(), torch.zeros(1, 3, 32, 32), check_trace=False), file)
    return file


class Visual(torch.nn.Module):
    """A model whose forward can be traced; its state dict is that of the model it holds."""

    def __init__(self, model):
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        for name, parameter in model.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, buffer in model.named_buffers(recurse=False):
            if name != "attn_mask":
                self.register_buffer(name, buffer)

    def forward(self, images):
        return self.visual(images)


def test_openais_archives_load_and_need_quick_gelu(listed, small, tmp_path):
    model = small(quick_gelu=True, seed=4)
    images = torch.randn(2, 3, 32, 32)
    expected = model.eval().encode_image(images, normalize=True)
    file = torchscript(model, tmp_path / "ViT.pt")
    backbone = load_clip("small-ViT-quickgelu", file, reach=never)
    torch.testing.assert_close(backbone.encode_images(images), expected)
    with pytest.raises(UsageError, match=r"QuickGELU mismatch.*OpenAI.*'small-ViT-quickgelu'"):
        load_clip(listed, file, reach=never)


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_other_torchscript_archives_tell_their_activation_by_their_code(listed, small, tmp_path, quick_gelu):
    model = small(quick_gelu=quick_gelu, seed=4)
    names = {True: "small-ViT-quickgelu", False: listed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(model.eval()), tmp_path / "archive.pt")
    backbone = load_clip(names[quick_gelu], tmp_path / "archive.pt")
    torch.testing.assert_close(backbone.model.visual.proj, model.visual.proj.detach())
    with pytest.raises(UsageError, match=r"QuickGELU mismatch.*its code uses"):
        load_clip(names[not quick_gelu], tmp_path / "archive.pt")


def test_the_activation_of_other_files_is_told_by_what_is_there(listed, small, tmp_path, caplog):
    state = small().state_dict()
    save_file(state, tmp_path / "said.safetensors", {"quick_gelu": "true"})
    with pytest.raises(UsageError, match="its metadata says so"):
        load_clip(listed, tmp_path / "said.safetensors")
    load_clip("small-ViT-quickgelu", tmp_path / "said.safetensors")

    bare = saved(small(), tmp_path / "bare.pt", "bare")
    with caplog.at_level(logging.WARNING):
        load_clip(listed, bare)
        assert "does not tell which activation" in caplog.text
        caplog.clear()
        load_clip(listed, bare, quick_gelu=False)
        load_clip("small-ViT-quickgelu", bare)
        assert caplog.text == ""
    with pytest.raises(UsageError, match="quick_gelu=True was given"):
        load_clip(listed, bare, quick_gelu=True)
    with pytest.raises(UsageError, match="contradicts the file"):
        load_clip(listed, tmp_path / "said.safetensors", quick_gelu=False)

    published = saved(small(), tmp_path / "small-quick.pt", "bare")
    with pytest.raises(UsageError, match="its name is that of small-ViT quick"):
        load_clip(listed, published)

    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": {"quick_gelu": True}, "preprocess_cfg": {"mean": [0.1, 0.2, 0.3]}})
    )
    beside = saved(small(), folder / "weights.pt", "bare")
    with pytest.raises(UsageError, match=r"open_clip_config.json beside it says so"):
        load_clip(listed, beside)
    assert load_clip("small-ViT-quickgelu", beside).image_mean == (0.1, 0.2, 0.3)


def test_files_that_do_not_fit_name_what_differs(listed, small, tmp_path):
    wide = saved(small(vision={"width": 32}), tmp_path / "wide.pt", "bare")
    with pytest.raises(UsageError, match=r"does not fit small-ViT: visual.\w+ is \(.*\), expected \(.*and \d+ more"):
        load_clip(listed, wide)
    state = small().state_dict()
    del state["visual.proj"]
    torch.save(state | {"extra.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(UsageError, match=r"visual.proj is missing; extra.weight is not part of it"):
        load_clip(listed, tmp_path / "other.pt")
    state = small().state_dict()
    state["visual.proj"][0, 0] = float("nan")
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(UsageError, match=r"visual.proj has values that are not finite"):
        load_clip(listed, tmp_path / "nan.pt")


class Runs:
    """An object whose unpickling runs code."""

    def __reduce__(self):
        return eval, ("1 + 1",)


def test_files_that_are_no_weights(listed, tmp_path):
    with pytest.raises(UsageError, match=r"none.pt does not exist"):
        load_clip(listed, tmp_path / "none.pt")
    with pytest.raises(UsageError, match=r"is a folder, not a file"):
        load_clip(listed, str(tmp_path))
    (tmp_path / "junk.pt").write_bytes(b"junk" * 100)
    (tmp_path / "junk.safetensors").write_bytes(b"junk" * 100)
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save({"state_dict": {}}, tmp_path / "nothing.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"weight": Runs()}, tmp_path / "code.pt")
    for name in ("junk.pt", "junk.safetensors", "empty.pt", "code.pt"):
        with pytest.raises(UsageError, match=f"{name} can't be read"):
            load_clip(listed, tmp_path / name)
    for name in ("nothing.pt", "list.pt"):
        with pytest.raises(UsageError, match="holds no state dict"):
            load_clip(listed, tmp_path / name)


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
    monkeypatch.setattr(library, "_build", never)
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
    assert load_clip(**backbone.source).fingerprint == backbone.fingerprint


def test_hub_functions_are_the_injected_ones():
    assert load_clip.__kwdefaults__["reach"] is hub.reachable
