"""Every method against what the official codes compute: logits, loss terms, gradients, parameters after 3 steps."""

from typing import Any

import numpy as np
import pytest
import torch

from lamm_cl import build_model
from lamm_cl.methods import official

SGD = {"plain": {}, "dassl": {"momentum": 0.9, "weight_decay": 5e-4}}
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5}
LOGITS = {torch.float64: 1e-9, torch.float32: 1e-5}
# Our method and options for each case of the reference.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "coop_photo": ("coop", {"ctx_init": "a photo of a"}),
    "coop_rand16": ("coop", {"n_ctx": 16}),
    "lamm": ("lamm", {}),
    "lamm_ce_only": ("lamm", {"lambda_wc": 0, "lambda_cos": 0, "lambda_kd": 0}),
    "coop_lamm": ("coop+lamm", {"ctx_init": "a photo of a"}),
    "cocoop": ("cocoop", {}),
    "maple_d3": ("maple", {"prompt_depth": 3}),
    "vpt_deep": ("vpt", {"n_ctx_vision": 4, "prompt_depth_vision": 3}),
    "ivlp": ("ivlp", {"prompt_depth_vision": 3, "prompt_depth_text": 3}),
    "align_hier": ("align", {"n_prompts": 2, "prompt_depth": 3}),
    "align_flat": ("align", {"n_prompts": 2, "prompt_depth": 3, "hierarchical": False}),
}


def build(oracle: Any, case: str, dtype: torch.dtype) -> Any:
    """The method of a case, its random values as the reference drew them."""
    method, options = CASES[case]
    description = oracle.case(case)
    shots = description["cfg"].get("shots", 16)
    model = build_model(method, oracle.backbone(dtype), description["classnames"], shots=shots, **options)
    values = official.gather(model)
    for name, how in description["init"].items():
        if "generator" not in how:
            continue
        generator, row = how["generator"], None
        if generator.endswith("]"):  # one prompt of several: "name[1]"
            row = generator[:-1].rsplit("[", 1)[1]
        shape = values[name].shape if row is None else values[name].shape[1:]
        drawn = torch.tensor(oracle.detgen.arr(generator, shape, how["std"])).to(dtype)
        if row is None:
            values[name] = drawn
        else:
            values[name] = values[name].clone()
            values[name][int(row)] = drawn
    official.scatter(model, values)
    return model


def digest(oracle: Any, case: str, name: str, value: torch.Tensor) -> tuple[float, np.ndarray]:
    """Norm and four fixed projections of a tensor."""
    array = value.detach().double().numpy()
    projections = [(array * oracle.detgen.raw(f"proj/{case}/{name}/{j}", array.shape)).sum() for j in range(4)]
    return float(np.linalg.norm(array)), np.array(projections)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_official_code(oracle: Any, case: str, dtype: torch.dtype) -> None:
    values, tag = oracle.values(case), "f64" if dtype == torch.float64 else "f32"
    labels = [torch.tensor(row) for row in oracle.case(case)["labels"]]
    images = [oracle.images(f"step{k}", dtype=dtype) for k in range(3)]
    tolerance = TOLERANCE[dtype]
    for optimizer, settings in SGD.items():
        model = build(oracle, case, dtype)
        trained = [p for p in model.parameters() if p.requires_grad]
        assert set(official.gather(model)) == set(oracle.case(case)["trainable"])
        with torch.no_grad():
            logits = model(images[0]).double().numpy()
        expected = values[f"{tag}/logits"]
        assert np.abs(logits - expected).max() <= LOGITS[dtype] * np.abs(expected).max()
        sgd, losses = torch.optim.SGD(trained, lr=0.002, **settings), []
        for step in range(3):
            found = model.losses(images[step], labels[step])
            sgd.zero_grad()
            found["total"].backward()
            losses.append(found["total"].item())
            check_terms(values, tag, optimizer, step, found, tolerance)
            if step == 0:
                compare(oracle, case, official.gather(model, gradients=True), values, f"{tag}/grad0", tolerance)
            sgd.step()
        np.testing.assert_allclose(losses, values[f"{tag}/losses/{optimizer}"], rtol=LOGITS[dtype])
        compare(oracle, case, official.gather(model), values, f"{tag}/after3/{optimizer}", tolerance)
        with torch.no_grad():
            logits = model(images[0]).double().numpy()
        expected = values[f"{tag}/logits_after3/{optimizer}"]
        assert np.abs(logits - expected).max() <= LOGITS[dtype] * np.abs(expected).max()


def check_terms(values: Any, tag: str, optimizer: str, step: int, found: dict[str, Any], tolerance: float) -> None:
    prefix = {0: "term", 1: "step1_term"}.get(step)
    if prefix is None or optimizer != "plain":
        return
    for name, official_term in (("ce", "ce"), ("wc", "wc_sumsq"), ("cos", "cos"), ("kd", "kd_raw")):
        key = f"{tag}/{prefix}/{official_term}"
        if key in values and name in found:
            np.testing.assert_allclose(
                found[name].item(), values[key], rtol=tolerance * 50, atol=1e-6 if tag == "f32" else 1e-12
            )


def compare(oracle: Any, case: str, found: dict[str, torch.Tensor], values: Any, key: str, tolerance: float) -> None:
    for name, value in found.items():
        norm, projections = digest(oracle, case, name, value)
        expected = values[f"{key}/{name}/norm"]
        assert abs(norm - expected) <= tolerance * expected, name
        assert np.abs(projections - values[f"{key}/{name}/proj"]).max() <= 4 * tolerance * expected, name


def test_plain_path_equals_the_engine(oracle: Any) -> None:
    model = build(oracle, "maple_d3", torch.float64)
    images = oracle.images("step0")
    exact = model(images)
    tower = model.backbone.text
    tower.exact, engine, tower._engine = False, tower._engine, None
    try:
        plain = model(images)
    finally:
        tower._engine, tower.exact = engine, True
    assert (exact - plain).abs().max() <= 1e-10 * plain.abs().max()
