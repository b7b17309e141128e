"""Weights that were trained with the other activation are refused."""

import json
import logging
import warnings

import pytest
import torch
from safetensors.torch import save_file

from lamm_cl.clip.load import load_clip
from lamm_cl.errors import UsageError
from tests.unit.clip.weight_files import never, saved, torchscript

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
