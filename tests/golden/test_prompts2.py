"""The second family of prompt learners against the official codes, in double precision."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lamm_cl import build_model, fit_stage
from lamm_cl.methods import official
from tests.golden.conftest import recorded, reference_folder

TOLERANCE = 1e-9
TCP = "htyao89/Textual-based_Class-aware_prompt_tuning"
# The optimizers of the cases, at a constant rate; those that only one repository's cases have, under its name as well.
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "plain": lambda parameters: torch.optim.SGD(parameters, lr=0.002),
    "dassl": lambda parameters: torch.optim.SGD(parameters, lr=0.002, momentum=0.9, weight_decay=5e-4),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.001),
    f"{TCP} adam": lambda parameters: torch.optim.Adam(parameters, lr=0.002, weight_decay=5e-4, eps=1e-3),
    f"{TCP} adam_eps8": lambda parameters: torch.optim.Adam(parameters, lr=0.002, weight_decay=5e-4, eps=1e-8),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=2e-4, weight_decay=1e-2),
}


def clip_lora(case: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "clip_lora", {**case["args"], "templates": case["templates"], "dropout_rate": 0}


def prograd(case: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    cfg, first = case["cfg"], case["classnames"][0].replace("_", " ")
    options: dict[str, Any] = {"template": case["zero_shot_prompts"][0].replace(first, "{}")}
    options |= {"n_ctx": cfg["TRAINER__COOP__N_CTX"], "prograd_t": cfg["LOSS__T"]}
    options["ctx_init"] = "template" if cfg["TRAINER__COOP__CTX_INIT"] else "random"
    return "prograd", {**options, "prograd_lambda": cfg["LOSS__LAMBDA"]}


def mg_clip(case: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    cfg, mode = case["cfg"], case["cfg"]["lora_mode"].split("+")
    encoder = "both" if {"vision", "text"} <= {*mode} else "text" if "text" in mode else "vision"
    return "mg_clip", {"lora_rank": cfg["lora_rank"], "prompt_template": cfg["prompt_template"], "encoder": encoder}


def kgcoop(case: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    cfg = {key.split("__")[-1]: value for key, value in case["cfg"].items()}
    words = {"ctx_init": "a photo of a"} if cfg["CTX_INIT"] else {"ctx_init": "", "n_ctx": cfg["N_CTX"]}
    return "kgcoop", {**words, "w": cfg["W"], "class_templates": templates(case)}


def tcp(case: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    cfg = {key.split("__")[-1]: value for key, value in case["cfg"].items()}
    words = {"ctx_init": "a photo of a"} if cfg["CTX_INIT"] else {"n_ctx": cfg["N_CTX"]}
    [prompt], [teacher] = ({*templates(case, key)} for key in ("prompts", "zero_shot_prompts"))
    chosen = {"prompt": prompt, "teacher": teacher, "layer": case["inject_before_block"], "w": case["weight"]}
    return "tcp", {**words, **chosen}


def promptsrc(case: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    options = {key.split("__")[-1].lower(): value for key, value in case["cfg"].items()}
    words = json.loads((FOLDER / case["templates"]).read_text())
    return "promptsrc", {**options, "teacher_templates": words}


def templates(case: dict[str, Any], key: str = "zero_shot_prompts") -> list[str]:
    """The template of each class's prompt, read from the prompt itself."""
    spoken = [name.replace("_", " ") for name in case["classnames"]]
    pairs = list(zip(case[key], spoken, strict=True))
    return [
        f"{{}}{prompt[len(name) :]}" if prompt.startswith(name) else prompt.replace(f" {name}", " {}", 1)
        for prompt, name in pairs
    ]


# Our method and options for a case, by the repository whose code ran.
METHODS: dict[str, Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]] = {
    "MaxZanella/CLIP-LoRA": clip_lora,
    "BeierZhu/Prompt-align": prograd,
    "linlany/MindtheGap": mg_clip,
    "htyao89/KgCoOp": kgcoop,
    TCP: tcp,
    "muzairkhattak/PromptSRC": promptsrc,
}
# Our names of the terms that the reference holds apart.
TERMS = {"ce": "ce", "one_minus_cos": "kg", "text_l1": "text_l1", "image_l1": "image_l1", "kl": "kl"}


FOLDER = reference_folder() / "prompts2"
ABSENT = [pytest.param("absent", marks=pytest.mark.skip(reason="reference data not present"))]


def cases(*keys: str) -> list[Any]:
    """Names of the cases that we have a method for, and that have these keys."""
    found = recorded(FOLDER)
    return [n for n, case in found.items() if case["repo"] in METHODS and all(key in case for key in keys)] or ABSENT


