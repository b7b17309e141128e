"""Weights in files of people's own: read in every form, refused where they do not fit."""

import argparse
import json
import logging
import shlex
import sys
import warnings

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from lamm_cl.clip.load import load_clip
from lamm_cl.errors import UsageError
from tests.unit.clip.weight_files import never, saved, torchscript

pytestmark = pytest.mark.usefixtures("no_network")


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


def test_files_that_do_not_fit_name_what_differs(listed, small, tmp_path):
    wide = saved(small(vision={"width": 32}), tmp_path / "wide.pt", "bare")
    with pytest.raises(UsageError, match=r"does not fit small-ViT: visual.\w+ is \(.*\), expected \(.*and \d+ more"):
        load_clip(listed, wide)
    state = small().state_dict()
    del state["visual.proj"]
    torch.save(state | {"extra.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(UsageError, match=r"visual.proj is missing; extra.weight is not part of it"):
        load_clip(listed, tmp_path / "other.pt")


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


class Model(torch.nn.Module):
    """A class of somebody's training script."""


def follow(message, monkeypatch):
    """Do what the command line that a message advises does, as a shell splits it, in this process."""
    python, option, code, *arguments = shlex.split(message[message.index("python -c") :])
    assert (python, option) == ("python", "-c")
    monkeypatch.setattr(sys, "argv", ["-c", *arguments])
    exec(code, {})


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (lambda state: {"state_dict": state, "args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
        (lambda state: {"state_dict": state, "hyper_parameters": Model()}, r"[\w.]*test_weights.Model"),
        (lambda state: state | {"path": Runs()}, r"\w*\.?eval"),
    ],
)
def test_a_pickle_of_more_than_tensors_names_the_type_and_a_remedy(listed, small, tmp_path, content, kind, zipped):
    file = tmp_path / "it's mine.pt"
    torch.save(content(small(seed=5).state_dict()), file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UsageError, match=f"mine.pt can't be read: it holds ({kind}) beside tensors") as caught:
        load_clip(listed, file)
    assert str(caught.value).isprintable()
    assert "weights_only=False" in str(caught.value)


def test_the_remedy_works(listed, small, tmp_path, monkeypatch):
    model, file = small(seed=5), tmp_path / "it's mine.pt"
    state = model.state_dict() | {"twin": model.visual.proj, "turned": model.visual.proj.t()}
    torch.save({"state_dict": state, "args": argparse.Namespace(lr=1)}, file)
    with pytest.raises(UsageError) as caught:
        load_clip(listed, file)
    follow(str(caught.value), monkeypatch)
    with pytest.raises(UsageError, match=r"mine.safetensors does not fit small-ViT: .*twin is not part of it"):
        load_clip(listed, file.with_suffix(".safetensors"))
    torch.save({"state_dict": model.state_dict(), "args": argparse.Namespace(lr=1)}, file)
    follow(str(caught.value), monkeypatch)
    backbone = load_clip(listed, file.with_suffix(".safetensors"), quick_gelu=False)
    assert torch.equal(backbone.model.visual.proj, model.visual.proj)


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_weights_lie_under_the_usual_keys_also_where_the_remedy_is_followed(listed, small, tmp_path, monkeypatch, key):
    model, file = small(seed=5), tmp_path / "last.pth"
    torch.save({key: model.state_dict(), "optimizer": {"lr": 1}, "epoch": 3}, file)
    assert torch.equal(load_clip(listed, file, quick_gelu=False).model.visual.proj, model.visual.proj)
    for content in (model.state_dict(), model):
        torch.save({key: content, "args": argparse.Namespace(lr=1)}, file)
        with pytest.raises(UsageError, match="beside tensors") as caught:
            load_clip(listed, file)
        follow(str(caught.value), monkeypatch)
        backbone = load_clip(listed, file.with_suffix(".safetensors"), quick_gelu=False)
        assert torch.equal(backbone.model.visual.proj, model.visual.proj)


@pytest.mark.parametrize("prefix", ["model.", "clip_model.", "net.clip."])
def test_names_under_another_name_say_so(listed, small, tmp_path, prefix, monkeypatch):
    model, file = small(seed=5), tmp_path / "lightning.ckpt"
    state = {prefix + name: value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state | {"loss.scale": torch.zeros(1)}, "epoch": 3}, file)
    with pytest.raises(UsageError, match=rf"Its names begin with '{prefix}', as .*Lightning write them") as caught:
        load_clip(listed, file, quick_gelu=False)
    assert "Name the architecture" not in str(caught.value)
    follow(str(caught.value), monkeypatch)
    backbone = load_clip(listed, file.with_suffix(".plain.safetensors"), quick_gelu=False)
    assert torch.equal(backbone.model.visual.proj, model.visual.proj)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_say_so(listed, small, tmp_path, value):
    state = small().state_dict()
    state["visual.proj"][0, 0] = state["token_embedding.weight"][3, 3] = value
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(UsageError, match=r"nan.pt fits small-ViT, but holds NaN or infinite numbers: ") as caught:
        load_clip(listed, tmp_path / "nan.pt", quick_gelu=False)
    for name in ("visual.proj", "token_embedding.weight"):
        assert f"{name} has values that are not finite" in str(caught.value)
    assert "Name the architecture" not in str(caught.value)


pytestmark = pytest.mark.usefixtures("no_network")


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
