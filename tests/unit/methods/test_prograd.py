"""The gradient projection, by hand and in every place that takes steps."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import lamm_cl
from lamm_cl import build_model
from lamm_cl.errors import UsageError
from lamm_cl.methods.prograd import turned
from lamm_cl.methods.registry import get_method

NAMES = ["zero", "one", "two", "three"]
LABELS = torch.tensor([3, 2, 1, 0])


@pytest.fixture(scope="module")
def exact() -> Any:
    """The embedded CLIP in double precision."""
    return lamm_cl.load_clip("tiny").to(dtype=torch.float64)


def images(backbone: Any) -> Tensor:
    drawn = torch.randn(4, 3, *backbone.image_size, generator=torch.Generator().manual_seed(0))
    return drawn.to(backbone.dtype)


def projected(a: Tensor, b: Tensor, share: float) -> Tensor:
    """The equation for one tensor."""
    product = float((a * b).sum())
    return a - share * product / float((b * b).sum()) * b if product < 0 else a


@pytest.mark.parametrize("share", [1.0, 0.8])
@pytest.mark.parametrize("method", ["coop", "maple", "coop+lamm", "clip_lora", "clip_adapter"])
def test_takes_the_component_against_zero_shot_away(method: str, share: float, exact: Any) -> None:
    options: dict[str, Any] = {"n_ctx": 4} if method.startswith("coop") else {}
    model = build_model(f"{method}+prograd", exact, NAMES, prograd_lambda=share, prograd_t=2.0, **options)
    x, text = images(exact), exact.encode_text([f"a photo of a {name}." for name in NAMES])
    scale = 100 if method == "clip_lora" else exact.logit_scale  # the method's own option
    zero_shot = scale * exact.encode_images(x) @ F.normalize(text, dim=-1).t()
    parameters = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        for parameter in parameters:
            parameter += 0.003 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        labels = (model(x) - zero_shot).argmax(1)  # where it has gone already, away from zero-shot CLIP
    terms = model.losses(x, labels)
    distance = F.kl_div((model(x) / 2).log_softmax(1), (zero_shot / 2).softmax(1), reduction="batchmean") * 4
    a = torch.autograd.grad(terms["total"], parameters, retain_graph=True)
    b = torch.autograd.grad(distance, parameters)
    model.backward(terms["total"], terms)
    opposed = 0
    for parameter, first, second in zip(parameters, a, b, strict=True):
        assert parameter.grad is not None
        opposed += bool((first * second).sum() < 0)
        torch.testing.assert_close(parameter.grad, projected(first, second, share), rtol=1e-8, atol=1e-8)
    assert opposed
    assert "zero_shot_kl" in terms
    weights = {"wc": 1 / 16, "cos": 1.0, "kd": 0.05}
    rest = terms["ce"] + sum(weight * terms[name] for name, weight in weights.items() if name in terms)
    torch.testing.assert_close(rest, terms["total"])


def test_a_share_of_zero_is_the_method_itself(tiny: Any) -> None:
    plain, off = (
        build_model(name, tiny, NAMES, n_ctx=4, **more)
        for name, more in (("coop", {}), ("coop+prograd", {"prograd_lambda": 0}))
    )
    assert off.losses(images(tiny), LABELS).keys() == plain.losses(images(tiny), LABELS).keys()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_strategy_takes_the_same_steps(precision: str, tiny: Any) -> None:
    """The scaled loss of fp16 gives the same projection; fp32 the bits of `fit_stage`'s first step."""
    benchmark = lamm_cl.base_to_novel("digits", shots=1, seed=1)
    options = {"epochs": 1, "batch_size": 5, "n_ctx": 4, "warmup_epochs": 0, "momentum": 0.0, "weight_decay": 0.0}
    seen: list[Tensor] = []
    for method in ("coop+prograd", "coop"):
        strategy = lamm_cl.build_strategy(method, tiny, benchmark, precision=precision, seed=2, **options)
        start = strategy.model.context.ctx.detach().clone()
        strategy.train(benchmark.train_stream[0])
        seen.append(strategy.model.context.ctx.detach() - start)
        assert ("zero_shot_kl" in strategy.loss_terms) == (method != "coop")
    assert torch.isfinite(seen[0]).all()
    assert not torch.equal(seen[0], seen[1])


def test_a_plugins_penalty_is_part_of_what_is_projected(tiny: Any) -> None:
    from avalanche.training.plugins import EWCPlugin

    benchmark = lamm_cl.base_to_novel("digits", shots=1, seed=1)
    moved = []
    for strength in (0.0, 1e4):
        strategy = lamm_cl.build_strategy(
            "coop+prograd", tiny, benchmark, epochs=2, batch_size=5, n_ctx=4, plugins=[EWCPlugin(strength)]
        )
        strategy.train(benchmark.train_stream)
        moved.append(strategy.model.context.ctx.detach().clone())
    assert not torch.equal(*moved)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a photo of a {}, a type of flower.", "a type of flower, a photo of a {}."),
        ("a centered satellite photo of {}.", "a centered satellite photo of {}."),
        ("{} texture.", "a texture of {}."),
    ],
)
def test_template_is_turned_as_the_released_code_writes_it(template: str, expected: str, tiny: Any) -> None:
    assert turned(template) == expected
    own = build_model("prograd", tiny, NAMES, class_templates=[template] * 4)
    given = build_model("prograd", tiny, NAMES, template=expected)
    assert torch.equal(own(images(tiny)), given(images(tiny)))


def test_context_starts_at_zero_and_then_as_the_words(tiny: Any) -> None:
    context = build_model("prograd", tiny, NAMES, n_ctx=6, template="a photo of a {}.").context.ctx
    words = build_model("coop", tiny, NAMES, ctx_init="a photo of a").context.ctx
    assert not context[:2].any()
    assert torch.equal(context[2:], words)
    fewer = build_model("prograd", tiny, NAMES, n_ctx=2, template="a photo of a {}.").context.ctx
    assert torch.equal(fewer, words[:2])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zero_shot+prograd", "trains nothing by gradient"),
        ("ranpac+prograd", "trains nothing by gradient"),
        ("prograd+prograd", "projects its gradients already"),
        ("coop+prograd+prograd", "projects its gradients already"),
        ("coop+lamm+lamm", "learns its names already"),
    ],
)
def test_refuses_what_makes_no_sense(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        get_method(name)


def test_forms_go_on_top_of_each_other_in_any_order(tiny: Any) -> None:
    for name in ("coop+lamm+prograd", "coop+prograd+lamm"):
        model = build_model(name, tiny, NAMES, n_ctx=4)
        assert {"wc", "cos", "kd", "zero_shot_kl"} <= model.losses(images(tiny), LABELS).keys()
        assert get_method(name).row["objective"].count("+") == 2
