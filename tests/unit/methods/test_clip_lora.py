"""CLIP-LoRA: what it is composed of, what the feature cache has to do with it, and what a training step drops."""

import doctest
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import lamm_cl
from lamm_cl import build_model, fit_stage
from lamm_cl.errors import UsageError
from lamm_cl.methods import clip_lora
from lamm_cl.methods.method import Setting
from lamm_cl.methods.prompted_clip import PromptedCLIP
from lamm_cl.methods.registry import get_method
from lamm_cl.methods.stage import Step
from lamm_cl.prompts.deltas import Deltas
from lamm_cl.prompts.vectors import Initial

NAMES = ["zero", "one", "two", "three"]
LABELS = torch.tensor([0, 1, 2, 3])
TEMPLATES = ["itap of a {}.", "a photo of a {}.", "a drawing of the {}."]


@pytest.fixture(scope="module")
def exact() -> Any:
    """The embedded CLIP in double precision."""
    return lamm_cl.load_clip("tiny").to(dtype=torch.float64)


def images(backbone: Any, batch: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, *backbone.image_size, generator=generator).to(backbone.dtype)


def warm(model: Any) -> Any:
    """Give B random values: at zero, nothing is changed."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".b"):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.forget_features()
    return model


def in_step(model: Any, step: int = 0) -> Any:
    """Let the model be in a training step."""
    model.rehearse(None, None, Step(model.next_stage(range(4)), 0, step))
    return model


@pytest.mark.parametrize(("encoder", "takes"), [("both", "images"), ("vision", "images"), ("text", "unit")])
def test_the_towers_that_have_deltas_say_what_is_taken(encoder: str, takes: str, tiny: Any) -> None:
    model = build_model("clip_lora", tiny, NAMES, encoder=encoder)
    assert model.takes == takes
    towers = {name.split(".")[1] for name, _ in model.named_parameters()}
    assert towers == {"both": {"text", "image"}, "vision": {"image"}, "text": {"text"}}[encoder]
    layers = 4 * (1 + (encoder == "both"))
    assert len(list(model.parameters())) == layers * 3 * 2


def test_deltas_start_as_said_and_are_named(tiny: Any) -> None:
    both, text = (build_model("clip_lora", tiny, NAMES, encoder=e, r=3, seed=4) for e in ("both", "text"))
    values = dict(both.named_parameters())
    assert all(torch.equal(values[name], value) for name, value in text.named_parameters())
    for name, value in values.items():
        if name.endswith(".b"):
            assert not value.any()
        else:
            bound = value.shape[1] ** -0.5
            assert 0.9 * bound < value.abs().max() <= bound
    assert len({value[0, 0].item() for name, value in values.items() if name.endswith(".a")}) == len(values) // 2
    zero_shot = build_model("zero_shot", tiny, NAMES, templates="a photo of a {}.")
    same = build_model("clip_lora", tiny, NAMES, logit_scale=None)
    torch.testing.assert_close(same(images(tiny)), zero_shot(images(tiny)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("encoder", ["both", "vision", "text"])
@pytest.mark.parametrize("several", [False, True])
def test_vision_alone_trains_against_the_mean_of_all_templates(several: bool, encoder: str, exact: Any) -> None:
    templates = TEMPLATES if several else TEMPLATES[:1]
    model = warm(build_model("clip_lora", exact, NAMES, encoder=encoder, templates=templates))
    x = images(exact)
    with torch.no_grad():
        found = exact.image(x, deltas=model.deltas.of("image"))
        picture = F.normalize(found, dim=-1)
        every = torch.stack([exact.encode_text([t.format(n) for n in NAMES]) for t in templates])
        bodies = [exact.text.words.ids(templates[0].format(name)) for name in NAMES]
        first = F.normalize(exact.text.encode(exact.text.layout(bodies), deltas=model.deltas.of("text")), dim=-1)
        mean = F.normalize(every.mean(0), dim=-1)
        torch.testing.assert_close(model(x), 100 * picture @ first.T, rtol=1e-10, atol=1e-10)
        loss = F.cross_entropy(100 * picture @ (mean if encoder == "vision" else first).T, LABELS)
        torch.testing.assert_close(model.losses(x, LABELS)["total"], loss, rtol=1e-10, atol=1e-10)
        own = model.losses(x[2:], LABELS[2:], classes=[2, 3])["ce"]
        logits = 100 * picture[2:] @ (mean if encoder == "vision" else first).T
        torch.testing.assert_close(own, F.cross_entropy(logits[:, 2:], LABELS[:2]), rtol=1e-10, atol=1e-10)


def test_learned_labels_take_part_in_the_loss_of_vision_alone(tiny: Any) -> None:
    model = build_model("clip_lora+lamm", tiny, NAMES, encoder="vision", templates=TEMPLATES, shots=4)
    model.losses(images(tiny), LABELS)["ce"].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.labels.parameters())


def test_templates_are_the_data_sets_unless_given(tiny: Any) -> None:
    own = build_model("clip_lora", tiny, NAMES, class_templates=["{} texture."] * 4)
    given = build_model("clip_lora", tiny, NAMES, templates="{} texture.")
    plain = build_model("clip_lora", tiny, NAMES)
    x = images(tiny)
    assert torch.equal(own(x), given(x))
    assert not torch.equal(own(x), plain(x))


@pytest.mark.parametrize("encoder", ["both", "vision", "text"])
def test_a_training_step_drops_and_nothing_else_does(encoder: str, tiny: Any) -> None:
    model = warm(build_model("clip_lora", tiny, NAMES, encoder=encoder))
    x = images(tiny)
    whole = model(x)
    first, again, second = (in_step(model, step)(x) for step in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, whole)
    assert not torch.equal(first, second)
    with torch.no_grad():
        assert torch.allclose(in_step(model)(x), whole, atol=1e-4)
    model.eval()
    assert torch.allclose(in_step(model)(x), whole, atol=1e-4)
    model.train()
    model.end_epoch(model.next_stage(range(4)), 0, None)
    assert torch.equal(model(x), whole)
    without = warm(build_model("clip_lora", tiny, NAMES, encoder=encoder, dropout_rate=0))
    assert torch.equal(in_step(without)(x), whole)


def test_fitting_is_a_function_of_the_seed(tiny: Any) -> None:
    results = []
    for seed in (1, 1, 2):
        model = build_model("clip_lora", tiny, NAMES)
        fit_stage(model, images(tiny), LABELS, epochs=3, batch_size=4, seed=seed, shuffle=False)
        results.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])  # the order is given: what is dropped differs


def test_text_features_follow_the_deltas(tiny: Any) -> None:
    model = build_model("clip_lora", tiny, NAMES, encoder="text")
    x = images(tiny)
    with torch.no_grad():
        before = model(x)
        model.deltas.text["0"]["q"].b.fill_(0.5)
        after = model(x)
        assert not torch.equal(before, after)
        model.freeze_shared()
        assert torch.allclose(model(x), after, atol=1e-5)
    assert not any(p.requires_grad for p in model.parameters())


def composed(method: str, backbone: Any, dropout: float = 0.0, **options: Any) -> PromptedCLIP:
    """A method with deltas of every matrix in both towers."""
    entry = get_method(method)
    setting = Setting(backbone, NAMES, None, 4, Initial(0, backbone.device, backbone.dtype))
    made = entry.compose(setting, entry.options(**options))
    names = ["q", "k", "v", "o", "c_fc", "c_proj"]
    shapes = backbone.text.matrices(names), backbone.image.matrices(names)
    deltas = Deltas(*shapes, 2, 0.5, setting.initial, dropout)
    return warm(PromptedCLIP(backbone, NAMES, replace(made, deltas=deltas)))


@pytest.mark.parametrize("method", ["coop", "coop+lamm", "cocoop", "lamm", "vpt", "maple", "maple+lamm", "align"])
def test_deltas_meet_every_kind_of_prompt(method: str, exact: Any) -> None:
    """The engine's loss and gradients are those of the plain path, and a step that drops has them too."""
    options = {"n_ctx": 4, "ctx_init": "a photo of a"} if method in ("coop", "coop+lamm") else {}
    model, x = composed(method, exact, **options), images(exact)
    results = []
    for engine in (exact.text._engine, None):
        kept, exact.text._engine = exact.text._engine, engine
        try:
            model.zero_grad()
            model.forget_features()
            loss = model.losses(x, LABELS)["total"]
            loss.backward()
        finally:
            exact.text._engine = kept
        results.append([loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert len(results[0]) == len(results[1]) == 1 + sum(1 for _ in model.parameters())
    for mine, plain in zip(*results, strict=True):
        assert (mine - plain).norm() <= 1e-9 * plain.norm()
    dropping = in_step(composed(method, exact, dropout=0.25, **options))
    loss = dropping.losses(x, LABELS)["total"]
    loss.backward()
    assert loss != results[0][0]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in dropping.parameters())


def test_layers_at_a_position() -> None:
    assert doctest.testmod(clip_lora).failed == 0
    for layers in (3, 4, 12, 24):
        thirds = [clip_lora.layers_at(p, layers) for p in ("bottom", "mid", "up")]
        assert [*chain(*thirds)] == clip_lora.layers_at("all", layers) == list(range(layers))


def test_wrong_use_is_named(tiny: Any) -> None:
    with pytest.raises(UsageError, match="params"):
        build_model("clip_lora", tiny, NAMES, params=["w"])
    with pytest.raises(UsageError, match="dropout_rate"):
        build_model("clip_lora", tiny, NAMES, dropout_rate=1)
    given = lamm_cl.FeatureBackbone(torch.eye(4))
    with pytest.raises(UsageError, match="no text tower"):
        build_model("clip_lora", given, NAMES)
