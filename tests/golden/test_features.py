"""Heads and adapters on given features against what the official codes compute, stage by stage."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lamm_cl
from lamm_cl import build_model
from lamm_cl.evaluation import metrics
from lamm_cl.methods.optimizer import recipe_optimizer, restart
from lamm_cl.methods.recipe import lr_at
from lamm_cl.methods.registry import recipe_for
from lamm_cl.methods.ridge import ridge_losses
from tests.golden.conftest import reference_folder

TOLERANCE = 1e-9
KINDS = {"raw": "raw", "norm": "unit"}
ADAPTER = ("fc.0.weight", "fc.2.weight")


class Reference:
    """The inputs, which are functions of names, and the official codes' values.

    Attributes:
        settings: the numbers of the cases.
        tasks: classes of each stage.
        raw: image features of each split, not normalised; `unit`: normalised.
        labels: of each split.
        text: (12, 512) text features, not normalised.
        order: rows of the training set in each stage; `joint`: in joint training.
    """

    def __init__(self, folder: Path, detgen: Any) -> None:
        self.folder, self.detgen = folder, detgen
        self.index = json.loads((folder / "index.json").read_text())
        self.settings, self.tasks = self.index["settings"], self.index["tasks"]
        self.seed, self.prefix = self.index["seed"], self.index["prefix"]
        c, d, classes = self.settings, 512, sum(map(len, self.tasks))
        shared = c["common"] * self.draw("common", (d,)) + c["mean"] * self.draw("mean", (classes, d))[:, None]
        self.raw: dict[str, Tensor] = {}
        self.labels: dict[str, Tensor] = {}
        for split, n in self.index["per_class"].items():
            one = shared + self.draw(split, (classes, n, d))
            self.raw[split] = self._long(one, split, (classes, n))
            self.labels[split] = torch.arange(classes).repeat_interleave(n)
            if split == "train":
                self._train = one
        self.unit = {split: _unit(x) for split, x in self.raw.items()}
        text = c["text_common"] * self.draw("text_common", (d,)) + c["text_mean"] * self.draw("mean", (classes, d))
        length = c["text_norm_scale"] * torch.exp(c["text_norm_std"] * self.draw("text_norm", (classes,)))
        self.text = length[:, None] * _unit(text + self.draw("text", (classes, d)))
        self.order = [torch.tensor(rows) for rows in self.index["order"]]
        self.joint = torch.tensor(self.index["joint_order"])
        for split, check in self.index["checks"].items():
            known = {**self.unit, **{f"{k}_raw": v for k, v in self.raw.items()}, "text_raw": self.text}
            if split in known:
                assert float(known[split].sum()) == pytest.approx(check["sum"], rel=1e-12)

    def draw(self, name: str, shape: tuple[int, ...], std: float = 1.0) -> Tensor:
        """A random array by name."""
        return torch.tensor(self.detgen.arr(f"{self.prefix}/{name}", shape, std, seed=self.seed)).double()

    def view(self, number: int) -> Tensor:
        """The features, not normalised, of one augmented view of the training set."""
        shape = tuple(self._train.shape)
        moved = self._train + self.settings["view_std"] * self.draw(f"view{number}", shape)
        return self._long(moved, f"view{number}", shape[:2])

    def _long(self, features: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
        c = self.settings
        length = c["norm_scale"] * torch.exp(c["norm_std"] * self.draw(f"{name}_norm", shape))
        return (length[..., None] * _unit(features)).flatten(0, 1)

    def seen(self, task: int) -> list[int]:
        """Classes of a stage and all before it."""
        return [c for classes in self.tasks[: task + 1] for c in classes]

    def build(self, method: str, scale: float = 100.0, **options: Any) -> Any:
        """A learner of all classes on the text features."""
        backbone = lamm_cl.FeatureBackbone(self.text, logit_scale=scale)
        return build_model(method, backbone, [f"class {i}" for i in range(len(self.text))], **options)

    def fit(self, learner: Any, task: int, features: dict[str, Tensor], **more: Any) -> Any:
        """Let a learner learn one stage, in the reference's order, with validation and test images of the classes."""
        seen, rows = self.seen(task), self.order[task]
        kept = {s: torch.isin(self.labels[s], torch.tensor(seen)) for s in ("val", "test")}
        pairs = {s: (features[s][keep], self.labels[s][keep]) for s, keep in kept.items()}
        return lamm_cl.fit_stage(
            learner,
            features["train"][rows],
            self.labels["train"][rows],
            classes=self.tasks[task],
            shuffle=False,
            **{**pairs, **more},
        )

    def values(self, case: str) -> Any:
        """Arrays of `<case>.npz`."""
        return np.load(self.folder / f"{case}.npz")

    def same(self, case: str, key: str, value: Any, tolerance: float = TOLERANCE) -> None:
        """Compare with an array, or with norm, projections and first values of one."""
        values, found = self.values(case), np.asarray(value.detach() if isinstance(value, Tensor) else value)
        if f"f64/{key}" in values:
            expected = values[f"f64/{key}"]
            assert found.shape == expected.shape, key
            assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max(), key
            return
        norm = float(values[f"f64/{key}/norm"])
        drawn = [self.detgen.raw(f"proj/{case}/{j}", found.shape, self.seed) for j in range(4)]
        projections = np.array([(found * one).sum() for one in drawn])
        assert abs(np.linalg.norm(found) - norm) <= tolerance * norm, key
        assert np.abs(projections - values[f"f64/{key}/proj"]).max() <= tolerance * norm, key
        assert np.abs(found.ravel()[:16] - values[f"f64/{key}/head"]).max() <= tolerance * np.abs(found).max(), key
        if f"f64/{key}/full" in values:
            expected = values[f"f64/{key}/full"]
            assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max(), key


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