@pytest.fixture(scope="session")
def prompts2(oracle: Any) -> Any:
    """The oracle of this family: the first one's functions of names, other cases."""
    return type(oracle)(FOLDER, json.loads((FOLDER / "index.json").read_text()), oracle.detgen, oracle.backbones)


def backbone(prompts2: Any, case: dict[str, Any]) -> Any:
    """The backbone of a case, which may have a tower of another height."""
    changed = case.get("arch_override")
    if not changed:
        return prompts2.backbone()
    index = {**prompts2.index, "arch": {**prompts2.index["arch"], **changed}}
    return type(prompts2)(prompts2.folder, index, prompts2.detgen, prompts2.backbones).backbone()


def build(prompts2: Any, name: str, **changes: Any) -> Any:
    """The method of a case, its random values as the reference drew them."""
    case = prompts2.case(name)
    method, options = METHODS[case["repo"]](case)
    names = case["classnames"][: len(case["tokens"])]
    model = build_model(method, backbone(prompts2, case), names, **{**options, **changes})
    values = official.gather(model)
    assert {key: list(value.shape) for key, value in values.items()} == case["trainable"]
    for key, how in case["init"].items():
        if "generator" in how:
            values[key] = torch.tensor(prompts2.detgen.arr(how["generator"], values[key].shape, how["std"]))
    official.scatter(model, values)
    return model


def compare(prompts2: Any, name: str, found: dict[str, torch.Tensor], key: str, drawn: str = "{}") -> None:
    """Compare tensors by their norms and by four fixed projections."""
    values = prompts2.values(name)
    for tensor, value in found.items():
        array, norm = value.detach().numpy(), values[f"f64/{key}/{tensor}/norm"]
        projections = [
            (array * prompts2.direction(f"proj/{name}/{drawn.format(tensor)}/{j}", array.shape)).sum() for j in range(4)
        ]
        assert abs(np.linalg.norm(array) - norm) <= TOLERANCE * norm, tensor
        assert np.abs(projections - values[f"f64/{key}/{tensor}/proj"]).max() <= 4 * TOLERANCE * norm, tensor


def close(found: torch.Tensor, expected: np.ndarray) -> bool:
    return bool(np.abs(found.detach().numpy() - expected).max() <= TOLERANCE * np.abs(expected).max())


