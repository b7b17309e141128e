"""The image tower equals what the official code computes on weights that are a function of their names."""

import pytest
import torch

CASES = [(torch.float64, 1e-12), (torch.float32, 1e-5)]


@pytest.mark.parametrize(("dtype", "tolerance"), CASES)
def test_image_features_are_those_of_the_official_code(oracle, dtype, tolerance):
    features = oracle.backbone(dtype).encode_images(oracle.images("step0", dtype=dtype))
    expected = torch.tensor(oracle.values("zeroshot")["f64/image_features"])
    torch.testing.assert_close(features.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), CASES)
def test_logits_are_those_of_the_official_code(oracle, dtype, tolerance):
    backbone = oracle.backbone(dtype)
    values = oracle.values("zeroshot")
    names = [name.replace("_", " ") for name in oracle.case("lamm")["classnames"]]
    text = backbone.encode_text([f"a photo of a {name}." for name in names])
    logits = backbone.logit_scale * backbone.encode_images(oracle.images("step0", dtype=dtype)) @ text.t()
    expected = torch.tensor(values["f64/photo/pets/logits"])
    error = (logits.double() - expected).abs().max() / expected.abs().max()
    assert error < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), CASES)
def test_deep_visual_prompts_give_the_official_logits(oracle, dtype, tolerance):
    case, values, backbone = oracle.case("vpt_deep"), oracle.values("vpt_deep"), oracle.backbone(dtype)
    prompts = []
    for name, shape in case["trainable"].items():
        init = case["init"][name]
        prompts.append(torch.tensor(oracle.detgen.arr(init["generator"], shape, init["std"])).to(dtype))
    features = backbone.image(oracle.images("step0", dtype=dtype), prompts[0], prompts[1:])
    names = [name.replace("_", " ") for name in case["classnames"]]
    text = backbone.encode_text([f"a photo of a {name}." for name in names])
    image = torch.nn.functional.normalize(features, dim=-1)
    expected = torch.tensor(values["f64/logits"])
    error = ((backbone.logit_scale * image @ text.t()).double() - expected).abs().max() / expected.abs().max()
    assert error < tolerance