@pytest.fixture(scope="module")
def reference(detgen: Any) -> Reference:
    """What the official codes computed on features that are functions of their names."""
    folder = reference_folder() / "features"
    if not (folder / "index.json").is_file():
        pytest.skip("reference data not present")
    return Reference(folder, detgen)


def check_accuracy(reference: Reference, case: str, key: str, logits: Tensor, task: int) -> None:
    """Compare the percentage of right images of the classes seen so far, which the released codes round."""
    known = torch.isin(reference.labels["test"], torch.tensor(reference.seen(task)))
    found = percent(logits[known], reference.labels["test"][known])
    assert found == pytest.approx(float(reference.values(case)[f"f64/{key}/acc_seen"]), abs=0.01)


def random_layer(reference: Reference) -> Tensor:
    return reference.draw("W_rand", (512, reference.settings["ranpac_M"]))


@pytest.mark.parametrize("kind", KINDS)
def test_simplecil(reference: Reference, kind: str) -> None:
    features = reference.raw if kind == "raw" else reference.unit
    learner = reference.build("simplecil", image_features=KINDS[kind])
    for task in range(len(reference.tasks)):
        assert reference.fit(learner, task, features) == []
        seen = reference.seen(task)
        logits = learner(features["test"])
        assert torch.isneginf(logits[:, len(seen) :]).all()
        reference.same("simplecil", f"{kind}/task{task}/logits", logits[:, seen])
        check_accuracy(reference, "simplecil", f"{kind}/task{task}", logits, task)
        if kind == "raw":  # RanPAC's own branch of class means
            reference.same("ranpac", f"ncm/raw/task{task}/logits", logits[:, seen])
    reference.same("simplecil", f"{kind}/means", learner.head.statistics.mean)


@pytest.mark.parametrize("kind", KINDS)
def test_ranpac(reference: Reference, kind: str) -> None:
    c = reference.settings
    fixed = c["ranpac_fixed"] if kind == "raw" else c["ranpac_norm_fixed"]
    cases: list[tuple[str, Any, int]] = [(f"rp/{kind}/fixed{ridge:g}", ridge, c["ranpac_M"]) for ridge in fixed]
    cases.append((f"rp/{kind}/selected", "select", c["ranpac_M"]))
    if kind == "raw":
        cases.append((f"norp/raw/fixed{fixed[0]:g}", fixed[0], 0))
    for name, ridge, width in cases:
        check_ranpac(reference, kind, name, ridge, width)


