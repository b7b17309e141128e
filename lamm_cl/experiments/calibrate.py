"""What runs will cost, from a few timed steps of each kind. Imported by workers only."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.nn.functional import normalize

from lamm_cl.clip.backbone import ClipBackbone
from lamm_cl.clip.load import RANDOM
from lamm_cl.errors import UsageError
from lamm_cl.experiments import imports
from lamm_cl.experiments.rehearsal import layout_without_data
from lamm_cl.experiments.run_one import backbone_of
from lamm_cl.experiments.spec import Cost, Environment, RunSpec
from lamm_cl.methods.build import build_model
from lamm_cl.methods.fit import TensorData
from lamm_cl.methods.recipe import Recipe
from lamm_cl.strategies.build import may_repeat
from lamm_cl.strategies.graph import graphs_of, work_of
from lamm_cl.strategies.precision import Precision
from lamm_cl.strategies.settings import sort_options

_IMAGES = 4
_BUDGET = 60.0
_EACH = 0.5


@dataclass(frozen=True)
class _Speed:
    step: float  # seconds of a method's training step
    image: float  # seconds of its evaluation of one image
    pictures: bool  # whether it reads pictures


class Calibration:
    """Times each method at several numbers of classes; after a minute, others lie on a line through those."""

    def __init__(self, environment: Environment, device: str) -> None:
        self._environment, self._device = environment, device
        self._layouts: dict[str, Any] = {}
        self._pictures: dict[Any, tuple[float, float]] = {}
        self._speeds: dict[Any, dict[int, _Speed]] = {}  # of method and backbone, by the number of classes
        self._until = time.monotonic() + _BUDGET
        self._start = max(0.0, time.time() - psutil.Process().create_time())

    def cost(self, spec: RunSpec) -> Cost:
        """Return what a run will cost; raises `UsageError` where it could not be done even with data and weights."""
        torch.set_num_threads(spec.threads)
        layout = self.layout(spec)
        backbone = self._backbone(spec)
        chosen = sort_options(spec.method, backbone.name, self._environment.found(spec.options), ["plugins"])
        load, encode = self._picture(spec, backbone, layout)
        speed = self._speed(spec, backbone, layout, chosen)
        trains = spec.method != "zero_shot"
        shown, steps = _views_and_steps(layout, chosen.recipe) if trains else (0, 0)
        tests = sum(len(part.samples) for part in layout.test)
        passes = len(layout.train) + bool(spec.evaluation.get("before_training", True))
        seconds = steps * speed.step + tests * passes * speed.image
        if speed.pictures:
            seconds += (shown + tests * passes) * load
        views = {} if speed.pictures else {f"{spec.datasets} test": tests, f"{spec.datasets} {spec.seed}": shown}
        cuda = self._device.startswith("cuda")  # where the most memory that was needed so far counts
        memory = torch.cuda.max_memory_allocated(self._device) if cuda else psutil.Process().memory_info().rss
        return Cost(
            seconds=seconds,
            memory_mb=memory / 1e6,
            views={f"{backbone.name} {name}": count for name, count in views.items()},
            seconds_a_view=load + encode,
            bytes_a_view=4 * backbone.embed_dim,
            start=self._start,
        )

    def layout(self, spec: RunSpec) -> Any:
        """Return what a run's images are, without its data where these are not there."""
        key = repr((spec.datasets, spec.shots))
        if key not in self._layouts:
            self._layouts[key] = layout_without_data(spec, self._environment)
        return self._layouts[key]

    def _backbone(self, spec: RunSpec) -> ClipBackbone:
        """Return a run's backbone; where its weights are not there, with random ones, which take as long."""
        try:
            return backbone_of(spec, self._device, self._environment)[0]
        except UsageError:
            return backbone_of(replace(spec, pretrained=RANDOM), self._device, self._environment)[0]

    def _picture(self, spec: RunSpec, backbone: Any, layout: Any) -> tuple[float, float]:
        """Return the seconds that it takes to read a picture, and to encode it."""
        key = (repr(spec.datasets), backbone.name)
        if key not in self._pictures:
            samples = layout.train[0].samples[:_IMAGES]
            views: list[Tensor] = []

            def read() -> None:
                views[:] = [backbone.preprocess(layout.datasets[one.dataset].open(one.item)) for one in samples]

            load = _time(read, 1, self._device) / len(samples)
            batch = torch.stack(views).to(backbone.device)
            self._pictures[key] = load, _time(lambda: backbone.encode_images(batch), 2, self._device) / len(samples)
        return self._pictures[key]

    def _speed(self, spec: RunSpec, backbone: Any, layout: Any, chosen: Any) -> _Speed:
        classes = len(layout.class_names)
        timed = self._speeds.setdefault((spec.label, backbone.name), {})
        if classes not in timed:
            if len(timed) > 1 and time.monotonic() > self._until:
                return _between(timed, classes)
            timed[classes] = self._measure(spec, backbone, layout, chosen)
        return timed[classes]

    def _measure(self, spec: RunSpec, backbone: Any, layout: Any, chosen: Any) -> _Speed:
        names = layout.class_names
        repeated = may_repeat(names, layout.datasets)
        model = build_model(spec.method, backbone, names, learn=False, repeated_names=repeated, **chosen.method)
        own = list(layout.train[0].own)
        model.to(self._device)
        batch = min(chosen.recipe.batch_size, max(1, len(layout.train[0].samples)))
        if model.takes == "images":
            x = torch.zeros(batch, 3, *backbone.image_size, device=backbone.device)
        else:
            x = normalize(torch.ones(batch, backbone.width(model.takes), device=backbone.device), dim=1)
        labels = torch.tensor([own[i % len(own)] for i in range(batch)], device=backbone.device)
        some = (lambda epoch: x, labels)
        model.begin_stage(model.next_stage(own), TensorData({"train": some, "val": some, "test": some}))
        trains = any(p.requires_grad for p in model.parameters())

        work = work_of(model, tuple(own), Precision("fp32", torch.device(self._device)), tuple(own))
        alone = self._environment.graph == "auto" and not chosen.rest.get("plugins")  # which may act inside a step
        graphs = graphs_of(model, work) if alone else None

        def step() -> None:
            model.zero_grad()
            if graphs is None or graphs.step(x, labels) is None:
                work(x, labels)

        @torch.no_grad()
        def evaluate() -> None:
            model(x)

        seconds = _time(step, 2, self._device) if trains else 0.0
        return _Speed(seconds, _time(evaluate, 2, self._device) / batch, model.needs_images)


