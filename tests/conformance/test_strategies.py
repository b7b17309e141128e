"""What every registered method does as a strategy, alone and with learned labels."""

import copy
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pytest
import torch

from lamm_cl.clip.feature_cache import FeatureStore
from lamm_cl.errors import UsageError
from lamm_cl.methods.recipe import Recipe
from lamm_cl.methods.registry import get_method, method_names
from lamm_cl.strategies.settings import Settings

# Two shots, batches of two, two epochs: ten images a stage, enough for each rule and quick for every method.
OPTIONS: dict[str, Any] = {"epochs": 2, "batch_size": 4, "warmup_lr": 1e-3, "seed": 3}
FEW: dict[str, dict[str, Any]] = {
    "ranpac": {"M": 32},
    "acil": {"buffer_size": 32},
    "rail": {"hidden": 32},
    "tip_adapter": {"augment_epoch": 2, "search_step": (4, 3)},
    "tip_adapter_f": {"augment_epoch": 2, "search_step": (4, 3)},
    "rapf": {"lr": 0.01},
}
TEACHER = {"teacher_templates": ["a photo of a {}.", "a drawing of a {}."]}  # of PromptSRC, in the place of 60
# Those that train first: a method has the same place in both lists, by which pytest groups the tests of one run.
EVERY = sorted(method_names(), key=lambda method: not get_method(method).trains)
TRAINED = [method for method in EVERY if get_method(method).trains]


@pytest.fixture(scope="module")
def digits(tiny: Any) -> Any:
    import lamm_cl

    whole = lamm_cl.load_dataset("digits")
    return lamm_cl.base_to_novel(replace(whole, test=whole.test[::8]), shots=2, seed=1)


@pytest.fixture(scope="module")
def build(tiny: Any, digits: Any) -> Any:
    """Builds the strategy of a method; the features of the images are encoded once for all of them."""
    import lamm_cl

    store = FeatureStore(tiny, None)

    def build(method: str, **options: Any) -> Any:
        few = {**FEW.get(method.split("+")[0], {}), **(TEACHER if "src" in method else {})}
        return lamm_cl.build_strategy(method, tiny, digits, **{**OPTIONS, **few, "features": store, **options})

    return build


@pytest.fixture(scope="module")
def images(digits: Any, tiny: Any) -> torch.Tensor:
    digits.source.set_backbone(tiny)
    data = digits.test_stream[0].dataset
    return torch.stack([data[i][0] for i in range(6)])


@pytest.fixture(scope="module")
def frozen(tiny: Any) -> dict[str, torch.Tensor]:
    """The backbone before any training."""
    return {name: value.clone() for name, value in tiny.model.state_dict().items()}


@dataclass
class Whole:
    """An uninterrupted run over both stages, and how it was on its way.

    Attributes:
        strategy: At the end; tests only read it.
        between, middle: Checkpoints between the stages, and after the first epoch of the second (where it trains).
        first, held, learned, logits: After the first stage: names of what trains, parameters of the optimizer and of
            what trains, what is learned, and scores of the images by the classes of Set1.
    """

    strategy: Any
    between: Any
    middle: list[Any]
    first: set[str]
    held: tuple[set[int], set[int]]
    learned: dict[str, torch.Tensor]
    logits: torch.Tensor


def train_whole(method: str, build: Any, digits: Any, images: torch.Tensor, **options: Any) -> Whole:
    def stop(strategy: Any) -> None:
        if (strategy.stage, strategy.clock.train_exp_epochs) == (2, 1):
            middle.append(strategy.checkpoint())

    middle: list[Any] = []
    strategy = build(method, on_epoch_end=stop, **options)
    strategy.train(digits.train_stream[0])
    run = Whole(
        strategy,
        strategy.checkpoint(),
        middle,
        trains(strategy),
        held(strategy),
        learned(strategy),
        strategy.model(images)[:, :5].detach().clone(),
    )
    strategy.train(digits.train_stream[1])
    return run


@pytest.fixture(scope="module")
def whole(build: Any, digits: Any, images: torch.Tensor, frozen: Any) -> Callable[..., Whole]:
    @lru_cache(4)
    def whole(method: str, **options: Any) -> Whole:
        return train_whole(method, build, digits, images, **options)

    return whole


def learned(strategy: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in strategy.model.state_dict().items()}