def check_ranpac(reference: Reference, kind: str, name: str, ridge: Any, width: int) -> None:
    features = reference.raw if kind == "raw" else reference.unit
    options = {"ridge": ridge, "M": width, "image_features": KINDS[kind]}
    learner, pilot = reference.build("ranpac", **options), reference.build("ranpac", score="cosine", **options)
    values = reference.values("ranpac")
    if width:
        learner.head.layer.weight, pilot.head.layer.weight = random_layer(reference), random_layer(reference)
    for task in range(len(reference.tasks)):
        key, seen, rows = f"{name}/task{task}", reference.seen(task), reference.order[task]
        reference.fit(learner, task, features)
        logits = learner(features["test"])
        reference.same("ranpac", f"{key}/logits", logits[:, seen])
        check_accuracy(reference, "ranpac", f"{key}", logits, task)
        reference.same("ranpac", f"{key}/G", learner.head.statistics.second)
        reference.same("ranpac", f"{key}/Q", learner.head.statistics.total.T)
        reference.same("ranpac", f"{key}/W", learner.head.weight[seen])
        if ridge == "select":
            reference.same("ranpac", f"{key}/ridge", learner.head.ridge)
            one_hot = torch.nn.functional.one_hot(reference.labels["train"][rows], len(reference.text)).double()
            found = ridge_losses(learner.head.expand(features["train"][rows]), one_hot).numpy()
            expected = values[f"f64/{key}/ridge_losses"]
            np.testing.assert_allclose(found, expected, rtol=1e-3)  # rounding decides below a ridge of 1
            np.testing.assert_allclose(found[8:], expected[8:], rtol=1e-9)
        if f"f64/{key}/pilot_logits" in values:
            reference.fit(pilot, task, features)
            reference.same("ranpac", f"{key}/pilot_logits", pilot(features["test"])[:, seen])


@pytest.mark.parametrize("kind", KINDS)
def test_acil(reference: Reference, kind: str) -> None:
    features = reference.raw if kind == "raw" else reference.unit
    width = reference.settings["ranpac_M"]
    for ridge in reference.settings["acil_gamma"]:
        learner = reference.build("acil", ridge=ridge, buffer_size=width, image_features=KINDS[kind])
        learner.head.layer.weight = random_layer(reference)
        for task in range(len(reference.tasks)):
            key, seen = f"{kind}/gamma{ridge:g}/task{task}", reference.seen(task)
            reference.fit(learner, task, features)
            logits = learner(features["test"])
            reference.same("acil", f"{key}/logits", logits[:, seen])
            check_accuracy(reference, "acil", f"{key}", logits, task)
            reference.same("acil", f"{key}/W", learner.head.weight[seen].T)
            damped = learner.head.statistics.second + ridge * torch.eye(width, dtype=torch.float64)
            reference.same("acil", f"{key}/R", torch.linalg.inv(damped))


def rail_cases(reference: Reference) -> list[tuple[str, str, dict[str, Any]]]:
    c = reference.settings
    dual = {"form": "dual", "kernel_gamma": c["rail_gamma"]}
    return [
        *(("rail_primal", f"rp/ridge{r:g}", {"ridge": r, "hidden": c["rail_hidden"]}) for r in c["rail_ridge"]),
        ("rail_primal", f"linear/ridge{c['rail_ridge'][0]:g}", {"ridge": c["rail_ridge"][0], "hidden": 0}),
        ("rail_dual", f"gamma{c['rail_gamma']:g}", dual),
    ]


@pytest.mark.parametrize("number", range(4))
def test_rail(reference: Reference, number: int) -> None:
    cases = rail_cases(reference)
    if number >= len(cases):
        pytest.skip("the reference has fewer cases")
    for case, name, options in cases[number::4]:
        check_rail(reference, case, name, options)


