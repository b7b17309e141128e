"""Terms that keep what is learned near zero-shot CLIP, or near what was learned before the stage."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import lamm_cl
from lamm_cl import build_model
from lamm_cl.errors import UsageError
from lamm_cl.methods.objective import Objective
from lamm_cl.methods.registry import METHODS, SUFFIXES, get_method
from lamm_cl.methods.storage import load_learner, save_learner
from lamm_cl.methods.terms import Reference
from lamm_cl.prompts.wording import TextBank

NAMES = ["zero", "one", "two", "three"]
LABELS = torch.arange(4)
SMALL = {"ranpac": {"M": 32}, "rail": {"hidden": 32}, "acil": {"buffer_size": 32}}


def picture(tiny: Any, seed: int = 0, batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, 3, *tiny.image_size, generator=torch.Generator().manual_seed(seed))


def train(model: Any, tiny: Any, classes: list[int], **recipe: Any) -> None:
    labels = torch.tensor(classes).repeat(2)
    images = picture(tiny, batch=len(labels))
    lamm_cl.fit_stage(model, images, labels, **{"epochs": 2, "warmup_epochs": 0, "lr": 0.05, **recipe})


def test_bank_is_the_mean_of_raw_or_of_unit_features(tiny: Any) -> None:
    rows = ["a photo of a {}.", "a drawing of a {}.", "{} in a picture"]
    model = build_model("coop", tiny, NAMES, n_ctx=2)
    raw = torch.stack([tiny.model.encode_text(tiny.tokenizer([t.format(n) for n in NAMES])).detach() for t in rows])
    unit = torch.nn.functional.normalize
    for bank, mean in (
        (TextBank.of([rows], unit=False), raw.mean(0)),
        (TextBank.of([rows]), unit(raw, dim=-1).mean(0)),
    ):
        assert torch.allclose(model.text.original((0, 1, 2, 3), bank), unit(mean, dim=-1), atol=1e-5)


def test_each_class_has_its_own_template(tiny: Any) -> None:
    templates = ["a photo of a {}.", "a drawing of a {}.", "{}", "a photo of a {}, a number."]
    model = build_model("kgcoop", tiny, NAMES, class_templates=templates)
    expected = tiny.encode_text([t.format(n) for t, n in zip(templates, NAMES, strict=True)])
    learned = model.text.encode((0, 1, 2, 3))[0].features[:, 0]
    found = model.losses(picture(tiny), LABELS)
    assert torch.allclose(found["kg"], (1 - (learned * expected).sum(1)).mean(), atol=1e-5)
    assert torch.allclose(found["total"], found["ce"] + 8 * found["kg"])


@pytest.mark.parametrize("method", ["ivlp", "maple", "clip_lora", "coop", "cocoop", "align"])
def test_zero_shot_is_the_backbone_as_it_came(method: str, tiny: Any) -> None:
    model, images = build_model(method, tiny, NAMES), picture(tiny)
    output = model.output(images)
    image, text = tiny.encode_images(images), tiny.encode_text([f"a photo of a {name}." for name in NAMES])
    assert torch.allclose(output.zero_shot_image(), image, atol=1e-5)
    assert torch.allclose(output.zero_shot_logits(), output.scale * image @ text.t(), atol=1e-3)
    assert not output.zero_shot_logits().requires_grad
    assert output.emptied().zero_shot_logits().shape == (0, 4)


@pytest.mark.parametrize("method", ["coop", "cocoop", "maple", "align", "clip_lora", "lamm"])
def test_previous_stage_is_the_model_before_the_stage(method: str, tiny: Any, tmp_path: Any) -> None:
    options = {"n_ctx": 2} if method == "coop" else {}
    model = build_model(f"{method}+kg", tiny, NAMES, reference="previous_stage", learn=False, **options)
    for what in ("image", "logits"):
        term = Reference(what, "l1", None, "previous_stage").term  # type: ignore[arg-type]
        more = model.parts.objective.plus({what: (term, 1.0)}, ["previous_stage"])
        object.__setattr__(model.parts, "objective", more)
    train(model, tiny, [0, 1])
    assert model.previous is None
    before = model.output(picture(tiny))
    fixed = before.text.detach(), before.image.detach(), before.logits.detach()
    train(model, tiny, [2, 3])
    output = model.output(picture(tiny))
    earlier = output.previous()
    for found, expected in zip((earlier.text, earlier.image, earlier.logits), fixed, strict=True):
        assert torch.allclose(found, expected, atol=1e-4)
        assert not found.requires_grad
    terms = model.objective(output, LABELS)
    assert torch.allclose(terms["logits"], (output.logits - earlier.logits).abs().mean())
    assert all(p.requires_grad is False for name, p in model.named_parameters() if name.startswith("previous."))
    save_learner(model, tmp_path / "learned.safetensors")
    again = build_model(f"{method}+kg", tiny, NAMES, reference="previous_stage", learn=False, seed=7, **options)
    load_learner(again, tmp_path / "learned.safetensors")
    assert torch.equal(again.output(picture(tiny)).previous().logits, earlier.logits)


def test_a_term_of_weight_zero_wants_nothing(tiny: Any) -> None:
    model = build_model("kgcoop", tiny, NAMES, w=0, reference="previous_stage")
    assert set(model.losses(picture(tiny), LABELS)) == {"ce", "total"}
    assert model.parts.objective.wants == Objective().wants
    assert not build_model("promptsrc", tiny, NAMES, image_loss_weight=0, kl_loss_weight=0).wants_plain


@pytest.mark.parametrize("method", ["promptsrc", "maple+src", "maple+prograd"])
def test_features_of_the_plain_tower_may_be_given_beside_images(method: str, tiny: Any) -> None:
    model, images = build_model(method, tiny, NAMES), picture(tiny)
    plain = F.normalize(tiny.encode_images(images), dim=-1)
    alone, given = model.losses(images, LABELS), model.losses(images, LABELS, image_features=plain)
    assert model.wants_plain
    assert given.keys() == alone.keys()
    assert all(torch.allclose(given[name], alone[name], rtol=1e-5, atol=1e-6) for name in alone)
    with pytest.raises(UsageError, match="4 images, but 3 image features"):
        model.losses(images, LABELS, image_features=plain[:3])
    with pytest.raises(UsageError, match="must have length 1"):
        model.losses(images, LABELS, image_features=2 * plain)
    with pytest.raises(UsageError, match="give images, not features"):
        model.losses(None, LABELS, image_features=plain)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("first", SUFFIXES)
@pytest.mark.parametrize("second", ["", *SUFFIXES])
def test_every_pair_is_built_or_says_why_not(name: str, first: str, second: str, tiny: Any) -> None:
    try:
        get_method(name + first + second)
    except UsageError as error:
        assert "leave +" in str(error)  # noqa: PT017
        return
    few: dict[str, dict[str, int]] = {"coop": {"n_ctx": 4}, **SMALL}
    model = build_model(name + first + second, tiny, NAMES, **few.get(name, {}))
    assert torch.isfinite(model.losses(picture(tiny), LABELS)["total"])


@pytest.mark.parametrize("what", ["vision", "text"])
def test_promptsrc_holds_only_what_learns(what: str, tiny: Any) -> None:
    model = build_model("promptsrc", tiny, NAMES, **({"prompt_depth_vision": 0} if what == "text" else {}))
    found = model.losses(picture(tiny), LABELS)
    assert model.needs_images == (what == "vision")
    assert (found["image_l1"] > 0) == (what == "vision")
    weights = {"ce": 1, "text_l1": 25, "image_l1": 10, "kl": 1}
    assert torch.allclose(found["total"], sum((w * found[name] for name, w in weights.items()), torch.zeros(())))


def test_tcp_pads_short_beginnings_and_keeps_long_ones(tiny: Any) -> None:
    templates = ["{} texture.", "a photo of {}, a food.", "a photo of a person doing {}.", "a photo of a {}."]
    model = build_model("tcp", tiny, NAMES, class_templates=templates)
    wordings = [model.context.wording(c, 0) for c in range(4)]
    assert [w.before for w in wordings] == ["X X X X", "a photo of X", "a photo of a person doing", "a photo of a"]
    assert [w.after for w in wordings] == [" texture.", ", a food.", ".", "."]
