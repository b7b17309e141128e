"""Pure half precision: everything in float16 that is so in the released trainers, and steps without a scaled loss."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from avalanche.training.plugins import SupervisedPlugin

import lamm_cl
from benchmarks.speed.pretended_gpu import pretended_gpu
from lamm_cl.methods import clip_lora, simplecil
from lamm_cl.methods.recipe import Recipe
from lamm_cl.methods.registry import METHODS, get_method, method_names
from lamm_cl.prompts.matching import Side, Transport
from lamm_cl.strategies.settings import Settings
from lamm_cl.strategies.strategy import LearnerStrategy

NAMES = ["zero", "red circle", "one"]
QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 4, "warmup_lr": 1e-3}
# MaPLe's code: `ctx` and `proj` are halved, `compound_prompts_text` and `compound_prompt_projections` are made by
# `torch.empty` and `nn.Linear` and rounded by `.half()` in the layers, as `VPT` and `VPT_shallow` are.
FULL = ("deep.compound", "deep.vision_prompts", "deep.text_prompts")


@pytest.fixture(scope="module")
def digits() -> Any:
    return lamm_cl.base_to_novel("digits", shots=2, seed=1)


def types(model: Any) -> set[tuple[bool, torch.dtype]]:
    """Of each parameter: whether the released code keeps it in float32, and its type."""
    return {(name.startswith(FULL), parameter.dtype) for name, parameter in model.named_parameters()}


def images(batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", [name for name in method_names() if get_method(name).prompts_only])
def test_a_model_in_half_precision(method: str, tiny: Any) -> None:
    half, full = (lamm_cl.build_model(method, tiny, NAMES, half=half) for half in (True, False))
    assert types(half) <= {(False, torch.float16), (True, torch.float32)}
    labels = torch.tensor([0, 1, 2, 0])
    terms = half.losses(images(), labels)
    assert {value.dtype for value in terms.values()} == {torch.float16}
    if terms["total"].requires_grad:
        terms["total"].backward()
    half.add_classes(["five"])
    full.add_classes(["five"])
    assert types(half) <= {(False, torch.float16), (True, torch.float32)}
    assert half(images()).dtype == torch.float16
    assert torch.allclose(half(images()).float(), full(images()), atol=0.1)  # of about 10


@pytest.mark.parametrize("method", ["lamm", "coop+lamm", "maple", "ivlp"])
def test_a_strategy_trains_in_half_precision(method: str, tiny: Any, digits: Any) -> None:
    trained = []
    for precision in ("pure_fp16", "fp32"):
        strategy = lamm_cl.build_strategy(method, tiny, digits, precision=precision, **QUICK)
        strategy.train(digits.train_stream)
        trained.append(strategy)
    half, full = trained
    assert types(half.model) <= {(False, torch.float16), (True, torch.float32)}
    state = half.optimizer.state
    assert state
    assert all(values["momentum_buffer"].dtype == parameter.dtype for parameter, values in state.items())
    assert not half.precision.scaler.is_enabled()
    assert {value.dtype for value in half.loss_terms.values()} == {torch.float16}
    assert half.model.backbone.dtype == torch.float16
    assert half.model.backbone.model.visual.conv1.weight.dtype == torch.float16
    for one, other in zip(half.model.parameters(), full.model.parameters(), strict=True):
        assert torch.allclose(one.float(), other, atol=0.01)


class Watch(SupervisedPlugin):  # type: ignore[type-arg]
    """Keeps the label of class 0 and its gradient around every step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[list[torch.Tensor]] = []

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        label = strategy.model.labels.token_classes.rows([0])[0]
        self.steps.append([label.detach().clone(), label.grad.clone()])

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        self.steps[-1].append(strategy.model.labels.token_classes.rows([0])[0].detach().clone())


def test_steps_are_dassls_sgd_in_half_precision(tiny: Any, digits: Any) -> None:
    watch = Watch()
    options = {"epochs": 3, "batch_size": 10, "warmup_epochs": 0, "schedule": "constant", "lr": 0.01}
    strategy = lamm_cl.build_strategy("lamm", tiny, digits, precision="pure_fp16", plugins=[watch], **options)
    strategy.train(digits.train_stream[0])
    assert len(watch.steps) == 3
    momentum = None
    for before, gradient, after in watch.steps:
        assert gradient.dtype == torch.float16
        step = gradient + (before.float() * 5e-4).half()
        momentum = step if momentum is None else (momentum * 0.9).half() + step
        expected = before.float() - 0.01 * momentum.float()
        assert (after.float() - expected).abs().max() <= torch.finfo(torch.float16).eps * before.abs().max()
        assert torch.equal(after, after.half())