def check_rail(reference: Reference, case: str, name: str, options: dict[str, Any]) -> None:
    z, labels = reference.unit["test"], reference.labels["test"]
    learner = reference.build("rail", fusion=reference.settings["rail_fusion"], **options)
    head, every = learner.head.head, tuple(range(len(reference.text)))
    if options.get("hidden"):
        head.layer.weight = reference.draw("rail_W", (options["hidden"], 512), 0.0255).T
    table = np.zeros((len(reference.tasks),) * 2)
    zero_shot = learner(z)
    for task in range(len(reference.tasks)):
        key, seen = f"{name}/task{task}", reference.seen(task)
        reference.fit(learner, task, reference.unit)
        fused = learner(z)
        reference.same(case, f"{key}/fused", fused)
        reference.same(case, f"{key}/zs_logged", zero_shot)
        reference.same(case, f"{key}/scores", head(z, seen, None))
        assert torch.equal(learner.output(z, seen).logits, fused[:, seen])
        for domain, classes in enumerate(reference.tasks):
            own = torch.isin(labels, torch.tensor(classes))
            table[task, domain] = 100 * (fused.argmax(1) == labels)[own].double().mean()
        if case == "rail_dual":
            reference.same(case, f"{key}/alpha", head.alpha[:, seen])
        else:
            reference.same(case, f"{key}/W", head.weight[seen])
            gram = head.statistics.second
            reference.same(case, f"{key}/R", torch.linalg.inv(gram + options["ridge"] * torch.eye(len(gram)).double()))
    assert every == tuple(range(fused.shape[1]))
    reference.same(case, f"{name}/acc_table", table)
    if (table > 0).all():  # the released script leaves accuracies of exactly 0 out
        printed = [metrics.transfer(table), metrics.average(table), metrics.last(table)]
        reference.same(case, f"{name}/printed", np.array(printed))


@pytest.fixture
def adapter(reference: Reference) -> Any:
    """Make a CLIP-Adapter with the reference's initial values."""
    scale = math.exp(np.float32(reference.detgen.clip_state_dict.__defaults__[-1]))
    reduction = reference.settings["clip_adapter_reduction"]

    def make(**options: Any) -> Any:
        learner = reference.build("clip_adapter", scale, reduction=reduction, **options)
        for name, std in zip(ADAPTER, (0.0255, 0.051), strict=True):
            parameter = dict(learner.adapter.named_parameters())[name]
            parameter.data = reference.draw(f"clip_adapter/{name}", tuple(parameter.shape), std)
        assert [n for n, p in learner.named_parameters() if p.requires_grad] == [f"adapter.{n}" for n in ADAPTER]
        return learner

    return make


def adapter_weights(learner: Any) -> dict[str, Tensor]:
    return dict(learner.adapter.named_parameters())


OPTIMIZERS = {
    "plain": {"lr": 0.002, "momentum": 0.0, "weight_decay": 0.0},
    "dassl": {"lr": 0.002},
    "lr01": {"lr": 0.1},
}


def test_clip_adapter_starts_from_the_same_logits(reference: Reference, adapter: Any) -> None:
    test = reference.raw["test"]
    reference.same("clip_adapter", "joint/logits", adapter()(test))
    for key in reference.values("clip_adapter"):
        if key.startswith("f64/joint/ratio"):
            ratio = float(key.split("/")[2].removeprefix("ratio"))
            reference.same("clip_adapter", key.removeprefix("f64/"), adapter(ratio=ratio)(test))
    learner, rows = adapter(), reference.joint[:24]
    for name, value in adapter_weights(learner).items():
        reference.same("clip_adapter", f"joint/init/{name}", value)
    learner.losses(None, reference.labels["train"][rows], image_features=reference.raw["train"][rows])[
        "total"
    ].backward()
    for name, value in adapter_weights(learner).items():
        reference.same("clip_adapter", f"joint/grad0/{name}", value.grad)


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, "sched"])
def test_clip_adapter_takes_the_same_steps(reference: Reference, adapter: Any, optimizer: str) -> None:
    learner, rows, x, y = adapter(), reference.joint, reference.raw["train"], reference.labels["train"]
    classes = range(len(reference.text))
    if optimizer == "sched":  # the method's own recipe, one mini-batch an epoch
        recipe = recipe_for("clip_adapter", "features")
        rates = [lr_at(recipe, epoch) for epoch in range(3)]
        sgd = recipe_optimizer(recipe, torch.device("cpu"))
        restart(sgd, learner)
        losses = []
        for rate, batch in zip(rates, rows.split(24), strict=True):
            sgd.param_groups[0]["lr"] = rate
            loss = learner.losses(None, y[batch], image_features=x[batch])["total"]
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            losses.append(loss.item())
    else:
        chosen = {"warmup_epochs": 0, "schedule": "constant", **OPTIMIZERS[optimizer]}
        rates = [OPTIMIZERS[optimizer]["lr"]] * 3
        history = lamm_cl.fit_stage(
            learner, x[rows], y[rows], classes=classes, shuffle=False, epochs=1, batch_size=24, **chosen
        )
        losses = [terms["total"] for terms in history]
    reference.same("clip_adapter", f"joint/lr/{optimizer}", np.array(rates))
    reference.same("clip_adapter", f"joint/losses/{optimizer}", np.array(losses))
    reference.same("clip_adapter", f"joint/logits_after3/{optimizer}", learner(reference.raw["test"]))
    for name, value in adapter_weights(learner).items():
        reference.same("clip_adapter", f"joint/after3/{optimizer}/{name}", value)


