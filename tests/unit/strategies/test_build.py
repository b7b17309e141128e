"""From names and options to a strategy, and the strategies by name."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import lamm_cl
from lamm_cl.errors import UsageError

NAMES = ("zero", "one", "two", "three")


class Store:
    """A feature store in memory that counts what it encodes."""

    def __init__(self, backbone: Any) -> None:
        self.backbone = backbone
        self.rows: dict[tuple[str, str], Tensor] = {}

    def features(self, keys: Sequence[str], load: Callable[[int], Tensor], view: str, kind: str = "unit") -> Tensor:
        for i, key in enumerate(keys):
            if (key, view) not in self.rows:
                self.rows[key, view] = self.backbone.encode_images(load(i)[None])[0]
        return torch.stack([self.rows[key, view] for key in keys])


@pytest.fixture(scope="module")
def digits(tiny: Any) -> Any:
    return lamm_cl.base_to_novel("digits", shots=2, seed=1)


def plain(images: bool = True) -> Any:
    """An Avalanche benchmark that knows nothing of us: random pictures of four classes in two experiences."""
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_classification_dataset
    from torch.utils.data import TensorDataset

    def dataset(classes: tuple[int, ...]) -> Any:
        y = torch.tensor([k for k in classes for _ in range(3)])
        generator = torch.Generator().manual_seed(int(y.sum()))
        data = TensorDataset(torch.rand(len(y), 3, 32, 32, generator=generator), y)
        data.targets = y.tolist()  # type: ignore[attr-defined]
        return as_classification_dataset(data)

    sets = [dataset((0, 1)), dataset((2, 3))]
    return benchmark_from_datasets(train=sets, test=sets)


class TestBuildStrategy:
    def test_a_benchmark_of_ones_own(self, tiny: Any) -> None:
        benchmark = plain()
        strategy = lamm_cl.build_strategy("lamm", tiny, benchmark, class_names=NAMES, epochs=2, batch_size=4)
        for experience in benchmark.train_stream:
            strategy.train(experience)
        results = strategy.eval(benchmark.test_stream)
        assert strategy.trained == [(0, 1), (2, 3)]
        assert {name.split("/")[0] for name in results} == {"Top1_Acc_Exp", "Top1_Acc_Stream"}

    def test_a_planned_benchmark_is_scored_in_every_label_space(self, tiny: Any, digits: Any) -> None:
        results = lamm_cl.build_strategy("zero_shot", tiny, digits).eval(digits.test_stream)
        assert {name.split("/")[0] for name in results} >= {"Top1_Acc_Exp", "Top1_Acc_Exp_own", "Top1_Acc_Exp_all"}

    def test_class_names_are_asked_for(self, tiny: Any) -> None:
        with pytest.raises(UsageError, match="pass class_names"):
            lamm_cl.build_strategy("lamm", tiny, plain())

    def test_prints_nothing(self, tiny: Any, digits: Any, capsys: Any) -> None:
        strategy = lamm_cl.build_strategy("coop", tiny, digits, epochs=1)
        strategy.train(digits.train_stream[0])
        assert capsys.readouterr() == ("", "")

    def test_options_find_their_place(self, tiny: Any, digits: Any) -> None:
        strategy = lamm_cl.build_strategy(
            "coop+lamm",
            tiny,
            digits,
            n_ctx=4,
            lambda_kd=0.0,
            lr=0.5,
            train_mb_size=7,
            train_epochs=3,
            train_label_space="seen",
            eval_mb_size=11,
            eval_every=1,
            seed=9,
        )
        assert (strategy.model.options["n_ctx"], strategy.model.options["lambda_kd"]) == (4, 0.0)
        assert (strategy.recipe.lr, strategy.recipe.batch_size, strategy.recipe.epochs) == (0.5, 7, 3)
        assert (strategy.train_mb_size, strategy.train_epochs, strategy.eval_mb_size) == (7, 3, 11)
        assert (strategy.settings.train_label_space, strategy.settings.seed, strategy.eval_every) == ("seen", 9, 1)
        assert not any(p.requires_grad for n, p in strategy.model.named_parameters() if "token_classes" in n)

    @pytest.mark.parametrize(
        ("method", "options", "message"),
        [
            ("lam", {}, "unknown method 'lam'. Did you mean 'lamm'?"),
            ("coop", {"n_ctxx": 4}, "unknown option of coop 'n_ctxx'. Did you mean 'n_ctx'?"),
            ("lamm", {"train_space": "own"}, "unknown option of lamm 'train_space'. Did you mean 'train_label_space'?"),
            ("lamm", {"epochs": 0}, "option epochs of lamm: should be greater than or equal to 1 (it says 0)"),
            ("lamm", {"lr": -1.0}, "option lr of lamm: should be greater than or equal to 0 (it says -1.0)"),
            ("lamm", {"lr": float("nan")}, "option lr of lamm: should be a finite number (it says nan)"),
            ("lamm", {"batch_size": 2.5}, "option batch_size of lamm: should be a whole number (it says 2.5)"),
            ("lamm", {"warmup_epochs": -1}, "warmup_epochs"),
            ("lamm", {"schedule": "cosin"}, "(it says 'cosin'). Did you mean 'cosine'?"),
            ("lamm", {"drop_last": 2}, "option drop_last of lamm: should be true or false (it says 2)"),
            ("lamm", {"dialect": "papr"}, "option dialect of lamm"),
            ("lamm", {"regime": "joined"}, "option regime of lamm: should be 'naive'"),
            ("lamm", {"device": "cuda:99"}, "device 'cuda:99' is not there"),
        ],
    )
    def test_wrong_use_is_named(
        self, tiny: Any, digits: Any, method: str, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(UsageError) as error:
            lamm_cl.build_strategy(method, tiny, digits, **options)
        assert message in str(error.value)


class TestFeatures:
    def build(self, tiny: Any, digits: Any, method: str = "lamm", **options: Any) -> Any:
        return lamm_cl.build_strategy(method, tiny, digits, epochs=2, batch_size=4, **options)

    def test_agree_with_images_and_are_computed_once_a_view(self, tiny: Any, digits: Any) -> None:
        from lamm_cl.strategies.batches import SourceLoader

        store = Store(tiny)
        cached, direct = self.build(tiny, digits, features=store), self.build(tiny, digits, features=None)
        kinds: list[type] = []
        cached.plugins[0].before_forward = lambda s, **_: kinds.append(type(s.dataloader))
        results = [strategy.train(digits.train_stream) for strategy in (cached, direct)]
        assert results[0] == results[1]
        for one, other in zip(cached.model.parameters(), direct.model.parameters(), strict=True):
            assert torch.allclose(one, other, atol=1e-5)
        assert set(kinds) == {SourceLoader}
        assert len(store.rows) == 20 * 2  # two shots of ten digits, two epochs
        assert self.build(tiny, digits, "coop", features=store).train(digits.train_stream) is not None
        assert len(store.rows) == 20 * 2

    def test_serve_deltas_in_the_text_tower(self, tiny: Any, digits: Any) -> None:
        store = Store(tiny)
        self.build(tiny, digits, "clip_lora", features=store, encoder="text").train(digits.train_stream)
        assert len(store.rows) == 20 * 2

    def test_the_source_is_given_back(self, tiny: Any, digits: Any) -> None:
        strategy = self.build(tiny, digits, features=Store(tiny))
        strategy.train(digits.train_stream[0])
        assert digits.train_stream[0].dataset[0][0].shape == (3, 32, 32)
        assert digits.source.epoch is None

    @pytest.mark.parametrize(
        ("method", "options"), [("maple", {}), ("clip_lora", {}), ("clip_lora", {"encoder": "vision"})]
    )
    def test_are_not_used_where_something_learned_acts_in_the_image_tower(
        self, method: str, options: dict[str, Any], tiny: Any, digits: Any
    ) -> None:
        strategy = self.build(tiny, digits, method, features=Store(tiny), **options)
        strategy.plugins[0].before_forward = lambda s, **_: shapes.append(tuple(s.mb_x.shape[1:]))
        shapes: list[Any] = []
        strategy.train(digits.train_stream[0])
        assert set(shapes) == {(3, 32, 32)}

    @pytest.mark.filterwarnings("ignore:Call to deprecated function update:DeprecationWarning")
    def test_serve_replay_too(self, tiny: Any, digits: Any) -> None:
        from avalanche.training.plugins import ReplayPlugin

        store = Store(tiny)
        strategy = self.build(tiny, digits, features=store, plugins=[ReplayPlugin(mem_size=10)])
        shapes: list[Any] = []
        strategy.plugins[0].before_forward = lambda s, **_: shapes.append(tuple(s.mb_x.shape))
        strategy.train(digits.train_stream)
        assert (8, store.backbone.embed_dim) in shapes
        assert strategy.columns == tuple(range(10))


class TestNamed:
    def test_every_registered_method_has_a_strategy(self) -> None:
        from lamm_cl.methods.registry import METHODS
        from lamm_cl.strategies import named

        classes = [kind for kind in vars(named).values() if isinstance(kind, type) and issubclass(kind, named.Named)]
        assert {kind.method_name for kind in classes if kind is not named.Named} >= set(METHODS) & set(PUBLISHED)
        assert all(kind.__doc__ for kind in classes)

    def test_in_a_script_of_ones_own(self, tiny: Any, capsys: Any) -> None:
        from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics
        from avalanche.logging import InteractiveLogger
        from avalanche.training.plugins import EvaluationPlugin

        benchmark = plain()
        strategy = lamm_cl.LAMM(
            backbone=tiny,
            class_names=NAMES,
            shots=3,
            train_mb_size=4,
            train_epochs=2,
            eval_mb_size=5,
            device="cpu",
            plugins=[],
            evaluator=EvaluationPlugin(
                accuracy_metrics(epoch=True, experience=True),
                forgetting_metrics(experience=True),
                loggers=[InteractiveLogger()],
            ),
            lambda_kd=0.1,
        )
        for experience in benchmark.train_stream:
            strategy.train(experience)
            results = strategy.eval(benchmark.test_stream)
        assert any(name.startswith("ExperienceForgetting") for name in results)
        assert "Top1_Acc_Exp/eval_phase/test_stream" in capsys.readouterr().out
        assert strategy.model.options["lambda_kd"] == 0.1

    def test_learned_labels_on_top(self, tiny: Any) -> None:
        strategy = lamm_cl.MaPLe(backbone=tiny, class_names=NAMES, lamm=True, evaluator=silent())
        assert strategy.model.method == "maple+lamm"

    def test_help_shows_every_option(self) -> None:
        shown = inspect.signature(lamm_cl.CoOp).parameters
        for name in ("backbone", "class_names", "train_mb_size", "n_ctx", "train_label_space", "lr", "plugins"):
            assert name in shown
            assert shown[name].kind is inspect.Parameter.KEYWORD_ONLY

    def test_unknown_option(self, tiny: Any) -> None:
        with pytest.raises(UsageError, match=r"unknown option of coop 'n_ctz'. Did you mean 'n_ctx'"):
            lamm_cl.CoOp(backbone=tiny, class_names=NAMES, n_ctz=3)

    def test_a_subclass_of_ones_own(self, tiny: Any) -> None:
        class Mine(lamm_cl.LAMM):  # type: ignore[name-defined,misc]
            def __init__(self, *, names: Sequence[str], **options: Any) -> None:
                super().__init__(backbone=tiny, class_names=names, evaluator=silent(), **options)

        assert Mine(names=NAMES, lr=0.3).recipe.lr == 0.3
        assert list(inspect.signature(Mine).parameters) == ["names", "options"]


PUBLISHED = ("zero_shot", "coop", "cocoop", "lamm", "vpt", "language_prompting", "ivlp", "maple", "align")


def silent() -> Any:
    from lamm_cl.strategies.build import quiet_evaluator

    return quiet_evaluator()


@pytest.mark.parametrize("method", PUBLISHED)
def test_the_named_strategy_trains_like_the_built_one(method: str, tiny: Any) -> None:
    from lamm_cl.strategies import named

    kind = next(k for k in vars(named).values() if getattr(k, "method_name", None) == method)
    benchmark = plain()
    options: dict[str, Any] = {"train_epochs": 1, "warmup_epochs": 0, "seed": 4, "train_mb_size": 3}
    one = kind(backbone=tiny, class_names=NAMES, evaluator=silent(), **options)
    other = lamm_cl.build_strategy(method, tiny, benchmark, class_names=NAMES, shots=16, **options)
    for strategy in (one, other):
        strategy.train(benchmark.train_stream[0])
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


def test_an_interrupted_run_fills_the_same_accuracy_matrix(tiny: Any, digits: Any) -> None:
    import json

    from lamm_cl.clip.feature_cache import FeatureStore
    from lamm_cl.evaluation.plugins import AccuracyMatrix, evaluator

    features = FeatureStore(tiny, None)

    def run(stop: bool = False, start: Any = None) -> Any:
        matrix = AccuracyMatrix()
        strategy = lamm_cl.build_strategy(
            "coop",
            tiny,
            digits,
            epochs=2,
            warmup_lr=0.01,
            features=features,
            evaluator=evaluator(matrix),
            eval_every=1,
            on_epoch_end=lambda s: saved.append(s.checkpoint()) if stop and s.stage == 2 else None,
        )
        first = 0
        if start is not None:
            strategy.restore(start[0], json.loads(json.dumps(start[1])))
            first = 1
        for experience in digits.train_stream[first:]:
            strategy.train(experience, eval_streams=[digits.test_stream])
            strategy.eval(digits.test_stream)
        return strategy, matrix

    saved: list[Any] = []
    whole, expected = run(stop=True)
    resumed, found = run(start=saved[0])
    assert found.state() == expected.state()
    assert resumed.evaluator.last_metric_results == whole.evaluator.last_metric_results


def test_without_a_number_of_shots_lamm_counts_the_images(stream: Any) -> None:
    from lamm_cl.strategies.build import images_per_class

    benchmark = stream(((0, 1), (2, 3)))
    images = sum(len(experience.dataset) for experience in benchmark.train_stream)
    assert images_per_class(benchmark) == round(images / 4)


def test_a_label_outside_the_space_does_not_reach_a_gpu(tiny: Any, digits: Any) -> None:
    strategy = lamm_cl.build_strategy("lamm", tiny, digits, epochs=1)
    strategy.is_training, strategy.device, strategy.columns = True, torch.device("cuda"), (0, 1)
    strategy.mbatch = [torch.zeros(2, 3, 32, 32), torch.tensor([1, 5]), torch.zeros(2)]
    with pytest.raises(UsageError, match=r"labels hold class ids \[5\], but only \[0, 1\] compete"):
        strategy._unpack_minibatch()


def test_strategies_share_what_a_backbone_derived_from_its_weights(
    tiny: Any, digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, fingerprint = tiny.text, tiny.fingerprint
    lamm_cl.build_strategy("coop", tiny, digits, epochs=1).train(digits.train_stream[0])
    assert tiny.text is text
    monkeypatch.setattr("lamm_cl.clip.backbone.fingerprint", lambda model: "computed again")
    assert tiny.fingerprint == fingerprint
