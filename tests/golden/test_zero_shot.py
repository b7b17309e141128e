"""Zero-shot CLIP against the official code: tokens, features and logits, for two templates and two class lists."""

from typing import Any

import numpy as np
import pytest
import torch

from lamm_cl import build_model
from lamm_cl.clip.words import spoken

TEMPLATES = {"photo": "a photo of a {}.", "pets": "a photo of a {}, a type of pet."}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("template", TEMPLATES)
def test_equals_the_official_code(oracle: Any, template: str, dtype: torch.dtype) -> None:
    values, tag = oracle.values("zeroshot"), "f64" if dtype == torch.float64 else "f32"
    backbone, tolerance = oracle.backbone(dtype), 1e-9 if tag == "f64" else 1e-5
    names = oracle.case("lamm")["classnames"]
    key = f"{tag}/{template}/pets"
    if f"f64/{template}/pets/tokens" in values:
        texts = [TEMPLATES[template].format(spoken(name)) for name in names]
        tokens = values[f"f64/{template}/pets/tokens"]
        assert np.array_equal(backbone.tokenizer(texts)[:, : tokens.shape[1]].numpy(), tokens)
    model = build_model("zero_shot", backbone, names, class_templates=[TEMPLATES[template]] * len(names))
    with torch.no_grad():
        logits = model(oracle.images("step0", dtype=dtype)).double().numpy()
    expected = values[f"{key}/logits"]
    assert np.abs(logits - expected).max() <= tolerance * np.abs(expected).max()