def _between(timed: Mapping[int, _Speed], classes: int) -> _Speed:
    """Return the speed at a number of classes, on the line through the fewest and the most that were timed."""
    few, many = timed[min(timed)], timed[max(timed)]
    share = (classes - min(timed)) / (max(timed) - min(timed))
    step, image = (max(0.0, a + share * (b - a)) for a, b in ((few.step, many.step), (few.image, many.image)))
    return replace(few, step=step, image=image)


def _views_and_steps(layout: Any, recipe: Recipe) -> tuple[int, int]:
    """Return the views that all stages show, and their training steps."""
    views = steps = 0
    for part in layout.train:
        images = len(part.samples)
        epochs, more = recipe.length(images, len(part.own), max(1, images // recipe.batch_size))
        views, steps = views + images * epochs, steps + more
    return views, steps


def _time(work: Callable[[], None], most: int, device: str) -> float:
    """Return the seconds of the quickest of a few calls on a device; the first of several warms up."""
    times: list[float] = []
    while len(times) < most or (sum(times) < _EACH and len(times) < 10 * most):
        begin = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begin)
        if sum(times) > 10 * _EACH:
            break
    return min(times)


def measure(specs: Sequence[RunSpec], environment: Environment, device: str) -> list[Cost]:
    """Return what each run will cost; data and weights that are not there have stand-ins."""
    imports.load(environment.imports)
    calibration = Calibration(environment, device)
    classes = {spec.run_id: len(calibration.layout(spec).class_names) for spec in specs}
    few, many = min(classes.values(), default=0), max(classes.values(), default=0)
    # Those with the fewest and the most classes first: the others may lie between.
    ends_first = sorted(specs, key=lambda spec: few < classes[spec.run_id] < many)
    costs = {spec.run_id: calibration.cost(spec) for spec in ends_first}
    return [costs[spec.run_id] for spec in specs]
