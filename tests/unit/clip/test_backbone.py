"""The backbone is frozen, is never copied, and encodes as open_clip does."""

import copy
import io
import pickle

import open_clip
import pytest
import torch
from torch import nn

import lamm_cl
from lamm_cl.clip.backbone import ClipBackbone, fingerprint
from lamm_cl.errors import UsageError
from tests.unit.clip.image_models import TOWERS

TEXTS = ["a photo of a dog.", "a cat", "x " * 100]


@pytest.fixture
def backbone(small, tokenizer):
    return ClipBackbone(small(), tokenizer)


def test_the_users_model_comes_back_frozen_and_in_evaluation_mode(small, tokenizer):
    model = small(**TOWERS["ResNet"]).train()
    backbone = ClipBackbone(model, tokenizer)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    before = fingerprint(model)
    backbone.encode_images(torch.randn(4, 3, 64, 64))
    assert fingerprint(model) == before, "batch norm moved"


@pytest.mark.parametrize("custom", [False, True])
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_encoding_equals_open_clips(small, tokenizer, custom, quick_gelu):
    model = small(custom=custom, quick_gelu=quick_gelu).double()
    backbone = ClipBackbone(model, tokenizer)
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    expected = model.encode_image(images, normalize=True)
    torch.testing.assert_close(backbone.encode_images(images), expected, rtol=0, atol=1e-12)
    expected = model.encode_text(tokenizer(TEXTS), normalize=True)
    torch.testing.assert_close(backbone.encode_text(TEXTS), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(backbone.encode_text(TEXTS[:2]), expected[:2], rtol=0, atol=1e-12)
    logits = backbone.logit_scale * backbone.encode_images(images) @ backbone.encode_text(TEXTS).t()
    torch.testing.assert_close(logits, model.get_logits(images, tokenizer(TEXTS))[0], rtol=0, atol=1e-10)


def test_features_carry_no_gradient_and_have_length_one(backbone):
    images = torch.randn(3, 3, 32, 32, requires_grad=True)
    for features in (backbone.encode_images(images), backbone.encode_text(TEXTS)):
        assert not features.requires_grad
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(3))
    assert not backbone.logit_scale.requires_grad


def test_nothing_to_encode_gives_no_rows(backbone):
    assert backbone.encode_images(torch.zeros(0, 3, *backbone.image_size)).shape == (0, backbone.embed_dim)
    assert backbone.encode_text([]).shape == (0, backbone.embed_dim)


def test_one_text_instead_of_a_list_is_refused(backbone):
    with pytest.raises(UsageError, match="a list of texts"):
        backbone.encode_text("dog")


def test_dimensions_are_read_from_the_model(small, tokenizer):
    assert ClipBackbone(small(), tokenizer).embed_dim == 24
    linear = small(custom=True, text={"proj_bias": True})
    assert ClipBackbone(linear, tokenizer).embed_dim == 24
    bare = open_clip.CustomTextCLIP(
        32,
        {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32},
        {"width": 32, "heads": 2, "layers": 1, "context_length": 32, "proj_type": "none"},
    )
    assert ClipBackbone(bare, tokenizer).embed_dim == 32


def test_scale_and_bias_are_scalars_with_the_exponential_taken(small, tokenizer):
    backbone = ClipBackbone(small(init_logit_scale=2.0, init_logit_bias=-10.0, nonscalar_logit_scale=True), tokenizer)
    assert backbone.logit_scale.shape == backbone.logit_bias.shape == ()
    assert backbone.logit_scale.item() == pytest.approx(7.389, abs=1e-3)
    assert backbone.logit_bias.item() == -10
    assert ClipBackbone(small(), tokenizer).logit_bias is None


def test_copies_are_the_backbone_itself(backbone):
    assert copy.copy(backbone) is backbone
    assert copy.deepcopy({"deep": [backbone]})["deep"][0] is backbone


def test_a_module_that_holds_it_does_not_own_its_weights(backbone):
    holder = nn.Linear(2, 2)
    holder.backbone = backbone
    assert len(list(holder.parameters())) == 2
    assert set(holder.state_dict()) == {"weight", "bias"}
    assert copy.deepcopy(holder).backbone is backbone
    assert not list(holder.children())


def test_pickles_carry_a_name_and_no_weights(backbone):
    content = pickle.dumps(backbone)
    assert len(content) < 2000
    assert pickle.loads(content) is backbone
    stream = io.BytesIO()
    torch.save({"backbone": backbone}, stream)
    assert len(stream.getvalue()) < 4000