def test_clip_adapter_in_a_stream(reference: Reference, adapter: Any) -> None:
    learner, test = adapter(), reference.raw["test"]
    for task in range(len(reference.tasks)):
        chosen = {"epochs": 1, "batch_size": 8, "warmup_epochs": 0, "schedule": "constant", **OPTIMIZERS["lr01"]}
        history = reference.fit(learner, task, reference.raw, train_label_space="seen", **chosen)
        key, seen = f"stream/task{task}", reference.seen(task)
        reference.same("clip_adapter", f"{key}/losses", np.array([terms["total"] for terms in history]))
        reference.same("clip_adapter", f"{key}/logits", learner.output(test, seen).logits)
        reference.same("clip_adapter", f"{key}/logits_all", learner(test))
        for name, value in adapter_weights(learner).items():
            reference.same("clip_adapter", f"{key}/{name}", value)


def tip_options(reference: Reference, **options: Any) -> dict[str, Any]:
    c = reference.settings
    searched = {"search_scale": c["tip_scale"], "search_step": c["tip_step"]}
    return {"init_alpha": c["tip_alpha"], "init_beta": c["tip_beta"], "augment_epoch": 0, **searched, **options}


def percent(logits: Tensor, labels: Tensor) -> float:
    return 100 * float((logits.argmax(1) == labels).double().mean())


def check_tip(reference: Reference, key: str, task: int, plain: Any, searched: Any) -> None:
    """Compare a learner with initial and one with searched alpha and beta."""
    test, seen, labels = reference.raw["test"], reference.seen(task), reference.labels
    reference.same("tip_adapter", f"{key}/logits_init", plain.output(test, seen).logits)
    found = torch.stack([searched.head.beta, searched.head.alpha])
    reference.same("tip_adapter", f"{key}/searched_beta_alpha", found)
    logits = searched.output(test, seen).logits
    reference.same("tip_adapter", f"{key}/logits_searched", logits)
    known = {split: torch.isin(labels[split], torch.tensor(seen)) for split in labels}
    if f"f64/{key}/logits_searched_official" in reference.values("tip_adapter"):
        reference.same("tip_adapter", f"{key}/logits_searched_official", logits[known["test"]])
    zero_shot = reference.build("zero_shot")
    accuracies = []
    for model, split in ((zero_shot, "val"), (plain, "val"), (zero_shot, "test"), (searched, "test")):
        features = reference.unit[split] if model is zero_shot else reference.raw[split]
        accuracies.append(percent(model.output(features, seen).logits[known[split]], labels[split][known[split]]))
    reference.same("tip_adapter", f"{key}/accs", np.array(accuracies))


def test_tip_adapter_in_a_stream(reference: Reference) -> None:
    plain = reference.build("tip_adapter", **tip_options(reference, selection="none"))
    searched = reference.build("tip_adapter", **tip_options(reference))
    for task in range(len(reference.tasks)):
        for learner in (plain, searched):
            assert reference.fit(learner, task, reference.raw) == []
        check_tip(reference, f"stream/task{task}", task, plain, searched)
        reference.same("tip_adapter", f"stream/task{task}/logits_init_all", plain(reference.raw["test"]))
    reference.same("tip_adapter", "stream/keys", plain.head.memory.every)