def test_steps_below_half_precision_vanish(tiny: Any, digits: Any) -> None:
    strategy = lamm_cl.build_strategy("coop", tiny, digits, precision="pure_fp16", epochs=1, batch_size=4)
    before = strategy.model.context.ctx.detach().clone()
    strategy.train(digits.train_stream[0])  # the warm-up at 1e-5
    moved = (strategy.model.context.ctx != before).float().mean()
    assert moved < 0.5


def test_the_given_backbone_is_left_alone(tiny: Any, digits: Any) -> None:
    fingerprint = tiny.fingerprint
    strategy = lamm_cl.build_strategy("lamm", tiny, digits, precision="pure_fp16", **QUICK)
    strategy.train(digits.train_stream[0])
    assert tiny.dtype == torch.float32
    assert tiny.fingerprint == fingerprint
    half = lamm_cl.load_clip("tiny", precision="fp16")
    assert lamm_cl.build_strategy("lamm", half, digits, precision="pure_fp16").model.backbone is half
    assert strategy.model.backbone.fingerprint == half.fingerprint


def test_constructors_take_it_too(tiny: Any, digits: Any) -> None:
    strategy = lamm_cl.CoOp(backbone=tiny, class_names=digits.class_names, precision="pure_fp16")
    assert types(strategy.model) == {(False, torch.float16)}


def test_statistics_and_given_features_are_refused(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not clip_lora.METHOD.prompts_only
    monkeypatch.setitem(METHODS, "simplecil", simplecil.METHOD)
    with pytest.raises(lamm_cl.UsageError, match=r"simplecil on .*does not compute in half precision"):
        lamm_cl.build_model("simplecil", tiny, NAMES, half=True)
    with pytest.raises(lamm_cl.UsageError, match="on a CLIP with its towers"):
        lamm_cl.build_model("lamm", lamm_cl.FeatureBackbone(torch.eye(3)), NAMES, half=True)


@pytest.mark.parametrize(("half", "precision"), [(True, "fp32"), (False, "pure_fp16"), (True, "fp16")])
def test_a_model_of_another_precision_is_refused(half: bool, precision: str, tiny: Any) -> None:
    model = lamm_cl.build_model("lamm", tiny, NAMES, half=half)
    with pytest.raises(lamm_cl.UsageError, match=rf"precision='{precision}', but the model .*half={not half}"):
        LearnerStrategy(
            model=model, recipe=Recipe(lr=0.01, epochs=1, batch_size=4), settings=Settings(precision=precision)
        )


@pytest.mark.parametrize("method", ["lamm", "maple"])
def test_resumes_inside_a_stage_with_the_same_bits(method: str, tiny: Any, digits: Any) -> None:
    saved: list[Any] = []
    options = {**QUICK, "precision": "pure_fp16"}
    whole = lamm_cl.build_strategy(method, tiny, digits, on_epoch_end=lambda s: saved.append(s.checkpoint()), **options)
    whole.train(digits.train_stream[0])
    resumed = lamm_cl.build_strategy(method, tiny, digits, **options)
    resumed.restore(*saved[0])
    resumed.resume_training(digits.train_stream[0])
    pairs = list(zip(whole.model.parameters(), resumed.model.parameters(), strict=True))
    assert all(torch.equal(one, other) and one.dtype == other.dtype for one, other in pairs)


def test_transport_plans_do_not_overflow() -> None:
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.nn.functional.normalize(torch.randn(2, 4, 8, generator=generator), dim=-1) for _ in range(2))
    text[0] = -image[0]  # as far apart as can be: exp(-2 / 0.1) is 2e-9
    match = Transport(hierarchical=False)
    full = match(Side(image), Side(text))
    half = match(Side(image.half()), Side(text.half()))
    assert half.dtype == torch.float16
    assert torch.allclose(half.float(), full, atol=2e-3)


@pytest.mark.parametrize("method", ["lamm", "cocoop+lamm", "maple+lamm", "ivlp", "align"])
def test_a_strategy_on_a_pretended_gpu(method: str, digits: Any) -> None:
    options = {**QUICK, "precision": "pure_fp16", "features": None, **({"max_iter": 5} if method == "align" else {})}
    found = []
    for device in ("cpu", "cuda"):
        with pretended_gpu() if device == "cuda" else nullcontext():
            backbone = lamm_cl.load_clip("tiny", device=device)
            strategy = lamm_cl.build_strategy(method, backbone, digits, device=device, **options)
            strategy.train(digits.train_stream[0])
            assert all(parameter.device.type == device for parameter in strategy.model.parameters())
            assert types(strategy.model) <= {(False, torch.float16), (True, torch.float32)}
            found.append([parameter.detach().cpu().float() for parameter in strategy.model.parameters()])
    assert all(torch.allclose(one, other, atol=5e-3) for one, other in zip(*found, strict=True))
