"""Class-incremental methods on given features against what the official codes compute, in double precision.

The reference replaced what the codes draw at random by functions of names; each method's test does the same.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.training.storage_policy import HerdingSelectionStrategy
from torch import Tensor

import lamm_cl
from lamm_cl import build_model
from lamm_cl.methods import fit
from lamm_cl.methods.optimizer import set_rates
from lamm_cl.methods.stage import Step
from tests.golden.conftest import recorded, reference_folder

TOLERANCE = 1e-9
FOLDER = reference_folder() / "cil"
ABSENT = [pytest.param("absent", marks=pytest.mark.skip(reason="reference data not present"))]
CLASSES, PER_STAGE, WIDTH = 12, 4, 512
TRAIN, TEST = 6, 5  # images a class
# The repository whose code ran, and our method.
METHODS = {
    "linlany/RAPF": "rapf",
    "LAMDA-CL/ICCV25-ENGINE": "engine",
    "LAMDA-CL/C3Box": "bofa",
    "zhoudw-zdw/PROOF": "proof",
}


def cases(method: str) -> list[Any]:
    """Names of the cases that a method is compared with."""
    return [n for n, case in recorded(FOLDER).items() if METHODS.get(case["repo"]) == method] or ABSENT


class Case:
    """One run of an official code over three stages of four classes.

    Attributes:
        settings: of the run.
        tag: first part of all names.
        tokens: image features before CLIP's projection, by split; `raw`: behind it. Neither is normalised.
        projection: CLIP's.
        labels: of each split.
        text: features of the classes in the first template, not normalised; `second`: in the second one.
        scale: CLIP's logit scale, as its parameter.
    """

    def __init__(self, name: str, detgen: Any) -> None:
        index = json.loads((FOLDER / "index.json").read_text())
        self.name, self.detgen = name, detgen
        self.index = index["cases"][name]
        self.settings, self.tag, self.scale = self.index["cfg"], self.index["tag"], index["logit_scale_param"]
        with np.load(FOLDER / f"{name}.npz") as arrays:
            self.values = {key: arrays[key] for key in arrays if key.startswith("f64/")}
        self.probe = lru_cache(maxsize=64)(detgen.raw)
        prefix = self.index.get("stream_prefix", self.tag)
        given, d = self.index.get("d_in", 768), self.index.get("d_out", WIDTH)

        def draw(part: str, *shape: int) -> Tensor:
            return torch.tensor(detgen.raw(f"{prefix}/{part}", shape))

        own, common = draw("class", CLASSES, given), 0.6 * draw("common", given)
        self.projection = draw("visual_proj", given, d) * given**-0.5
        counts = {"train": TRAIN, "test": TEST}
        self.labels = {split: torch.arange(CLASSES).repeat_interleave(n) for split, n in counts.items()}
        self.tokens = {
            split: common + self.index.get("a", 0.15) * own[y] + 0.6 * draw(split, len(y), given)
            for split, y in self.labels.items()
        }
        self.raw = {split: z @ self.projection for split, z in self.tokens.items()}
        rows = torch.arange(CLASSES)
        self.text = 7 * unit(draw("common_text", d)) + 2.2 * unit(own @ self.projection)
        self.text = self.text + 2.4 * unit(draw("family", 4, d))[rows % 4]
        self.text = self.text + (1 + 0.25 * (rows % 5))[:, None] * unit(draw("text_noise", CLASSES, d))
        self.second = self.text + 1.5 * unit(draw("text_template1", CLASSES, d))
        for key, check in index["streams"][prefix]["sha256_16"].items():
            found = {"Z_train": self.tokens["train"], "Z_test": self.tokens["test"]}.get(key)
            if found is not None:
                assert hashlib.sha256(found.numpy().tobytes()).hexdigest()[:16] == check

    def draw(self, name: str, *shape: int) -> Tensor:
        """A random array by name."""
        return torch.tensor(self.detgen.raw(f"{self.tag}/{name}", shape))

    def order(self, name: str, n: int) -> Tensor:
        """An order of n things by name."""
        return torch.tensor(np.argsort(self.detgen.raw(f"{self.tag}/{name}", (n,)), kind="stable"))

    def rows(self, task: int, split: str = "train") -> Tensor:
        """Rows of the images of a stage; of all classes seen so far for the test set."""
        first = 0 if split == "test" else PER_STAGE * task
        return ((self.labels[split] >= first) & (self.labels[split] < PER_STAGE * (task + 1))).nonzero()[:, 0]

    def seen(self, task: int) -> list[int]:
        """Classes of a stage and all before it."""
        return list(range(PER_STAGE * (task + 1)))

    def features(self, learner: Any, split: str) -> Tensor:
        """Image features of a split as a learner takes them."""
        kinds = {"unprojected": self.tokens, "raw": self.raw, "unit": {s: unit(f) for s, f in self.raw.items()}}
        return kinds[learner.takes][split]

    def has(self, key: str) -> bool:
        """Whether the reference holds a value."""
        return f"f64/{key}" in self.values

    def same(self, key: str, value: Any, tolerance: float = TOLERANCE) -> None:
        """Compare with an array, or with a summary of one: norm, four projections, first values."""
        found = np.asarray(value.detach() if isinstance(value, Tensor) else value)
        expected, label = self.values[f"f64/{key}"], key.rsplit("/", 1)[-1]
        if expected.shape == found.shape:
            known = np.isfinite(expected)
            largest = np.abs(expected[known]).max(initial=1e-30)
            assert np.abs((found - expected)[known]).max(initial=0) <= tolerance * largest, key
            return
        drawn = [self.probe(f"proj/{self.name}/{label}/{j}", found.shape) for j in range(4)]
        assert abs(np.linalg.norm(found) - expected[0]) <= tolerance * expected[0], key
        projections = np.array([(found * one).sum() for one in drawn])
        assert np.abs(projections - expected[1:5]).max() <= 4 * tolerance * expected[0], key
        assert np.abs(found.ravel()[:16] - expected[5:]).max() <= tolerance * np.abs(found).max(), key


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


class Watch:
    """Compares what trains before and after steps with the reference, while `fit_stage` runs.

    Args:
        case: the reference.
        learner: whose steps are watched.
        names: (our parameter's name) -> the official code's; None: not compared.
        columns: our terms of the loss in the order of the reference's columns.
    """

    def __init__(
        self, case: Case, learner: Any, names: Callable[[str], str | None], columns: Callable[[int], list[str]]
    ) -> None:
        self.case, self.learner, self.names, self.columns = case, learner, names, columns
        self.objective, self.end_stage = learner.objective, learner.end_stage
        learner.objective, learner.end_stage = self.step, self.end
        self.task, self.steps, self.rates = 0, 0, [0.0]

    def values(self, gradients: bool = False) -> dict[str, Tensor]:
        """What trains, or its gradients, by the official names."""
        pairs = [(self.names(n), p.grad if gradients else p) for n, p in self.learner.named_parameters()]
        return {n: p for n, p in pairs if n is not None and p is not None}

    def compare(self, key: str, gradients: bool = False) -> None:
        """Compare all that the reference has at a moment."""
        for name, value in self.values(gradients).items():
            if self.case.has(f"t{self.task}/{key}/{name}"):
                self.case.same(f"t{self.task}/{key}/{name}", value)

    def moment(self) -> None:
        """Compare after the steps that the reference holds."""
        if self.steps == 1:
            self.compare("grad0", gradients=True)
        if self.steps in (1, 3):
            self.compare(f"after{self.steps}")

    def step(self, output: Any, labels: Tensor, columns: Any = None) -> dict[str, Tensor]:
        """Compare what is known before a step."""
        self.moment()
        key = f"t{self.task}/step{self.steps}"
        if self.case.has(f"{key}/logits"):
            self.case.same(f"{key}/logits", output.logits)
            self.case.same(f"{key}/targets", labels)
        self.steps += 1
        return self.objective(output, labels, columns)  # type: ignore[no-any-return]

    def end(self, stage: Any, data: Any) -> None:
        """Compare what is known at the end of training."""
        self.moment()
        self.compare("end")
        self.end_stage(stage, data)

    def fit(self, task: int, monkeypatch: pytest.MonkeyPatch, kept: Sequence[int] = (), **recipe: Any) -> None:
        """Let the learner learn a stage in the reference's order; `kept`: rows of older images that come along."""
        case, rows = self.case, torch.cat([self.case.rows(task), torch.tensor(kept, dtype=torch.long)])
        rates: list[list[float]] = []
        self.task, self.steps = task, 0

        def rate(optimizer: Any, *arguments: Any) -> None:
            set_rates(optimizer, *arguments)
            rates.append([group["lr"] for group in optimizer.param_groups])

        monkeypatch.setattr(fit, "set_rates", rate)
        monkeypatch.setattr(fit, "mixed", lambda n, seed, stage, epoch: case.order(f"order/t{task}/e{epoch}", n))
        x, y = case.features(self.learner, "train"), case.labels["train"]
        batch = case.settings.get("train_batch_size", case.settings["batch_size"])
        history = lamm_cl.fit_stage(self.learner, x[rows], y[rows], batch_size=batch, **recipe)
        losses = [[terms.get(name, math.nan) for name in self.columns(step)] for step, terms in enumerate(history)]
        case.same(f"t{task}/losses", np.array(losses))
        expected = case.values[f"f64/t{task}/lr"]
        own = expected.shape[1] if expected.ndim == 2 else 1  # all but the first column have one rate
        found = np.array([[one[0], *[one[-1]] * (own - 1)] for one in rates])
        case.same(f"t{task}/lr", found.reshape(expected.shape))


@pytest.fixture
def reference(request: pytest.FixtureRequest, detgen: Any) -> Case:
    """One case by name."""
    return Case(request.param, detgen)


def given(case: Case, templates: int = 1, scale: float | None = None) -> Any:
    """The reference's features in the place of a CLIP."""
    text = torch.stack([case.text, case.second][:templates], 1)
    return lamm_cl.FeatureBackbone(text, math.exp(case.scale) if scale is None else scale, case.projection)


def names() -> list[str]:
    return [f"class {i}" for i in range(CLASSES)]


REPLAYED = {"imagenet_R": 5, "cub": 10}  # classes a step by the data set's name, otherwise 2


@pytest.mark.parametrize("reference", cases("rapf"), indirect=True)
def test_rapf(reference: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case, c = reference, reference.settings
    replayed = next((n for name, n in REPLAYED.items() if c["dataset"].lower().startswith(name.lower())), 2)
    options = {key: c[key] for key in ("beta", "threshold", "mix_bias", "shrinkage")}
    learner: Any = build_model("rapf", given(case), names(), replay_classes=replayed, **options)
    learner.adapter.map.weight.data = case.draw("rapf/adapter", WIDTH, WIDTH) * (3 * WIDTH) ** -0.5
    gaussians = learner.rehearsal

    def order(n: int, step: Step) -> list[int]:
        return case.order(f"rapf/classes/t{step.stage.number - 1}/e{step.epoch}", n).tolist()

    def normals(n: int, step: Step, call: int) -> Tensor:
        return case.draw(f"rapf/z/t{step.stage.number - 1}/s{step.step}/k{call}", n, WIDTH)

    def sample(class_id: int, n: int, step: Step, call: int) -> Tensor:
        drawn = sampled(class_id, n, step, call)
        if step.step == 0:
            case.same(f"t{step.stage.number - 1}/step0/pseudo{call}", drawn)
        return drawn

    sampled = gaussians.sample
    gaussians.order, gaussians.normals, gaussians.sample = order, normals, sample
    watch = Watch(case, learner, {"adapter.map.weight": "adapter"}.get, lambda step: ["total", "ce", "hinge"])
    for task in range(CLASSES // PER_STAGE):
        watch.fit(task, monkeypatch, epochs=c["epochs"], lr=c["lr"], milestones=tuple(c["milestones"]))
        weight = learner.adapter.map.weight
        case.same(f"t{task}/fused/adapter", weight)
        for class_id in case.seen(task)[-PER_STAGE:]:
            case.same(f"stats/mean{class_id}", gaussians.statistics.mean_of(class_id))
            plain = gaussians.statistics.covariance(class_id) + 1e-4 * torch.eye(WIDTH, dtype=torch.float64)
            case.same(f"stats/cov{class_id}", plain)
            if case.has(f"stats/shrunk_cov{class_id}"):
                case.same(f"stats/shrunk_cov{class_id}", gaussians.covariance(class_id))
        if case.has(f"t{task}/S_old_head"):
            singular = torch.linalg.svdvals(learner.adapter.consolidation.before)
            case.same(f"t{task}/S_old_head", singular[: len(case.values[f"f64/t{task}/S_old_head"])])
        rows, seen = case.rows(task, "test"), case.seen(task)
        case.same(f"t{task}/logits", learner.output(case.raw["test"][rows], seen).logits)


@pytest.mark.parametrize("reference", cases("rapf"), indirect=True)
def test_rapf_finds_the_same_neighbours(reference: Case) -> None:
    case = reference
    learner: Any = build_model("rapf", given(case), names(), threshold=case.settings["threshold"])
    hinge = learner.parts.objective.terms["hinge"][0].__self__
    for task in range(CLASSES // PER_STAGE):
        x, y = case.raw["train"][case.rows(task)], case.labels["train"][case.rows(task)]
        stage = learner.next_stage(sorted(set(y.tolist())))
        learner.rehearse(x, y, Step(stage, 0, 0))
        output = learner.output(x, stage.seen)
        expected = case.values[f"f64/t{task}/hard_pairs"]
        np.testing.assert_array_equal(np.array(hinge.pairs(output)).reshape(-1, 2), expected)
        lamm_cl.fit_stage(learner, x, y, epochs=1, lr=0.0)


class Named:
    """Initial values by name, in the place of random ones."""

    def __init__(self, case: Case, name: Callable[[str], str]) -> None:
        self.case, self.name = case, name

    def linear(self, name: str, inputs: int, outputs: int) -> torch.nn.Linear:
        """A linear layer."""
        layer, bound = torch.nn.Linear(inputs, outputs, dtype=torch.float64), (3 * inputs) ** -0.5
        layer.weight.data = self.case.draw(f"{self.name(name)}/weight", outputs, inputs) * bound
        layer.bias.data = self.case.draw(f"{self.name(name)}/bias", outputs) * bound
        return layer


def engine(case: Case) -> Any:
    """ENGINE with the reference's initial values, draws and sentences."""
    c, every = case.settings, names()
    keys = ("image_aug", "rerank", "rerank_top", "sample_num", "sample_noise", "stat", "text_des")
    pairs = {
        a: {b: [f"{i}/{j}/{r}" for r in range(3)] for j, b in enumerate(every) if j != i} for i, a in enumerate(every)
    }
    learner: Any = build_model("engine", given(case, templates=2), every, pairs=pairs, **{key: c[key] for key in keys})
    means = learner.rehearsal
    for part in (learner.adapter, learner.text_adapter):
        part._initial = Named(case, lambda name: f"engine/{name}")

    def encode(texts: list[str]) -> Tensor:
        return torch.stack(
            [case.text[int(one.split("/")[0])] + 0.25 * case.draw(f"engine/des/{one}", WIDTH) for one in texts]
        )

    def order(n: int, step: Step) -> list[int]:
        return case.order(f"engine/classes/t{step.stage.number - 1}/e{step.epoch}", n).tolist()

    def normals(step: Step, call: int) -> Tensor:
        return case.draw(f"engine/z/t{step.stage.number - 1}/s{step.step}/k{call}", WIDTH)

    def second_view(tokens: Tensor, encode: Any, step: Step) -> Tensor:
        noise = case.draw(f"engine/aug/t{step.stage.number - 1}/s{step.step}", len(tokens), WIDTH)
        return tokens @ case.projection + 0.25 * noise

    def pick(n: int, step: Step, place: int) -> int:
        drawn = case.draw(f"engine/choice/t{step.stage.number - 1}/s{step.step}/{place}", 1)
        return int(1000 * abs(float(drawn))) % n

    learner.head._texts.encode = encode
    means.order, means.normals, means.second_view = order, normals, second_view
    learner.parts.objective.terms["descriptions"][0].__self__.pick = pick
    return learner


def engine_name(name: str) -> str | None:
    """The official code's name of a map."""
    side, _, rest = name.partition("adapter.maps.")
    return None if not rest else f"{'text' if side else 'image'}{rest}"


@pytest.mark.parametrize("reference", cases("engine"), indirect=True)
def test_engine(reference: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case, c = reference, reference.settings
    learner = engine(case)
    columns = ["total", "ce", *(["second_view"] if c["image_aug"] else []), "descriptions"]
    watch = Watch(case, learner, engine_name, lambda step: columns)
    recipe = {"epochs": c["tuned_epoch"], "lr": c["init_lr"], "weight_decay": c["weight_decay"], "min_lr": c["min_lr"]}
    for task in range(CLASSES // PER_STAGE):
        losses = case.values[f"f64/t{task}/losses"]  # ours has both directions as their mean
        case.values[f"f64/t{task}/losses"] = np.c_[losses[:, :1], losses[:, 1:3].mean(1), losses[:, 3:]]
        watch.fit(task, monkeypatch, **recipe)
        seen, rows = case.seen(task), case.rows(task, "test")
        head, tokens = learner.head.discriminant, case.tokens["test"][rows]
        case.same(f"t{task}/end/prototypes", learner.rehearsal.statistics.mean[seen] @ case.projection)
        for name, value in {"mu": head.mean[seen], "cov_inv": head.precision, "gda_b": head.bias[seen]}.items():
            case.same(f"t{task}/stats/{name}", value)
        case.same(f"t{task}/stats/gda_W", head.weight[seen].T)
        with torch.no_grad():
            cosine = learner.text_logits(learner.adapted(tokens), seen) / learner.backbone.logit_scale
            case.same(f"t{task}/out_cos", cosine)
            case.same(f"t{task}/out_rerank", learner.head.reranked(tokens, cosine, seen))
            case.same(f"t{task}/out_gda_raw", head(tokens, seen, None))
            case.same(f"t{task}/logits", learner.output(tokens, seen).logits)


def bofa_starts(case: Case, learner: Any, task: int) -> None:
    """Compare what a stage of BOFA starts from."""
    key, seen, head = f"t{task}/stats", case.seen(task), learner.head
    case.same(f"t{task}/t_lam", head.searched)
    case.same(f"{key}/mu", head.statistics.mean[seen])
    case.same(f"{key}/mu_norm", head.discriminant.mean[seen])
    case.same(f"{key}/cov_inv", head.discriminant.precision)
    case.same(f"{key}/gda_W", head.discriminant.weight[seen].T)
    case.same(f"{key}/gda_b", head.discriminant.bias[seen])
    case.same(f"{key}/head_W_init", head.heads[-1].weight.T)
    case.same(f"{key}/head_b_init", head.heads[-1].bias)


def bofa_enters(case: Case, bridge: Any, task: int) -> None:
    """Compare what BOFA trains in the subspace from."""
    case.same(f"t{task}/gram_mean_eigs", torch.linalg.eigvalsh(bridge.gram / bridge.count))
    case.same(f"t{task}/stage1_end/W_task", bridge.weight)
    case.same(f"t{task}/stage2_start/AAt", bridge.subspace @ bridge.subspace.T)
    case.same(f"t{task}/stage2_start/BAt", bridge.inside @ bridge.subspace.T)


def bofa_scores(case: Case, learner: Any, task: int) -> None:
    """Compare scores after a stage of BOFA."""
    key, seen, head, stat = f"t{task}", case.seen(task), learner.head, case.settings["stat"]
    tokens = case.tokens["test"][case.rows(task, "test")]
    g = head.discriminant(tokens, seen, None)
    cosine = head.cosine(tokens, seen, lambda ids: learner.text_logits(learner.adapted(tokens), ids))
    case.same(f"{key}/out_gda", g)
    case.same(f"{key}/out_cos", cosine)
    case.same(f"{key}/head_logits", torch.cat([one(unit(tokens)) for one in head.heads], 1))
    case.same(f"{key}/logits", learner.output(tokens, seen).logits)
    others = ~head.candidates(tokens, seen)
    for name, scores in (("cos", cosine), ("gda", stat * g + (1 - stat) * cosine)):
        found = scores.masked_fill(others, -torch.inf).argmax(1)
        np.testing.assert_array_equal(found, case.values[f"f64/{key}/prefilter_pred_{name}"])


@pytest.mark.parametrize("reference", cases("bofa"), indirect=True)
def test_bofa(reference: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case, c = reference, reference.settings
    whole, more = c["tuned_epoch"], c.get("epoch", 2)
    options = {"Kt": c["Kt"], "stat": c["stat"], "tuned_epoch": whole}
    learner: Any = build_model("bofa", given(case, templates=2), names(), **options)
    bridge, head, begin = learner.adapter, learner.head, learner.begin_epoch
    recipe = {"lr": c["init_lr"], "weight_decay": c["weight_decay"], "min_lr": c["min_lr"]}
    recipe |= {"epochs": whole + more, "cosine_epochs": whole}
    still = -(-TRAIN * PER_STAGE // c["batch_size"]) * 6  # steps after which the stage's own head trains no more
    official = {"adapter.weight": "olf_layer.W_task"}
    for task in range(CLASSES // PER_STAGE):
        official |= {f"head.heads.{task}.{one}": f"classifier{task}.{one}" for one in ("weight", "bias")}
    both, one = ["total", "own_head", "ce"], ["total", "ce", "none"]
    watch = Watch(case, learner, official.get, lambda step: both if step < still else one)

    def begin_epoch(stage: Any, epoch: int) -> None:
        if epoch == 0:
            bofa_starts(case, learner, watch.task)
        begin(stage, epoch)
        if epoch == whole and watch.task:
            bofa_enters(case, bridge, watch.task)

    learner.begin_epoch = begin_epoch
    for task in range(CLASSES // PER_STAGE):
        key, before = f"t{task}", bridge.gram.clone()
        case.same(f"{key}/train_pass_lambda_searched", int(not head.searched))
        watch.fit(task, monkeypatch, **recipe)
        case.same(f"{key}/stats/gram", bridge.gram - before)
        case.same(f"{key}/end/W_task", bridge.weight)
        case.same(f"{key}/end/W_kept", bridge.now)
        case.same(f"{key}/fused/W_fusion", bridge.fused)
        case.same(f"{key}/fused/W_fusion2", (bridge.kept + bridge.start) / (task + 2))
        case.same(f"{key}/end/head_weight", head.heads[-1].weight)
        case.same(f"{key}/end/head_bias", head.heads[-1].bias)
        with torch.no_grad():
            bofa_scores(case, learner, task)


PROOF_NAMES = {"adapter.maps": "projs_img", "text_adapter.maps": "projs_text", "head.contexts": "context_prompts"}
PROOF_NAMES |= {"head.attention": "sel_attn", "head.logit_scale": "convnet.logit_scale"}


def proof_name(name: str) -> str | None:
    """The official code's name of a parameter."""
    return next((theirs + name[len(ours) :] for ours, theirs in PROOF_NAMES.items() if name.startswith(ours)), None)


def herded(case: Case, task: int, kept: list[int]) -> list[int]:
    """Rows that stay after a stage: Avalanche's herding of its classes on unit features; the first of older ones."""
    c, labels, seen = case.settings, case.labels["train"], case.seen(task)
    size = c["memory_per_class"] if c["fixed_memory"] else c["memory_size"] // len(seen)
    found: list[int] = []
    for class_id in seen[:-PER_STAGE]:
        found += [row for row in kept if labels[row] == class_id][:size]
    for class_id in seen[-PER_STAGE:]:
        rows = (labels == class_id).nonzero()[:, 0]
        order = HerdingSelectionStrategy.make_sorted_indices_from_features(None, unit(case.raw["train"][rows]))
        found += rows[order[:size]].tolist()
    return found


@pytest.mark.parametrize("reference", cases("proof"), indirect=True)
def test_proof(reference: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case, c = reference, reference.settings
    options = {"dropout": 0.1 if c["dropout"] else 0}
    learner: Any = build_model("proof", given(case, templates=2), names(), **options)
    head, attention, std = learner.head, learner.head.attention, (2 / (2 * WIDTH)) ** 0.5
    for part in (learner.adapter, learner.text_adapter):
        part._initial = Named(case, lambda name: "proof/" + name.replace("image", "img"))
    head._initial = type("Contexts", (), {})()
    head._initial.normal = lambda name, *shape, std: case.draw(f"proof/context/{name.split('/')[-1]}", *shape)
    for name in ("w_qs", "w_ks", "w_vs", "fc"):
        weight = case.draw(f"proof/attn/{name}.weight", WIDTH, WIDTH) * std
        attention.get_submodule(name).weight.data = weight
    attention.fc.bias.data = case.draw("proof/attn/fc.bias", WIDTH) * (3 * WIDTH) ** -0.5

    def keep(step: Step, call: int, shape: Any) -> Tensor:
        b, rows, columns = shape  # theirs has a row of every token
        tokens = 1 + 2 * len(case.seen(step.stage.number - 1)) + sum(len(context) for context in head.contexts)
        name, width = f"proof/drop/t{step.stage.number - 1}/s{step.step}/k{call}", (tokens, columns)[call]
        return case.draw(name, b, tokens, width)[:, :rows] > -1.2815515655446004

    monkeypatch.setattr(attention, "kept", keep)
    watch = Watch(case, learner, proof_name, lambda step: ["total", "ce", "fused_text", "fused_prototypes"])
    recipe = {"epochs": c["tuned_epoch"], "lr": c["init_lr"], "weight_decay": c["weight_decay"], "min_lr": c["min_lr"]}
    kept: list[int] = []
    for task in range(CLASSES // PER_STAGE):
        losses = case.values[f"f64/t{task}/losses"]  # ours has both directions as their mean
        case.values[f"f64/t{task}/losses"] = np.c_[losses[:, :1], losses[:, 1:3].mean(1), losses[:, 3:]]
        watch.fit(task, monkeypatch, kept, **recipe)
        trained = {proof_name(n) for n, p in learner.named_parameters() if p.requires_grad}
        assert trained == set(case.values[f"f64/t{task}/trainable"].tolist())
        kept = herded(case, task, kept)
        assert kept == case.values[f"f64/t{task}/exemplars"].tolist()
        seen, x = case.seen(task), case.raw["test"][case.rows(task, "test")]
        case.same(f"t{task}/stats/img_prototypes", head.prototypes.mean[seen])
        with torch.no_grad():
            case.same(f"t{task}/logits", learner.output(x, seen).logits)
            parts = [learner.output(some, seen).logits for some in x.split(7)]
            case.same(f"t{task}/logits_bs7", torch.cat(parts))


def test_every_case_has_a_method() -> None:
    """Cases of codes that no method is compared with, by repository."""
    found = recorded(FOLDER)
    if not found:
        pytest.skip("reference data not present")
    assert {case["repo"] for case in found.values()} <= set(METHODS)