def test_a_pickled_named_backbone_is_loaded_again_elsewhere(tiny, tmp_path, python_elsewhere):
    (tmp_path / "backbone.pkl").write_bytes(pickle.dumps(tiny))
    script = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).fingerprint)"
    said = python_elsewhere(script, tmp_path / "backbone.pkl")
    assert said.stdout.strip() == tiny.fingerprint, said


def test_a_pickled_backbone_of_ones_own_says_what_to_do_elsewhere(backbone):
    from lamm_cl.clip import backbone as module

    content = pickle.dumps(backbone)
    module._LIVE.clear()
    with pytest.raises(UsageError, match="Build the backbone here first"):
        pickle.loads(content)


def test_the_fingerprint_is_a_function_of_weights_and_architecture(small):
    assert fingerprint(small()) == fingerprint(small())
    assert fingerprint(small(seed=1)) != fingerprint(small())
    assert fingerprint(small(quick_gelu=True)) != fingerprint(small())
    assert fingerprint(small().double()) != fingerprint(small())
    changed = small()
    changed.visual.proj.data[0, 0] += 1e-7
    assert fingerprint(changed) != fingerprint(small())


@pytest.mark.parametrize("change", ["in place", "loaded"])
def test_the_fingerprint_follows_weights_that_change_in_place(backbone, small, change):
    old = backbone.fingerprint
    assert backbone.fingerprint == old
    with torch.no_grad():
        if change == "loaded":
            backbone.model.load_state_dict(small(seed=1).state_dict())
        else:
            next(backbone.model.visual.parameters()).mul_(1.1)
    assert backbone.fingerprint == fingerprint(backbone.model) != old


def test_moving_it_is_in_place_and_everything_follows(backbone):
    images = torch.randn(2, 3, 32, 32)
    before = backbone.encode_images(images)
    old = backbone.fingerprint
    assert backbone.to(dtype=torch.float64) is backbone
    assert backbone.dtype == torch.float64
    assert backbone.logit_scale.dtype == torch.float64
    assert backbone.encode_images(images).dtype == torch.float64
    assert backbone.fingerprint != old
    torch.testing.assert_close(backbone.encode_images(images).float(), before)
    assert backbone.to("cpu").device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("tower", ["GELU", "ResNet", "timm"])
def test_half_precision_is_close_and_gives_float32_features(small, tokenizer, dtype, tower):
    timm = {"timm_model_name": "convnext_atto", "timm_pool": "", "timm_proj": "linear", "image_size": 32}
    full = ClipBackbone(small(**{**TOWERS, "timm": {"vision": timm}}[tower]), tokenizer)
    images = torch.randn(2, 3, *full.image_size)
    expected_images, expected_text = full.encode_images(images), full.encode_text(TEXTS)
    half = full.to(dtype=dtype)
    assert half.dtype == dtype
    assert half.logit_scale.dtype == torch.float32
    tolerance = 0.1 if dtype == torch.bfloat16 else 0.02
    for ours, expected in ((half.encode_images(images), expected_images), (half.encode_text(TEXTS), expected_text)):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance)


def test_image_settings_come_from_the_transform_itself(small, tokenizer):
    from torchvision import transforms as T

    mine = T.Compose(
        [
            T.Resize(32, interpolation=T.InterpolationMode.BILINEAR),
            T.CenterCrop(32),
            T.ToTensor(),
            T.Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        ]
    )
    backbone = ClipBackbone(small(), tokenizer, mine)
    assert backbone.preprocess is mine
    assert (backbone.image_mean, backbone.image_std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert backbone.interpolation == "bilinear"


def test_without_a_transform_it_makes_the_models_own(small, tokenizer):
    from PIL import Image

    backbone = ClipBackbone(small(), tokenizer)
    assert backbone.preprocess(Image.new("L", (50, 40))).shape == (3, 32, 32)
    assert backbone.interpolation == "bicubic"
    assert backbone.image_mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)


def test_what_is_no_clip_is_refused(tokenizer):
    with pytest.raises(UsageError, match="Linear is not an open_clip CLIP"):
        ClipBackbone(nn.Linear(2, 2), tokenizer)


def test_it_says_what_it_is(tiny):
    assert repr(tiny).startswith("ClipBackbone('tiny', family A, d=")
    assert lamm_cl.ClipBackbone is ClipBackbone
