"""Training steps on a given device, in several ways from the same parameters: their time, memory and kernels.

A way is a function that makes of a case a step: zero gradients, loss, gradients, the optimizer's step; it returns the
loss. "reference" does what the papers' codes do: every image and the whole text window of every class in every step,
ALIGN's transport in a loop. Tokens are looked up once, as in their codes. "engine" is what a strategy does, on
remembered image features where the learner takes features; "graph" is the same, recorded as a CUDA graph.

RAPF is measured in its second stage, among all classes, the older half of which it rehearses. Its reference encodes
the images of the batch and the texts of all classes in every step, and factorises a covariance for every draw; the
engine remembers all three. Both draw the same numbers on the processor. With random weights all texts lie near one
another, so its threshold is chosen to leave one pair of neighbours for ten classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from benchmarks.speed.gpu_timing import kernel_seconds, repeated, timed
from benchmarks.speed.reference import as_published
from benchmarks.speed.steps import names
from lamm_cl import ClipBackbone, build_model
from lamm_cl.methods.fit import TensorData
from lamm_cl.methods.optimizer import recipe_optimizer, restart, trainable
from lamm_cl.methods.prompted_clip import PromptedCLIP
from lamm_cl.methods.rapf import RAPFOptions
from lamm_cl.methods.registry import recipe_for
from lamm_cl.methods.rehearsal import Gaussians
from lamm_cl.methods.stage import Stage, Step
from lamm_cl.prompts.text_side import TextSide
from lamm_cl.strategies.graph import EAGER, graphs_of, work_of
from lamm_cl.strategies.loss import LossGuard
from lamm_cl.strategies.precision import Precision

WARM = EAGER + 2  # steps before those that count: a recorded step is recorded by then
SLOW = 2.0  # seconds a step
KEPT = 4  # images of each class that RAPF's first stage has
RATE = 1e-5  # small: the steps that are timed are like the first

Way = Callable[["Case"], Callable[[], Tensor]]


@dataclass
class Case:
    """A method in the middle of a stage, and a mini-batch.

    Attributes:
        images: (batch, 3, H, W).
        x: what the learner takes of them: the images, or their remembered features.
        labels: (batch,) class ids.
        columns: class ids that compete.
        done: steps since `restore`.
    """

    model: PromptedCLIP
    stage: Stage
    images: Tensor
    x: Tensor
    labels: Tensor
    columns: tuple[int, ...]
    optimizer: Optimizer
    start: list[Tensor]
    done: int = 0

    @property
    def device(self) -> torch.device:
        return self.labels.device

    @property
    def recordable(self) -> bool:
        """Whether a strategy would record its steps."""
        on_gpu = self.device.type == "cuda" and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        return on_gpu and self.model.same_steps

    def restore(self) -> None:
        """Go back to the parameters before the first step, with nothing remembered."""
        for (_, parameter), value in zip(trainable(self.model), self.start, strict=True):
            parameter.grad = None
            with torch.no_grad():
                parameter.copy_(value)
        self.done = 0
        self.model.forget_features()
        restart(self.optimizer, self.model)

    def next(self) -> Step:
        """Return where training is. Three mini-batches take turns: the warm-up meets all that is drawn from."""
        number = self.done % 3
        self.done += 1
        return Step(self.stage, 0, number, batch=number)


def built(method: str, classes: int, backbone: ClipBackbone, **options: Any) -> Case:
    """Build a method and begin a stage with all classes, of RAPF the second, with half of them.

    Raises:
        TypeError: The method has no prompts or texts.
    """
    torch.manual_seed(0)
    device, recipe = backbone.device, recipe_for(method, backbone.name)
    if method == "rapf":
        options = {"threshold": _threshold(classes, backbone), **options}
    model = build_model(method, backbone, names(classes), **options)
    if not isinstance(model, PromptedCLIP):
        raise TypeError(f"{method} encodes no text")
    every, half = tuple(range(classes)), classes // 2
    if method == "rapf":
        older = torch.arange(half).repeat_interleave(KEPT).to(device)
        earlier, data = model.next_stage(every[:half]), _data(_raw(len(older), backbone), older)
        model.begin_stage(earlier, data)
        model.end_stage(earlier, data)
    stage = model.next_stage(every[half:] if method == "rapf" else every)
    labels = torch.tensor([stage.classes[i % len(stage.classes)] for i in range(recipe.batch_size)]).to(device)
    images = torch.randn(len(labels), 3, *backbone.image_size).to(device)
    x = images if model.takes == "images" else backbone.encode_images(images, model.takes)
    model.begin_stage(stage, _data(x, labels))
    optimizer = recipe_optimizer(recipe.but(lr=RATE), device)
    start = [parameter.detach().clone() for _, parameter in trainable(model)]
    return Case(model, stage, images, x, labels, stage.seen if model.rehearses else every, optimizer, start)


def _data(x: Tensor, labels: Tensor) -> TensorData:
    return TensorData(dict.fromkeys(("train", "val", "test"), (lambda epoch: x, labels)))


def _raw(n: int, backbone: ClipBackbone) -> Tensor:
    """Draw features of older images: what they are matters to no step's time."""
    return torch.randn(n, backbone.embed_dim).to(backbone.device)


