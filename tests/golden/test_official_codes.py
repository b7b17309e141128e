"""Every method against what the official codes compute: logits, loss terms, gradients, parameters after 3 steps."""

import re
from typing import Any

import numpy as np
import pytest
import torch

from lamm_cl import build_model
from lamm_cl.methods import official

SGD = {"plain": {}, "dassl": {"momentum": 0.9, "weight_decay": 5e-4}}
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5}
LOGITS = {torch.float64: 1e-9, torch.float32: 1e-5}


def method_of(case: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Our method and options for what the index says of a case: its trainer, settings and shapes."""
    trainer, design = case["trainer"].removeprefix("trainers/").removesuffix(".py"), case["design_details"]
    names = {"N_CTX": "n_ctx", "CTX_INIT": "ctx_init", "CSC": "csc", "CLASS_TOKEN_POSITION": "class_token_position"}
    names |= {"PROMPT_DEPTH": "prompt_depth", "TEXT_PROMPT_DEPTH": "prompt_depth", "HIERARCHICAL": "hierarchical"}
    names |= {"eps": "eps"}
    cfg = {re.split(r"__|\.", key)[-1]: value for key, value in case["cfg"].items()}
    options = {names[key]: value for key, value in cfg.items() if key in names}
    if trainer in ("vpt", "independentVL"):
        vision = {"n_ctx_vision": design["vision_ctx"], "prompt_depth_vision": design["vision_depth"]}
        text = {"n_ctx_text": design["language_ctx"], "prompt_depth_text": design["language_depth"]}
        if trainer == "vpt":
            return "vpt", vision
        return ("ivlp", vision | text) if design["vision_depth"] else ("language_prompting", text)
    if trainer == "mmp":
        return "align", {"n_prompts": case["trainable"]["prompt_learner.ctx"][0], **options}
    if case["repo"] != "LAMM":
        return trainer, options
    if not cfg.get("triplet_loss"):
        options |= {"lambda_wc": 0, "lambda_cos": 0, "lambda_kd": 0}
    if cfg.get("origin_clip"):
        return "lamm", {"template": f"{options.pop('ctx_init')} {{}}.", **options}
    return f"{trainer}+lamm", options


def build(oracle: Any, case: str, dtype: torch.dtype) -> Any:
    """The method of a case, its random values as the reference drew them."""
    description = oracle.case(case)
    method, options = method_of(description)
    shots = description["cfg"].get("shots", 1)
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
    projections = [(array * oracle.direction(f"proj/{case}/{name}/{j}", array.shape)).sum() for j in range(4)]
    return float(np.linalg.norm(array)), np.array(projections)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
def test_equals_the_official_code(oracle: Any, case: str, dtype: torch.dtype) -> None:
    values, tag = oracle.values(case), "f64" if dtype == torch.float64 else "f32"
    labels = [torch.tensor(row) for row in oracle.case(case)["labels"]]
    images = [oracle.images(f"step{k}", dtype=dtype) for k in range(3)]
    tolerance = TOLERANCE[dtype]
    first: Any = None  # loss and gradients before any step: the same for each optimizer
    for optimizer, settings in SGD.items():
        model = build(oracle, case, dtype)
        trained = [p for p in model.parameters() if p.requires_grad]
        sgd, losses = torch.optim.SGD(trained, lr=0.002, **settings), []
        if first is None:
            assert set(official.gather(model)) == set(oracle.case(case)["trainable"])
            with torch.no_grad():
                logits = model(images[0]).double().numpy()
            expected = values[f"{tag}/logits"]
            assert np.abs(logits - expected).max() <= LOGITS[dtype] * np.abs(expected).max()
        for step in range(3):
            if step == 0 and first is not None:
                losses.append(first[0])
                for parameter, gradient in zip(trained, first[1], strict=True):
                    parameter.grad = gradient
                sgd.step()
                continue
            found = model.losses(images[step], labels[step])
            sgd.zero_grad()
            found["total"].backward()
            losses.append(found["total"].item())
            check_terms(values, tag, optimizer, step, found, tolerance)
            if step == 0:
                compare(oracle, case, official.gather(model, gradients=True), values, f"{tag}/grad0", tolerance)
                first = losses[0], [None if p.grad is None else p.grad.clone() for p in trained]
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


def test_plain_path_equals_the_engine(oracle: Any, case: str) -> None:
    model = build(oracle, case, torch.float64)
    images = oracle.images("step0")[:2]
    exact = model(images)
    tower = model.backbone.text
    tower.exact, engine, tower._engine = False, tower._engine, None
    try:
        plain = model(images)
    finally:
        tower._engine, tower.exact = engine, True
    assert (exact - plain).abs().max() <= 1e-10 * plain.abs().max()
