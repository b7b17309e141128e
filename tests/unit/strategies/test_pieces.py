"""The small parts of a strategy, each alone."""

import random
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import lamm_cl
from lamm_cl.clip.feature_cache import FeatureStore
from lamm_cl.errors import UsageError
from lamm_cl.strategies.batches import EpochBatches, SourceLoader
from lamm_cl.strategies.generators import (
    generator_state,
    preserved_generators,
    seed_generators,
    set_generator_state,
)
from lamm_cl.strategies.loss import PENALTY, LabelSpaceLoss, LossGuard, NonFiniteLossError, columns_of, spread
from lamm_cl.strategies.pictures import Pictures, feature_store
from lamm_cl.strategies.precision import Precision
from lamm_cl.strategies.settings import Settings


class TestLabelSpace:
    def test_columns(self) -> None:
        assert columns_of("own", {3, 1}, {0}, 5) == (1, 3)
        assert columns_of("seen", {3, 1}, {0, 1}, 5) == (0, 1, 3)
        assert columns_of("all", {3}, (), 3) == (0, 1, 2)

    def test_spread_puts_logits_at_their_columns(self) -> None:
        full = spread(torch.tensor([[1.0, 2.0]]), torch.tensor([3, 1]), 4)
        assert full.tolist() == [[-torch.inf, 2.0, -torch.inf, 1.0]]

    def test_loss_of_an_image_of_the_space(self) -> None:
        loss, logits = LabelSpaceLoss(), torch.randn(3, 5)
        labels = torch.tensor([1, 3, 3])
        assert torch.equal(loss(logits, labels), F.cross_entropy(logits, labels))
        loss.restrict((1, 3), (0, 1, 3), 5)
        expected = F.cross_entropy(logits[:, [1, 3]], torch.tensor([0, 1, 1]))
        assert torch.allclose(loss(logits, labels), expected)

    def test_a_remembered_image_competes_among_the_wider_columns(self) -> None:
        loss, logits = LabelSpaceLoss(), torch.randn(2, 5, requires_grad=True)
        loss.restrict((1, 3), (0, 1, 3), 5)
        value = loss(logits, torch.tensor([0, 3]))
        wide = F.cross_entropy(logits[:1, [0, 1, 3]], torch.tensor([0]))
        narrow = F.cross_entropy(logits[1:, [1, 3]], torch.tensor([1]))
        assert torch.allclose(value, (wide + narrow) / 2)
        value.backward()
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()


class TestGuard:
    def terms(self, **values: float) -> dict[str, Tensor]:
        return {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}

    def test_names_the_term_and_the_step_at_once_on_the_cpu(self) -> None:
        guard = LossGuard(torch.device("cpu"))
        guard.see(1, self.terms(ce=1.0, total=1.0))
        with pytest.raises(NonFiniteLossError, match=r"term 'wc' became nan at training step 2 "):
            guard.see(2, self.terms(ce=1.0, total=float("nan"), wc=float("nan")))
        with pytest.raises(NonFiniteLossError, match=r"\"plugins' penalties\" became inf"):
            guard.see(3, {**self.terms(ce=1.0, total=1.0), PENALTY: torch.tensor([float("inf")])})

    def test_remembers_the_first_bad_step_elsewhere(self) -> None:
        guard = LossGuard(torch.device("cuda"))
        guard.see(1, self.terms(ce=1.0, kd=1.0, total=1.0))
        guard.see(2, self.terms(ce=1.0, kd=float("inf"), total=float("inf")))
        guard.see(3, self.terms(ce=float("nan"), kd=1.0, total=float("nan")))
        with pytest.raises(NonFiniteLossError, match="'kd' became inf at training step 2 "):
            guard.flush()
        guard.flush()


class TestBatches:
    def test_order_depends_on_the_epoch_alone(self) -> None:
        def batches(epoch: int) -> list[list[int]]:
            sampler = EpochBatches(10, 4, lambda e: e, drop_last=False)
            sampler.epoch = epoch
            return list(sampler)

        assert batches(1) == batches(1)
        assert batches(1) != batches(2)
        assert sorted(i for batch in batches(1) for i in batch) == list(range(10))

    @pytest.mark.parametrize(("n", "sizes"), [(10, [4, 4]), (3, [3]), (4, [4]), (8, [4, 4])])
    def test_drops_the_last_only_where_there_is_a_full_one(self, n: int, sizes: list[int]) -> None:
        sampler = EpochBatches(n, 4, None, drop_last=True)
        assert [len(batch) for batch in sampler] == sizes
        assert len(sampler) == len(sizes)


class Source:
    """Stands for `ImageSource`: features are (index, epoch)."""

    def __init__(self) -> None:
        self.epoch: int | None = None
        self.features: Any = None
        self.calls: list[Any] = []

    def set_backbone(self, backbone: Any) -> None:
        self.calls.append(("backbone", backbone))

    def use_features(self, store: Any, kind: str = "unit") -> None:
        self.features = store

    def prefetch(self, indices: Sequence[int], epoch: int | None) -> None:
        self.calls.append(("prefetch", list(indices), epoch))

    def gather(self, indices: Sequence[int]) -> Tensor:
        return torch.tensor([[float(i), -1.0 if self.epoch is None else self.epoch] for i in indices])