def trains(strategy: Any) -> set[str]:
    return {name for name, p in strategy.model.named_parameters() if p.requires_grad}


def held(strategy: Any) -> tuple[set[int], set[int]]:
    """Return which parameters the optimizer has, and which train."""
    groups = strategy.optimizer.param_groups
    trained = {id(p) for p in strategy.model.parameters() if p.requires_grad}
    return {id(p) for group in groups for p in group["params"]}, trained


@pytest.mark.parametrize("method", EVERY, scope="module")
def test_grows_freezes_and_leaves_the_backbone_alone(
    method: str, whole: Any, images: torch.Tensor, tiny: Any, frozen: dict[str, torch.Tensor]
) -> None:
    run = whole(method)
    strategy, first, before, after = run.strategy, run.first, run.learned, learned(run.strategy)
    assert strategy.model.backbone is tiny
    assert not [n for n, p in strategy.model.named_parameters() if any(p is q for q in tiny.model.parameters())]
    assert (method in TRAINED) == bool(first)
    assert run.held[0] == run.held[1]
    old = first - trains(strategy)
    # What belongs to the classes of Set1 (labels, keys of a cache, maps of a stage) is frozen, all else trains on.
    assert bool(old) == any(one in method for one in ("lamm", "tip_adapter_f", "engine", "bofa", "proof"))
    assert all(torch.equal(before[name], after[name]) for name in old)
    assert all(not torch.equal(before[name], after[name]) for name in first & trains(strategy))
    if strategy.model.keeps_old_logits:
        assert not first & trains(strategy)
        assert torch.equal(strategy.model(images)[:, :5], run.logits)
    assert strategy.model(images).shape == (6, 10)
    assert all(torch.equal(value, frozen[name]) for name, value in tiny.model.state_dict().items())
    assert all(p.grad is None for p in tiny.model.parameters())


@pytest.mark.parametrize("method", TRAINED, scope="module")
def test_is_deterministic_and_resumes_to_the_bit(method: str, whole: Any, build: Any, digits: Any) -> None:
    check_resuming(whole(method), build(method), digits)


@pytest.mark.parametrize("method", EVERY, scope="module")
def test_goes_on_to_the_bit_from_between_stages(method: str, whole: Any, build: Any, digits: Any) -> None:
    run, resumed = whole(method), build(method)
    tensors, state = run.between
    resumed.restore(tensors, json.loads(json.dumps(state)))
    resumed.train(digits.train_stream[1])
    same(resumed, run.strategy)


@pytest.mark.parametrize("method", ["coop+kg", "lamm+kg", "maple+src"])
def test_resumes_to_the_bit_near_the_stage_before(method: str, whole: Any, build: Any, digits: Any) -> None:
    near = {"reference": "previous_stage"}
    check_resuming(whole(method, **near), build(method, **near), digits)


def check_resuming(run: Whole, resumed: Any, digits: Any) -> None:
    torch.rand(3)
    tensors, state = run.middle[0]
    resumed.restore(tensors, json.loads(json.dumps(state)))
    resumed.resume_training(digits.train_stream[1])
    same(resumed, run.strategy)
    model = run.strategy.model
    assert not any(value.numel() > 1_000_000 for value in tensors.values())
    kept = [v for v in tensors.values() if v.dim() and v.dtype != torch.uint8]  # without torch's generator
    values = sum(p.numel() for p in model.parameters())
    moments = 1 if run.strategy.recipe.optimizer == "sgd" else 2
    held = sum(b.numel() * b.element_size() for _, b in model.named_buffers())
    copies = 1 + moments + (getattr(model, "average", None) is not None)  # one more where epochs are averaged
    assert sum(v.numel() * v.element_size() for v in kept) <= 4 * copies * values + 2 * held  # and no backbone


@pytest.mark.parametrize("method", EVERY)
def test_no_option_of_a_method_hides_one_of_the_strategy(method: str) -> None:
    others = {*Settings.model_fields, *Recipe.model_fields}
    assert others.isdisjoint(get_method(method).options.model_fields)