def _threshold(classes: int, backbone: ClipBackbone) -> float:
    """Return the distance within which one pair of an older and a new class lies for ten classes."""
    half, pairs = classes // 2, max(1, classes // 10)
    model = build_model("zero_shot", backbone, names(classes), templates=RAPFOptions().templates)
    assert isinstance(model, PromptedCLIP)
    with torch.no_grad():
        text = model.text_features(range(classes), training=False).float()
    nearest = torch.cdist(text[:half], text[half:]).flatten().sort().values[: pairs + 1]
    return float(nearest[-2:].mean())


def engine(case: Case, recorded: bool = False, precision: str = "fp32") -> Callable[[], Tensor]:
    """Step as a strategy does, operator by operator or recorded, in a precision of strategies."""
    model, device = case.model, case.device
    numbers, guard = Precision(precision, device), LossGuard(device)
    work = work_of(model, case.columns, numbers, case.columns)
    graphs = graphs_of(model, work) if recorded else None

    def step() -> Tensor:
        case.optimizer.zero_grad()
        number = case.done
        x, labels = model.rehearse(case.x, case.labels, case.next())
        done = None if graphs is None else graphs.step(x, labels)
        terms = work(x, labels)[1] if done is None else done.terms
        guard.see(number, terms)
        numbers.step(case.optimizer)
        return terms["total"]

    return step


def reference(case: Case) -> Callable[[], Tensor]:
    """Step as the papers' codes do: nothing but tokens is remembered."""
    model = case.model

    def step() -> Tensor:
        with as_published(model):
            _forget(model)
            case.optimizer.zero_grad()
            x = case.images if model.takes == "images" else model.backbone.encode_images(case.images, model.takes)
            x, labels = model.rehearse(x, case.labels, case.next())
            terms = model.objective(model.training_output(x, case.columns), labels, case.columns)
            model.backward(terms["total"], terms)
            case.optimizer.step()
        return terms["total"].detach()

    return step


def _forget(model: PromptedCLIP) -> None:
    assert isinstance(model.text, TextSide)
    layouts = dict(model.text._layouts)
    model.text.forget()
    model.text._layouts.update(layouts)
    if isinstance(model.rehearsal, Gaussians):
        model.rehearsal._factors.clear()


WAYS: dict[str, Way] = {"reference": reference, "engine": engine, "graph": partial(engine, recorded=True)}
IN_PRECISION: dict[str, Way] = {
    f"graph, {precision}": partial(engine, recorded=True, precision=precision) for precision in ("tf32", "bf16", "fp16")
}
DETERMINISTIC = "graph, deterministic"


@dataclass(frozen=True)
class Measured:
    """What one way of a step costs.

    Attributes:
        seconds: Median of a step.
        peak_mb: Highest allocation of the device above that before the first step; NaN on the CPU.
        utilisation: Percent of a step in which kernels run; NaN on the CPU and for slow steps.
        loss: Of the first step.
        note: Why kernels were not counted.
    """

    seconds: float
    peak_mb: float
    utilisation: float
    loss: float
    note: str = ""


def measure(case: Case, way: Way, seconds: float, warm: int = WARM, profile: bool = True) -> Measured:
    """Measure one way from the first parameters on.

    Args:
        case: The method.
        way: What makes its step.
        seconds: Repeat for so long; once at least, 50 times at most. With 0, a slow first step counts itself.
        warm: Steps before; two, where they are slow.
        profile: Whether to count kernels.
    """
    case.restore()
    device, nothing = case.device, float("nan")
    gpu = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) if gpu else 0
    if gpu:
        torch.cuda.reset_peak_memory_stats(device)
    step = way(case)
    taken, loss = timed(step, device)
    found, left = [taken], warm - 1
    while seconds and left and (taken <= SLOW or left == warm - 1):  # kernels are loaded in the first
        taken, left = timed(step, device)[0], left - 1
    found = repeated(step, device, seconds) if seconds or taken <= SLOW else found
    peak = (torch.cuda.max_memory_allocated(device) - before) / 1e6 if gpu else nothing
    taken = median(found)
    busy, note = nothing, ""
    if gpu and profile and taken <= SLOW:
        try:
            busy = kernel_seconds(step, device) / taken
        except Exception as error:  # the profiler may be forbidden; the times are good without it
            note = f"no profile: {told(error)}"
    return Measured(taken, peak, 100 * busy, float(loss), note)


def told(error: Exception) -> str:
    """Return an error in one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