class TestFeatureStore:
    def test_a_store_of_another_backbone_is_refused(self, tiny: Any) -> None:
        other = lamm_cl.load_clip("tiny")
        same = FeatureStore(other, None)
        assert feature_store(same, tiny) is same
        with torch.no_grad():
            next(other.model.visual.parameters()).mul_(1.1)
        with pytest.raises(UsageError, match="weights or image transforms differ"):
            feature_store(same, tiny)

    def test_a_store_of_another_transform_is_refused(self, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        other = lamm_cl.load_clip("tiny")
        monkeypatch.setattr(other, "preprocess", lambda picture: torch.zeros(3, 32, 32))
        with pytest.raises(UsageError, match="weights or image transforms differ"):
            feature_store(FeatureStore(other, None), tiny)


class TestPictures:
    def test_shows_views_only_while_needed(self) -> None:
        source = Source()
        pictures = Pictures("store", "backbone")
        with pictures.shown(source, 0):
            pictures.show(3)
            assert (source.features, source.epoch) == ("store", 3)
            with pictures.shown(source, None):
                assert source.epoch is None
            assert (source.features, source.epoch) == ("store", 3)
        assert (source.features, source.epoch) == (None, None)

    def test_two_backbones_share_a_source(self) -> None:
        source = Source()
        one, other = Pictures(None, "one"), Pictures(None, "other")
        for pictures, backbone in ((one, "one"), (one, "one"), (other, "other"), (one, "one")):
            with pictures.shown(source, None):
                assert source.calls[-1] == ("backbone", backbone)

    def test_without_a_source_nothing_happens(self) -> None:
        pictures = Pictures("store", "backbone")
        with pictures.shown(None, 1):
            assert not pictures.serves(SimpleNamespace(index=[1]))

    def test_loader_gathers_rows_of_the_current_epoch(self) -> None:
        class Data:
            index, targets, targets_task_labels = [5, 7, 9], [1, 0, 1], [0, 0, 0]

        source = Source()
        pictures = Pictures("store", "backbone")
        cpu = torch.device("cpu")
        read = partial(pictures.features, device=cpu)
        loader = SourceLoader(Data(), read, EpochBatches(3, 2, None, drop_last=False), cpu)
        with pictures.shown(source, 4):
            batches = list(loader)
        assert len(loader) == len(batches) == 2
        x, y, index, t = batches[0]
        assert (x.tolist(), y.tolist(), index.tolist(), t.tolist()) == ([[5, 4], [7, 4]], [1, 0], [5, 7], [0, 0])


class TestGenerators:
    def draws(self) -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    def test_torch_is_seeded_as_by_its_own_function(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[int] = []
        monkeypatch.setattr(torch.cuda, "manual_seed_all", asked.append)
        with preserved_generators():
            for used in (False, True):
                monkeypatch.setattr(torch.cuda, "is_initialized", lambda used=used: used)
                seed_generators(5)
                drawn = torch.rand(3)
                assert asked == [5] * used  # where no GPU is used, none keeps the call for later
                torch.default_generator.manual_seed(5)
                assert torch.equal(drawn, torch.rand(3))

    def test_seeded_inside_and_given_back(self) -> None:
        before = generator_state()
        with preserved_generators():
            seed_generators(5)
            first = self.draws()
            seed_generators(5)
            assert self.draws() == first
        after = generator_state()
        assert torch.equal(before.pop("torch"), after.pop("torch"))
        assert before == after

    def test_state_round_trip(self) -> None:
        with preserved_generators():
            np.random.normal()
            state = generator_state()
            first = self.draws()
            set_generator_state(state)
            assert self.draws() == first


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_precision_keeps_parameters_in_fp32(name: str) -> None:
    precision = Precision(name, torch.device("cpu"))
    weight = torch.nn.Parameter(torch.eye(4))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with precision.autocast():
        out = torch.ones(2, 4) @ weight
    assert out.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
    precision.scaled(out.float().mean()).backward()
    precision.step(optimizer)
    assert weight.dtype == torch.float32
    assert torch.allclose(weight, torch.eye(4) - 0.025, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_label_space": "sen"}, "should be 'own', 'seen' or 'all' (it says 'sen'). Did you mean 'seen'?"),
        ({"regime": "both"}, "regime of a strategy: should be 'naive', 'cumulative' or 'joint' (it says 'both')"),
        ({"precision": "fp8"}, "(it says 'fp8')."),
        ({"freeze_context_after": -1}, "freeze_context_after of a strategy: should be greater than or equal to 0"),
        ({"eval_mb_size": 0}, "eval_mb_size"),
        ({"seed": "x"}, "seed of a strategy: should be a whole number (it says 'x')"),
        ({"train_lable_space": "own"}, "option of a strategy 'train_lable_space'. Did you mean 'train_label_space'?"),
    ],
)
def test_settings_name_what_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        Settings.read("a strategy", options)
    assert message in str(error.value)
