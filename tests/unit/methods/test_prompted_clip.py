"""How names become prompts, and the parts of a prompted CLIP that the official codes do not cover."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lamm_cl import build_model
from lamm_cl.clip.prompts_layout import slot
from lamm_cl.errors import UsageError
from lamm_cl.prompts.wording import Wording, body

NAMES = ["zero", "one", "seven eight", "nine"]


def picture(tiny: Any, batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, 3, *tiny.image_size, generator=torch.Generator().manual_seed(0))


def test_words_around_a_name(tiny: Any) -> None:
    words, wording = tiny.text.words, Wording.of("a photo of a {}.")
    a, photo, of = words.ids("a photo of")
    seven, eight, stop = words.ids("seven eight.")
    c = [slot(0), slot(1), slot(2), slot(3)]
    m = [slot(9)]
    name = "seven_eight"
    assert body(words, wording, name) == [a, photo, of, a, seven, eight, stop]
    assert body(words, wording, name, c) == [*c, seven, eight, stop]
    assert body(words, wording, name, c, position="front") == [seven, eight, *c, stop]
    assert body(words, wording, name, c, position="middle") == [*c[:2], seven, eight, *c[2:], stop]
    assert body(words, wording, name, c[:2]) == [*c[:2], of, a, seven, eight, stop]
    assert body(words, wording, name, (), m) == [a, photo, of, a, *m, eight, stop]
    assert body(words, wording, name, (), m, "whole_name") == [a, photo, of, a, *m, stop]
    assert body(words, wording, name, c[:2], m, "after_context") == [*c[:2], *m, a, seven, eight, stop]
    assert body(words, wording, name, c, m, "whole_name", "middle") == [*c[:2], *m, *c[2:], stop]


def test_a_name_that_ends_in_punctuation_is_tokenised_with_what_follows(tiny: Any) -> None:
    words = tiny.text.words
    found = body(words, Wording.of("a photo of a {}."), "c++")
    assert found == words.ids("a photo of a c++.")
    assert words.ids("c++.") != [*words.ids("c++"), *words.ids(".")]


@pytest.mark.parametrize("template", ["a photo", "{} and {}", ""])
def test_template_without_its_place_is_refused(template: str) -> None:
    with pytest.raises(UsageError, match="exactly once"):
        Wording.of(template)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["zero", ""], "is empty"),
        (["zero", "  "], "is empty"),
        (["zero", "zero"], "more than once"),
        (["zero", "one " * 80], "shorten the name"),
        (["zero<end_of_text>"], "marker"),
        ([], "at least one class"),
    ],
)
def test_bad_class_names(names: list[str], message: str, tiny: Any) -> None:
    with pytest.raises(UsageError, match=message):
        build_model("lamm", tiny, names)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("lam", {}, "Did you mean 'lamm'"),
        ("lamm", {"dialct": "paper"}, "Did you mean 'dialect'"),
        ("lamm", {"dialect": "both"}, "option dialect of lamm"),
        ("maple", {"prompt_depth": 9}, "more than the 4 layers"),
        ("coop", {"n_ctx": 3, "class_token_position": "middle", "ctx_init": "a photo of a"}, "needs every word"),
        ("coop", {"n_ctx": 9, "ctx_init": "a photo"}, "as many initial tokens"),
        ("coop", {"csc": True, "ctx_init": "a photo"}, "leave ctx_init empty"),
        ("lamm+lamm", {}, r"lamm learns its names already: leave \+lamm out"),
        ("zero_shot+kg", {}, r"zero_shot learns nothing that reaches its text features: leave \+kg out"),
        ("coop+kgg", {}, r"unknown method .* Did you mean 'coop\+kg'"),
    ],
)
def test_bad_options(method: str, options: dict[str, Any], message: str, tiny: Any) -> None:
    with pytest.raises(UsageError, match=message):
        build_model(method, tiny, NAMES, **options)


def test_several_templates_are_averaged_after_normalisation(tiny: Any) -> None:
    templates = ["a photo of a {}.", "a drawing of a {}.", "{}"]
    several = build_model("zero_shot", tiny, NAMES, templates=templates)
    features = torch.stack([tiny.encode_text([t.format(n) for n in NAMES]) for t in templates]).mean(0)
    expected = tiny.logit_scale * tiny.encode_images(picture(tiny)) @ F.normalize(features, dim=-1).t()
    assert torch.allclose(several(picture(tiny)), expected, atol=1e-4)


def test_each_class_can_have_its_own_template(tiny: Any) -> None:
    templates = ["a photo of a {}.", "a drawing of a {}.", "{}", "a photo of a {}."]
    model = build_model("zero_shot", tiny, NAMES, class_templates=templates)
    features = tiny.encode_text([t.format(n) for t, n in zip(templates, NAMES, strict=True)])
    expected = tiny.logit_scale * tiny.encode_images(picture(tiny)) @ features.t()
    assert torch.allclose(model(picture(tiny)), expected, atol=1e-4)


@pytest.mark.parametrize("position", ["front", "middle", "end"])
@pytest.mark.parametrize("csc", [False, True])
def test_coop_variants_equal_the_plain_path(position: str, csc: bool, tiny: Any) -> None:
    model = build_model("coop", tiny, NAMES, n_ctx=4, csc=csc, class_token_position=position)
    exact = model(picture(tiny))
    model.forget_features()
    tower, engine = tiny.text, tiny.text._engine
    tower._engine = None
    try:
        plain = model(picture(tiny))
    finally:
        tower._engine = engine
    assert torch.allclose(exact, plain, atol=1e-4)
    assert sum(p.numel() for p in model.parameters()) == 4 * tower.width * (len(NAMES) if csc else 1)


@pytest.mark.parametrize("dialect", ["official", "paper"])
def test_dialects_differ_in_what_trains(dialect: str, tiny: Any) -> None:
    model = build_model("lamm", tiny, ["seven eight", "two three four"], dialect=dialect)
    shapes = [tuple(p.shape) for p in model.parameters()]
    assert shapes == [((2, 1)[dialect == "paper"], tiny.text.width)] * 2
    output = model.output(picture(tiny))
    labels = torch.tensor([0, 1, 1, 0])
    terms = model.objective(output, labels)
    text, teacher = output.text[:, 0], output.zero_shot()
    distance = 1 - F.cosine_similarity(text, teacher)
    expected = distance[labels].mean() if dialect == "official" else distance.sum()
    assert torch.allclose(terms["cos"], expected, atol=1e-6)
    heat = 2.0 if dialect == "official" else 1.0
    logits, fixed = output.logits / heat, output.scale * output.image[:, 0] @ teacher.t() / heat
    kd = -(logits.softmax(1) * fixed.log_softmax(1)).sum(1).mean() * heat**2
    assert torch.allclose(terms["kd"], kd, rtol=1e-5)
    total = terms["ce"] + terms["wc"] / 16 + terms["cos"] + 0.05 * terms["kd"]
    assert torch.allclose(terms["total"], total)


def test_weights_of_the_hierarchical_loss(tiny: Any) -> None:
    model = build_model("lamm", tiny, NAMES, shots=4, lambda_cos=0, lambda_kd=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    model.forget_features()
    found = model.losses(picture(tiny), torch.tensor([0, 1, 2, 3]))
    assert set(found) == {"ce", "wc", "total"}
    expected = sum(0.01 * p.numel() for p in model.parameters())
    assert torch.allclose(found["wc"], torch.tensor(expected), rtol=1e-4)
    assert torch.allclose(found["total"], found["ce"] + found["wc"] / 4)


def test_kd_target_can_be_the_zero_shot_model(tiny: Any) -> None:
    model = build_model("lamm", tiny, NAMES, kd_target="zero_shot", lambda_wc=0, lambda_cos=0, lambda_kd=1)
    found = model.losses(picture(tiny), torch.tensor([0, 1, 2, 3]))
    output = model.output(picture(tiny))
    teacher = output.scale * output.image[:, 0] @ output.zero_shot().t() / 2
    expected = -(teacher.softmax(1) * (output.logits / 2).log_softmax(1)).sum(1).mean() * 4
    assert torch.allclose(found["kd"], expected, rtol=1e-5)


def test_old_classes_keep_their_logits_to_the_bit(tiny: Any) -> None:
    model = build_model("lamm", tiny, NAMES, learn=False)
    features = tiny.encode_images(picture(tiny))
    for group in ([0, 1], [2, 3]):
        model.learn_classes(group)
        sgd = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        for _ in range(3):
            output = model.output(features)
            loss = model.objective(output, torch.tensor([group[0], group[1]] * 2), group)["total"]
            sgd.zero_grad()
            loss.backward()
            sgd.step()
        with torch.no_grad():
            if group == [0, 1]:
                before = model(features)[:, :2].clone()
            else:
                assert torch.equal(model(features)[:, :2], before)


def test_remembered_features_notice_changed_values(tiny: Any) -> None:
    model = build_model("coop", tiny, NAMES, n_ctx=4)
    with torch.no_grad():
        before = model(picture(tiny))
        assert torch.equal(model(picture(tiny)), before)
        model.context.ctx.data.add_(0.5)
        assert not torch.equal(model(picture(tiny)), before)


def test_old_classes_cost_no_text_encoding(tiny: Any, monkeypatch: Any) -> None:
    model = build_model("lamm", tiny, NAMES, learn=False)
    features = tiny.encode_images(picture(tiny))
    encoded: list[int] = []
    original = tiny.text.encode
    monkeypatch.setattr(
        tiny.text, "encode", lambda layout, *a, **k: encoded.append(layout.n) or original(layout, *a, **k)
    )
    model.learn_classes([0, 1])
    model.output(features)
    model.learn_classes([2])
    model.objective(model.output(features), torch.tensor([2, 2, 2, 2]), [2])
    encoded.clear()
    for _ in range(3):
        model.objective(model.output(features), torch.tensor([2, 2, 2, 2]), [2])["total"].backward()
    assert encoded == [1, 1, 1]  # the one new class; old and unseen classes come from memory


def test_losses_need_something_to_look_at(tiny: Any) -> None:
    with pytest.raises(UsageError, match="images or image_features"):
        build_model("lamm", tiny, NAMES).losses(None, torch.tensor([0]))


def test_words_that_tiny_never_learned_are_named(tiny: Any) -> None:
    with pytest.warns(UserWarning, match="not learned the words .*retriever"):
        model = build_model("lamm", tiny, ["zero", "golden retriever"])
    assert torch.isfinite(model(picture(tiny))).all()