def test_tip_adapter_averages_views(reference: Reference) -> None:
    views = {epoch: reference.view(epoch) for epoch in range(3)}
    rows, last = torch.cat(reference.order), len(reference.tasks) - 1
    pairs = {split: (reference.raw[split], reference.labels[split]) for split in ("val", "test")}
    made = []
    for selection in ("none", "val"):
        options = tip_options(reference, augment_epoch=3, selection=selection)
        learner = reference.build("tip_adapter", **options)
        seen: dict[Any, Tensor] = {None: reference.raw["train"][rows], **{e: v[rows] for e, v in views.items()}}
        lamm_cl.fit_stage(learner, seen.__getitem__, reference.labels["train"][rows], shuffle=False, **pairs)
        made.append(learner)
    check_tip(reference, "aug3", last, *made)
    reference.same("tip_adapter", "aug3/keys", made[0].head.memory.every)


@pytest.mark.parametrize("epochs", ["one", "all"])
def test_tip_adapter_f(reference: Reference, epochs: str) -> None:
    count = 1 if epochs == "one" else reference.settings["tip_epochs"]
    name = "3steps" if epochs == "one" else f"{count}epochs"
    rows, test = reference.joint, reference.raw["test"]
    pairs = {split: (reference.raw[split], reference.labels[split]) for split in ("val", "test")}
    backwards = torch.stack([(rows == row).nonzero()[0, 0] for row in torch.cat(reference.order)])
    values = reference.values("tip_adapter_f")

    def train(**options: Any) -> tuple[Any, list[dict[str, float]]]:
        learner = reference.build("tip_adapter_f", **tip_options(reference, **options))
        history = lamm_cl.fit_stage(
            learner,
            reference.raw["train"][rows],
            reference.labels["train"][rows],
            shuffle=False,
            epochs=count,
            batch_size=24,
            **pairs,
        )
        return learner, history

    last, history = train(selection="none", best_epoch="none")
    reference.same("tip_adapter_f", f"{name}/losses", np.array([terms["total"] for terms in history]))
    recipe, steps = recipe_for("tip_adapter_f", "features").but(epochs=count), len(history)
    rates = [lr_at(recipe, step // 3, step / steps) for step in range(steps)]
    if f"f64/{name}/lr" in values:
        reference.same("tip_adapter_f", f"{name}/lr", np.array(rates))
    reference.same("tip_adapter_f", f"{name}/weight", last.head.memory.every[backwards])
    reference.same("tip_adapter_f", f"{name}/logits_init", last(test))
    best, _ = train(selection="val", best_epoch="test")
    reference.same("tip_adapter_f", f"{name}/best_weight", best.head.memory.every[backwards])
    found = torch.stack([best.head.beta, best.head.alpha])
    reference.same("tip_adapter_f", f"{name}/searched_beta_alpha", found)
    reference.same("tip_adapter_f", f"{name}/logits_searched_official", best(test))


def test_tip_adapter_f_starts_with_the_same_gradient(reference: Reference) -> None:
    learner = reference.build("tip_adapter_f", **tip_options(reference, selection="none", best_epoch="none"))
    order = torch.cat(reference.order)
    stage = learner.next_stage(range(len(reference.text)))
    learner.begin_stage(stage, Rows(reference.raw["train"][order], reference.labels["train"][order]))
    batch = reference.joint[:24]
    loss = learner.losses(None, reference.labels["train"][batch], image_features=reference.raw["train"][batch])
    loss["total"].backward()
    reference.same("tip_adapter_f", "grad0/weight", learner.head.memory.features[0].grad)


class Rows:
    """The images of a stage, as `StageData`."""

    def __init__(self, x: Tensor, labels: Tensor) -> None:
        self.pair = x, labels

    def batches(self, split: str = "train", epoch: int | None = None) -> Any:
        yield self.pair