def test_a_recipe_names_its_optimizer_and_a_user_gives_one(build: Any) -> None:
    assert type(build("tip_adapter_f").optimizer) is torch.optim.AdamW
    assert build("tip_adapter_f").optimizer.param_groups[0]["eps"] == 1e-4
    assert type(build("tip_adapter_f", optimizer="adam").optimizer) is torch.optim.Adam
    own = torch.optim.RMSprop([torch.nn.Parameter(torch.zeros(1))])
    assert build("tip_adapter_f", optimizer=own).optimizer is own


def same(one: Any, other: Any) -> None:
    first, second = learned(one), learned(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert one.model.stages == other.model.stages


@pytest.mark.parametrize("regime", ["cumulative", "joint"])
@pytest.mark.parametrize("method", EVERY)
def test_learns_from_all_images_at_once(method: str, regime: str, build: Any, digits: Any, images: Any) -> None:
    fixed = {"ridge": 1.0} if method == "ranpac" else {}  # it is selected on the images of a stage
    strategy = build(method, regime=regime, epochs=1, batch_size=16, **fixed)
    strategy.train(digits.train_stream)
    assert strategy.trained[-1] == tuple(range(10))
    assert torch.isfinite(strategy.model(images)).all()
    if method not in TRAINED:  # sums over images do not depend on the stages
        naive = build(method, **fixed)
        naive.train(digits.train_stream)
        assert torch.allclose(strategy.model(images), naive.model(images), atol=1e-3)


@pytest.mark.parametrize("method", [m for m in EVERY if "+" not in m])
def test_features_from_the_cache_give_what_images_give(method: str, build: Any, digits: Any, images: Any) -> None:
    scores = []
    for features in ("memory", None):
        strategy = build(method, features=features, epochs=1, batch_size=8)
        strategy.train(digits.train_stream[0])
        scores.append(strategy.model(images)[:, :5])
    assert torch.allclose(*scores, atol=1e-3)


def test_features_beside_images_come_from_the_cache(build: Any, digits: Any, tiny: Any, images: Any) -> None:
    store = FeatureStore(tiny, None)
    strategy = build("promptsrc", features=store, epochs=2)
    assert strategy.model.wants_plain
    strategy.train(digits.train_stream[0])
    first = strategy.model(images)
    views = 2 * len(digits.train_stream[0].dataset)  # each image in each epoch
    assert store.encoded == views
    again = build("promptsrc", features=store, epochs=2)
    again.train(digits.train_stream[0])
    assert store.encoded == views
    assert torch.equal(again.model(images), first)


@pytest.mark.parametrize("method", [m for m in EVERY if "+" not in m])
def test_reports_to_metrics_and_loggers(method: str, build: Any, digits: Any) -> None:
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.logging import TextLogger

    from lamm_cl.evaluation.plugins import AccuracyMatrix, evaluator
    from lamm_cl.strategies.loss import LossTerms

    matrix, printed = AccuracyMatrix(digits), io.StringIO()
    metrics = (accuracy_metrics(epoch=True, stream=True), matrix, LossTerms())
    strategy = build(method, epochs=1, evaluator=evaluator(*metrics, loggers=[TextLogger(printed)]))
    strategy.eval(digits.test_stream)
    for experience in digits.train_stream:
        strategy.train(experience)
        strategy.eval(digits.test_stream)
    found = matrix.matrices(before=True)
    assert found["own"].shape == (3, 2)
    assert (found["own"][2] > 0.3).all()
    assert (found["own"][2] >= found["all"][2]).all()
    assert "Top1_Acc_Stream" in printed.getvalue()


def test_a_benchmark_without_validation_images_is_refused_before_training(tiny: Any, stream_of_test: Any) -> None:
    import lamm_cl

    strategy = lamm_cl.build_strategy("tip_adapter_f", tiny, stream_of_test, **OPTIONS)
    with pytest.raises(UsageError, match=r"tip_adapter_f looks at validation images .* choose another selection"):
        strategy.train(stream_of_test.train_stream[0])
    assert strategy.clock.train_iterations == 0
    kinder = lamm_cl.build_strategy(
        "tip_adapter_f", tiny, stream_of_test, selection="none", best_epoch="none", **OPTIONS
    )
    kinder.train(stream_of_test.train_stream[0])


@pytest.fixture
def stream_of_test() -> Any:
    """Digits whose validation images were never drawn."""
    import lamm_cl

    return lamm_cl.base_to_novel(replace(lamm_cl.load_dataset("digits"), val=()), shots=2, seed=1)


@pytest.mark.parametrize("method", EVERY)
def test_a_copy_shares_the_backbone(method: str, build: Any, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = build(method)
    strategy.model.begin_stage(strategy.model.next_stage([0, 1]))
    copied: set[int] = set()

    def spy(kind: Any) -> None:
        original = kind.__deepcopy__

        def deepcopy(tensor: torch.Tensor, memo: Any) -> Any:
            copied.add(tensor.data_ptr())
            return original(tensor, memo)

        monkeypatch.setattr(kind, "__deepcopy__", deepcopy)

    spy(torch.Tensor)
    spy(torch.nn.Parameter)
    other = copy.deepcopy(strategy.model)
    assert other.backbone is tiny
    assert copied.isdisjoint(value.data_ptr() for value in tiny.model.state_dict().values())
    assert copied >= {p.data_ptr() for p in strategy.model.parameters() if p.numel()}


@pytest.mark.parametrize("method", ["coop", "lamm", "maple", "coop+lamm"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_keeps_prompts_in_fp32(method: str, precision: str, build: Any, digits: Any) -> None:
    strategy = build(method, precision=precision)
    strategy.train(digits.train_stream[0])
    assert all(p.dtype == torch.float32 for p in strategy.model.parameters())
    full = build(method)
    full.train(digits.train_stream[0])
    for name, value in learned(full).items():
        assert torch.allclose(value, learned(strategy)[name], atol=0.02), name
    assert not all(torch.equal(value, learned(strategy)[name]) for name, value in learned(full).items())


@pytest.mark.parametrize("method", ["lamm", "coop", "coop+lamm", "maple+lamm"])
def test_freezing_the_context_leaves_labels_to_learn(method: str, build: Any, digits: Any) -> None:
    strategy = build(method, freeze_context_after=1)
    strategy.train(digits.train_stream[0])
    before = learned(strategy)
    strategy.train(digits.train_stream[1])
    after = learned(strategy)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert bool(trains(strategy)) == method.endswith("lamm")


@pytest.mark.parametrize("method", ["lamm", "coop"])
def test_each_label_space_trains_differently(method: str, build: Any, digits: Any) -> None:
    results = []
    for space in ("own", "seen", "all"):
        strategy = build(method, train_label_space=space)
        strategy.train(digits.train_stream)
        results.append(torch.cat([value.flatten() for value in learned(strategy).values()]))
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[1], results[2])


@pytest.mark.parametrize("method", ["lamm", "coop", "coop+lamm", "maple+lamm"])
@pytest.mark.parametrize("after", [None, 1])
def test_scores_the_same_bits_after_restoring(
    method: str, after: int | None, build: Any, digits: Any, images: torch.Tensor
) -> None:
    strategy = build(method, freeze_context_after=after)
    strategy.train(digits.train_stream)
    restored = build(method, freeze_context_after=after)
    restored.restore(*strategy.checkpoint())
    with torch.no_grad():
        assert torch.equal(strategy.model(images), restored.model(images))


@pytest.mark.filterwarnings("ignore:Call to deprecated function update:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*__array_wrap__ must accept context:DeprecationWarning")
@pytest.mark.parametrize("method", ["lamm", "coop", "maple+lamm"])
@pytest.mark.parametrize("plugin", ["Replay", "EWC", "LwF", "SynapticIntelligence", "MAS", "AGEM", "GDumb"])
def test_composes_with_avalanches_plugins(method: str, plugin: str, build: Any, digits: Any) -> None:
    from avalanche.training import plugins as avalanche

    arguments = {"Replay": (8,), "EWC": (1.0,), "SynapticIntelligence": (1.0,), "AGEM": (4, 4), "GDumb": (12,)}
    kind = getattr(avalanche, f"{plugin}Plugin")
    strategy = build(method, plugins=[kind(*arguments.get(plugin, ()))])
    strategy.train(digits.train_stream)
    assert strategy.trained[-1] == (tuple(range(10)) if plugin == "GDumb" else tuple(range(5, 10)))
    held = {id(p) for p in strategy.optimizer.param_groups[0]["params"]}
    assert held == {id(p) for p in strategy.model.parameters() if p.requires_grad}
    assert all(torch.isfinite(value).all() for value in learned(strategy).values())
