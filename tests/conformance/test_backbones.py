"""Every family of open_clip: features equal its own, prompts go where they can, and are refused where they can't.

The models are small and random, of the same classes as the published ones; the real ViT-B-16 and RN50 once.
"""

import logging

import open_clip
import pytest
import torch

import lamm_cl

F64 = torch.float64
TEXT = {"width": 32, "heads": 2, "layers": 2, "context_length": 32}
VIT = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32}
RESNET = {"layers": [1, 1, 1, 1], "width": 16, "head_width": 16, "image_size": 64}


def timm(name, size=32, pool=""):
    return {"timm_model_name": name, "timm_pool": pool, "timm_proj": "linear", "image_size": size}


# family, kind of image tower -> (class, image tower, text tower, options)
BACKBONES = {
    "A ViT": ("CLIP", VIT, {}, {"quick_gelu": True}),
    "A ResNet": ("CLIP", RESNET, {}, {}),
    "A ConvNeXt": ("CLIP", timm("convnext_atto"), {}, {}),
    "B ViT": ("CustomTextCLIP", VIT, {}, {}),
    "B timm ViT": ("CustomTextCLIP", timm("test_vit", 160, "token"), {}, {}),
    "C ViT": ("CustomTextCLIP", VIT, {"pool_type": "eos", "eos_id": 49407}, {"quick_gelu": True}),
    "D FastViT": ("CustomTextCLIP", timm("fastvit_t8", 64), {"no_causal_mask": True}, {}),
    "E ViT": (
        "CustomTextCLIP",
        VIT | {"pool_type": "avg", "final_ln_after_pool": True, "pos_embed_type": "sin_cos_2d"},
        {"no_causal_mask": True, "pool_type": "last"},
        {},
    ),
    "F timm ViT": (
        "CustomTextCLIP",
        timm("test_vit", 160, "token"),
        {"no_causal_mask": True, "pool_type": "last", "proj_bias": True},
        {"init_logit_bias": -10.0},
    ),
    "F no projection": (
        "CustomTextCLIP",
        VIT,
        {"no_causal_mask": True, "pool_type": "last", "proj_type": "none", "width": 24, "heads": 2},
        {"init_logit_bias": -10.0},
    ),
}
NAMES = ["dog", "golden retriever", "a very long name of a thing that has many words"]


@pytest.fixture(scope="module")
def made():
    """Each backbone, built once: (open_clip model in float64, ClipBackbone on it)."""
    kept = {}

    def build(kind):
        if kind not in kept:
            cls, vision, text, options = BACKBONES[kind]
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(0)
                model = getattr(open_clip, cls)(24, vision, TEXT | text, **options).double()
            tokenizer = open_clip.SimpleTokenizer(context_length=32)
            kept[kind] = (model, lamm_cl.ClipBackbone(model, tokenizer, name=kind))
        return kept[kind]

    return build


@pytest.mark.parametrize("kind", BACKBONES)
def test_it_is_of_its_family_and_says_what_is_exact(made, kind):
    _, backbone = made(kind)
    assert backbone.family.letter == kind[0]
    assert backbone.text.exact == (kind[0] in "ABC")
    assert backbone.text.exact or backbone.text.why_plain


@pytest.mark.parametrize("kind", BACKBONES)
def test_features_are_open_clips(made, kind):
    model, backbone = made(kind)
    images = torch.randn(2, 3, *backbone.image_size, dtype=F64, generator=torch.Generator().manual_seed(0))
    texts = [f"a photo of a {name}." for name in NAMES]
    expected = model.encode_image(images, normalize=True)
    torch.testing.assert_close(backbone.encode_images(images), expected, rtol=0, atol=1e-10)
    expected = model.encode_text(backbone.tokenizer(texts), normalize=True)
    torch.testing.assert_close(backbone.encode_text(texts), expected, rtol=0, atol=1e-10)
    assert (backbone.logit_bias is None) == (kind[0] != "F")


@pytest.mark.parametrize("kind", BACKBONES)
def test_text_as_prompts_equals_text_as_words(made, kind):
    """The prompts' path (token ids laid out, own embeddings) gives what open_clip's `encode_text` gives."""
    model, backbone = made(kind)
    bodies = [backbone.text.words.ids(f"a photo of a {name}.") for name in NAMES]
    layout = backbone.text.layout(bodies)
    expected = model.encode_text(backbone.tokenizer([f"a photo of a {name}." for name in NAMES]))
    for plain in (False, True):
        features = backbone.text.encode(layout, plain=plain)
        torch.testing.assert_close(features, expected, rtol=0, atol=1e-10)


def learn(backbone, method, **options):
    """Build a method on a backbone and take one gradient; returns the trained tensors."""
    model = lamm_cl.build_model(method, backbone, NAMES[:2], **options)
    images = torch.randn(2, 3, *backbone.image_size, dtype=F64, generator=torch.Generator().manual_seed(0))
    losses = model.losses(images, torch.tensor([0, 1]))
    losses["total"].backward()
    assert torch.isfinite(losses["total"])
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@pytest.mark.parametrize("method", ["coop", "lamm", "cocoop", "language_prompting+lamm"])
@pytest.mark.parametrize("kind", BACKBONES)
def test_methods_that_prompt_the_text_learn_on_every_family(made, kind, method):
    trained = learn(made(kind)[1], method)
    assert trained
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in trained)
    assert any(parameter.grad.abs().sum() > 0 for parameter in trained)


@pytest.mark.parametrize("kind", BACKBONES)
def test_vision_prompts_run_where_there_is_a_place_for_them_and_are_refused_elsewhere(made, kind):
    _, backbone = made(kind)
    if BACKBONES[kind][1].get("patch_size"):
        assert backbone.image.supports_prompts
        for parameter in learn(backbone, "maple", prompt_depth=2):
            assert parameter.grad.abs().sum() > 0
        return
    assert not backbone.image.supports_prompts
    for method in ("maple", "vpt", "ivlp", "align"):
        with pytest.raises(lamm_cl.UsageError, match=r"image tower.*text-side method such as coop or lamm"):
            lamm_cl.build_model(method, backbone, NAMES[:2])
    with pytest.raises(lamm_cl.UsageError, match="takes no prompts"):
        backbone.image(torch.zeros(2, 3, *backbone.image_size, dtype=F64), torch.zeros(2, 8))


@pytest.mark.parametrize("kind", BACKBONES)
def test_nothing_of_it_trains(made, kind):
    model, _ = made(kind)
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", ["ViT-B-16", "RN50"])
def test_the_real_configurations_with_random_weights(name, caplog):
    with caplog.at_level(logging.WARNING):
        backbone = lamm_cl.load_clip(name, pretrained="random")
    assert caplog.text == ""
    model = backbone.model
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.normalize(model.encode_image(images), dim=-1)
    torch.testing.assert_close(backbone.encode_images(images), expected, rtol=0, atol=1e-5)
    texts = ["a photo of a dog.", "a photo of a cat."]
    expected = model.encode_text(backbone.tokenizer(texts), normalize=True)
    torch.testing.assert_close(backbone.encode_text(texts), expected, rtol=0, atol=1e-5)
    assert backbone.image.supports_prompts == (name == "ViT-B-16")
    assert backbone.embed_dim == expected.shape[1]