def stages(case: dict[str, Any]) -> list[list[int]]:
    """Class ids of each stage up to that of the case."""
    first, more = case["cfg"]["initial_increment"], case["cfg"]["increment"]
    ends = [first + more * task for task in range(case["task"] + 1)]
    return [list(range(start, end)) for start, end in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize("name", cases())
def test_equals_the_official_code(name: str, prompts2: Any) -> None:
    values, case = prompts2.values(name), prompts2.case(name)
    labels, images = [torch.tensor(row) for row in case["labels"]], [prompts2.images(f"step{k}") for k in range(3)]
    stage = stages(case)[-1] if "task" in case else None
    optimizers = sorted(key.split("/")[2] for key in values if key.startswith("f64/losses/"))
    assert "plain" in optimizers
    apart = {key.split("/")[3] for key in values if key.startswith("f64/terms/plain/")} & set(TERMS)
    first: Any = None  # loss and gradients before any step: the same for each optimizer
    for kind in sorted(optimizers, key=lambda kind: kind != "plain"):
        model = build(prompts2, name)
        if first is None:
            with torch.no_grad():
                assert close(model.training_output(images[0]).logits, values["f64/logits"])
        optimizer, losses = OPTIMIZERS.get(f"{case['repo']} {kind}", OPTIMIZERS.get(kind))(model.parameters()), []
        for step in range(3):
            if step == 0 and first is not None:
                losses.append(first[0])
                for parameter, gradient in zip(model.parameters(), first[1], strict=True):
                    parameter.grad = gradient
                optimizer.step()
                continue
            terms = model.losses(images[step], labels[step], classes=stage)
            for term in apart if kind == "plain" else ():
                expected = values[f"f64/terms/plain/{term}"][step]
                ours = TERMS[term] if TERMS[term] in terms else "zero_shot_kl"  # of a projection, no term of the loss
                np.testing.assert_allclose(terms[ours].item(), expected, rtol=TOLERANCE)
            optimizer.zero_grad()
            model.backward(terms["total"], terms)
            losses.append(terms["total"].item())
            if step == 0:
                compare(prompts2, name, official.gather(model, gradients=True), "grad0")
                first = losses[0], [None if p.grad is None else p.grad.clone() for p in model.parameters()]
            optimizer.step()
        np.testing.assert_allclose(losses, values[f"f64/losses/{kind}"], rtol=TOLERANCE)
        compare(prompts2, name, official.gather(model), f"after3/{kind}")
        with torch.no_grad():
            assert close(model.training_output(images[0]).logits, values[f"f64/logits_after3/{kind}"])


@pytest.mark.parametrize("name", cases("run_lora"))
def test_recipe_is_that_of_run_lora(name: str, prompts2: Any) -> None:
    """The released training loop, whole: its optimizer, and its rate that falls with every step."""
    model, case = build(prompts2, name), prompts2.case(name)
    images = torch.cat([prompts2.images(f"step{k}") for k in range(3)])
    labels = torch.tensor(case["labels"]).flatten()
    history = fit_stage(model, images, labels, shuffle=False, epochs=1, batch_size=len(labels) // 3)
    np.testing.assert_allclose([step["total"] for step in history], case["run_lora"]["losses"], rtol=TOLERANCE)
    compare(prompts2, name, official.gather(model), "run_lora/after3")


@pytest.mark.parametrize("name", cases("task"))
def test_visual_classifier_and_fusion(name: str, prompts2: Any) -> None:
    """Rows of each stage, trained for four steps, and what text and rows predict together."""
    model, case, values = build(prompts2, name), prompts2.case(name), prompts2.values(name)
    images = [prompts2.images(f"step{k}") for k in range(3)]
    features = model.features(torch.cat(images[:2])).detach()
    for task, classes in enumerate(stages(case)):
        last = task == case["task"]
        labels = torch.tensor(case["labels" if last else f"labels_task{task}_for_head"][:2]).flatten()
        model.head.start(features, labels, classes)
        compare(prompts2, name, {"init": model.head.weights[: classes[-1] + 1]}, f"head/task{task}", "head")
        batches = [torch.arange(8), torch.arange(8, 16)] * 2
        losses = model.head.train_rows(features, labels, classes, batches)
        np.testing.assert_allclose(losses, values[f"f64/head/task{task}/losses"], rtol=TOLERANCE)
        compare(prompts2, name, {"after4": model.head.weights[: classes[-1] + 1]}, f"head/task{task}", "head")
    with torch.no_grad():
        p = model.training_output(images[2]).logits.softmax(1)
        assert close(p, values["f64/predict/text"])
        assert close(model(images[2]), values["f64/predict/combined"])


def before_the_end(model: Any) -> dict[str, torch.Tensor]:
    """The trained values as they are when the last epoch is over; filled in when a stage ends."""
    last: dict[str, torch.Tensor] = {}
    end_stage = model.end_stage

    def keep(*words: Any) -> None:
        last.update({tensor: value.detach().clone() for tensor, value in official.gather(model).items()})
        end_stage(*words)

    model.end_stage = keep
    return last


@pytest.mark.parametrize("name", cases("gpa_weights"))
@pytest.mark.parametrize("recipe", ["plain", "recipe"])
def test_average_over_epochs_is_the_released_one(name: str, recipe: str, prompts2: Any) -> None:
    values, case = prompts2.values(name), prompts2.case(name)
    images = torch.cat([prompts2.images(f"step{k}") for k in range(3)])
    labels, epochs = torch.tensor(case["labels"]).flatten(), len(case["gpa_lrs"][recipe])
    plain = {
        "lr": case["gpa_lrs"]["plain"][0],
        "momentum": 0,
        "weight_decay": 0,
        "schedule": "constant",
        "warmup_epochs": 0,
    }
    settings = {"epochs": epochs, "batch_size": len(labels) // 3, **(plain if recipe == "plain" else {})}

    model = build(prompts2, name)
    last = before_the_end(model)
    history = fit_stage(model, images, labels, shuffle=False, **settings)
    found = [step["total"] for step in history]
    np.testing.assert_allclose(found, values[f"f64/gpa/{recipe}/losses"].flatten(), rtol=TOLERANCE)
    compare(prompts2, name, last, f"gpa/{recipe}/last")
    compare(prompts2, name, official.gather(model), f"gpa/{recipe}/average")
    with torch.no_grad():
        assert close(model(prompts2.images("step0")), values[f"f64/gpa/{recipe}/logits"])


@pytest.mark.parametrize("name", cases("gpa_weights"))
def test_without_the_average_the_last_epoch_stays(name: str, prompts2: Any) -> None:
    model = build(prompts2, name, average=False)
    images, labels = prompts2.images("step0"), torch.tensor(prompts2.case(name)["labels"][0])
    last = before_the_end(model)
    fit_stage(model, images, labels, shuffle=False, epochs=2, batch_size=len(labels))
    found = official.gather(model)
    assert last.keys() == found.keys()
    assert all(torch.equal(found[tensor], value) for tensor, value in last.items())
