"""One run, for real: stream, strategy, training stage by stage with checkpoints, evaluation. For workers only."""

import functools
import gc
import json
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
from torch import Tensor

from lamm_cl import __version__
from lamm_cl.clip.backbone import ClipBackbone, FeatureKind
from lamm_cl.clip.feature_cache import FeatureStore
from lamm_cl.clip.load import load_clip
from lamm_cl.clip.precision import arithmetic
from lamm_cl.clip.room import shared
from lamm_cl.errors import UsageError
from lamm_cl.evaluation.plugins import AccuracyMatrix, StageCost, evaluator
from lamm_cl.experiments import imports
from lamm_cl.experiments.environment import cache_folder
from lamm_cl.experiments.loggers import make_loggers
from lamm_cl.experiments.spec import CHECKPOINT, MODEL, Environment, Job, Result, RunSpec, Stopped
from lamm_cl.files import read_bytes, write_atomic
from lamm_cl.methods.storage import write_learner
from lamm_cl.strategies.build import build_strategy
from lamm_cl.strategies.plugin_state import CannotSaveError
from lamm_cl.strategies.settings import PURE, default_workers
from lamm_cl.streams.build import build_stream
from lamm_cl.tensor_file import pack, unpack

LOG = logging.getLogger("lamm_cl")
_MOST_BACKBONES = 2
_LOADED: dict[Any, tuple[ClipBackbone, FeatureStore]] = {}


def backbone_of(spec: RunSpec, device: str, environment: Environment) -> tuple[ClipBackbone, FeatureStore | None]:
    """Return a run's backbone and its store of features; a process loads them once and keeps the last few.

    A GPU becomes the process's current one: pinned memory and waits go to that, whichever the tensors lie on.
    """
    place = torch.device(device)
    if place.type == "cuda" and place.index is not None:
        torch.cuda.set_device(place)
    precision = "fp16" if spec.precision == PURE else "fp32"  # the others are autocast's
    kinds: tuple[FeatureKind, ...] = ("raw", "unprojected") if environment.unprojected else ()
    key = (spec.backbone, spec.pretrained, spec.resize_mode, device, precision, cache_folder(environment), kinds)
    if key not in _LOADED:
        while len(_LOADED) >= _MOST_BACKBONES:  # before another one is loaded: a GPU may have no room for three
            _LOADED.pop(next(iter(_LOADED)))
        how: Any = {"precision": precision, "device": device, "resize_mode": spec.resize_mode}
        backbone = load_clip(spec.backbone, spec.pretrained, **how)
        _LOADED[key] = backbone, FeatureStore(backbone, cache_folder(environment), kinds=kinds)
    return _LOADED[key]


# -- checkpoints: tensors, and JSON in the same file's header; nothing is pickled --------------------------------------


def load_checkpoint(path: Path, run_id: str) -> tuple[dict[str, Tensor], Any, Any] | None:
    """Return what a run has saved; None when there is nothing, or by another version.

    That is tensors (learned ones, momentum, generators), the rest of the strategy, and the course of the run. A damaged
    one is renamed to `checkpoint.damaged.safetensors`, and counts as none. Raises `OSError` where there is
    one that cannot be read.
    """
    data = read_bytes(path)
    if data is None:
        return None
    try:
        header, tensors = unpack(data)
        if header["run_id"] != run_id or header["version"] != __version__:
            return None
        return tensors, json.loads(header["state"]), json.loads(header["course"])
    except (LookupError, ValueError) as error:
        aside = path.replace(path.with_name(f"{path.stem}.damaged{path.suffix}"))
        LOG.warning("%s is damaged (%s): it is kept as %s, and the run begins anew.", path, error, aside.name)
        return None


@dataclass
class Course:
    """How far a run has come, and when its state was saved last."""

    job: Job
    stages: int
    trained: int = 0  # stages whose training is over
    evaluated: int = 0  # stages whose evaluation is over; stage 0 counts as one
    seconds: float = 0.0  # that earlier processes spent on the run
    notes: list[str] = field(default_factory=list)  # what a reader of the record should know
    began: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)

    def total(self) -> float:
        """Return the seconds spent on the run by all processes."""
        return self.seconds + time.monotonic() - self.began

    def save(self, strategy: Any) -> None:
        """Write the state of the run, unless a plugin cannot be interrupted here: then the last one stays."""
        self.saved = time.monotonic()
        try:
            tensors, state = strategy.checkpoint()
        except CannotSaveError as error:
            LOG.info("%s: %s", self.job.spec, error)
            return
        course = {"trained": self.trained, "evaluated": self.evaluated, "seconds": self.total()}
        head = {"version": __version__, "run_id": self.job.spec.run_id}
        head |= {"state": json.dumps(state), "course": json.dumps(course)}
        write_atomic(self.job.directory / CHECKPOINT, pack(head, tensors))

    def resume(self, strategy: Any) -> bool | None:
        """Take up the state that an earlier process left; returns whether it stopped inside a stage's training.

        None where that does not fit this build, which is noted: the strategy may be half set, and the run begins anew.
        """
        saved = load_checkpoint(self.job.directory / CHECKPOINT, self.job.spec.run_id)
        if saved is None:
            return False
        tensors, state, course = saved
        try:
            strategy.restore(tensors, state)
            inside = state["epoch"] is not None
            trained, evaluated, seconds = int(course["trained"]), int(course["evaluated"]), float(course["seconds"])
            if strategy.stage != trained + inside or not 0 <= evaluated <= trained:
                raise UsageError(f"it tells of {strategy.stage} stages, and its course of {trained} and {evaluated}.")
        except Exception as error:  # whatever another build of this version may have saved
            kind = "" if isinstance(error, UsageError) else f"{type(error).__name__}: "
            reason = f"it lacks {error}" if isinstance(error, KeyError) else f"{kind}{error}"
            self.notes.append(f"it began anew, since its checkpoint could not be used: {reason}")
            LOG.warning("%s: %s", self.job.spec.run_id, self.notes[-1])
            return None
        self.trained, self.evaluated, self.seconds = trained, evaluated, seconds
        return inside

    def after_epoch(self, strategy: Any) -> None:
        """Report, and save when it is time or when the user wants to stop."""
        epochs = max(1, strategy.train_epochs)
        done = strategy.clock.train_exp_epochs
        self._tell(strategy, (self.trained + done / epochs) / self.stages, f"stage {self.trained + 1}, epoch {done}")
        if time.monotonic() - self.saved > 60 * self.job.environment.checkpoint_minutes:
            self.save(strategy)

    def report(self, strategy: Any, text: str) -> None:
        """Report between training and evaluation."""
        self._tell(strategy, (self.trained + self.evaluated) / 2 / self.stages, text)

    def _tell(self, strategy: Any, fraction: float, text: str) -> None:
        try:
            self.job.progress(min(1.0, fraction), text)
        except Stopped:
            self.save(strategy)
            raise


def execute(job: Job) -> Result:
    """Do a run from its last checkpoint or the start; raises `UsageError`, or `Stopped` with the state saved."""
    spec = job.spec
    _set_imports_apart()
    imports.check(job.environment.imports, spec.imports)
    torch.set_num_threads(spec.threads)
    if job.halved and job.device.startswith("cuda"):
        torch.cuda.empty_cache()
    with (
        arithmetic(torch.device(job.device), spec.precision == "tf32", spec.deterministic),
        shared(job.on_device, job.halved),
    ):
        return _execute(job)


def _execute(job: Job) -> Result:
    spec, environment, loading = job.spec, job.environment, job.environment.num_workers
    backbone, store = backbone_of(spec, job.device, environment)
    data, more = environment.placed(spec.datasets), spec.protocol_options
    benchmark = build_stream(
        spec.protocol, data, spec.shots, spec.seed, root=environment.root, backbone=backbone, **more
    )
    loading = default_workers(torch.device(job.device).type, job.sharing) if loading is None else loading
    course = Course(job, stages=len(benchmark.train_stream))
    if job.halved:
        course.notes.append("the GPU ran out of memory: it was tried once more with pieces of half the size")
    with make_loggers(job) as loggers:
        course.notes += [note for logger in loggers if (note := getattr(logger, "note", ""))]

        def make() -> tuple[Any, AccuracyMatrix, StageCost]:
            matrix, cost = AccuracyMatrix(benchmark), StageCost()
            watched = [accuracy_metrics(epoch=True), loss_metrics(epoch=True)] if loggers else []
            strategy = build_strategy(
                spec.method,
                backbone,
                benchmark,
                device=job.device,
                seed=spec.seed,
                precision=spec.precision,
                deterministic=spec.deterministic,
                features=store,
                num_workers=loading,
                graph=environment.graph,
                evaluator=evaluator(matrix, cost, *watched, loggers=loggers),
                on_epoch_end=course.after_epoch,
                **environment.found(spec.options),
            )
            return strategy, matrix, cost

        strategy, matrix, cost = make()
        if (inside := course.resume(strategy)) is None:
            strategy, matrix, cost = make()
        _follow(strategy, benchmark, course, bool(inside))
    if environment.save:
        write_learner(strategy.model, job.directory / MODEL)
    return _result(strategy, benchmark, backbone, matrix, cost, course)


@functools.cache
def _set_imports_apart() -> None:
    """Keep the half million objects of imported libraries out of each collection, once a process."""
    gc.collect()
    gc.freeze()


def _follow(strategy: Any, benchmark: Any, course: Course, inside: bool) -> None:
    """Train and evaluate whatever of the stream is left; `inside`: beginning with the rest of an interrupted stage."""

    def evaluate(text: str) -> None:
        course.report(strategy, f"evaluating {text}")
        strategy.eval(benchmark.test_stream)

    before = course.job.spec.evaluation.get("before_training", True)
    if before and course.trained == course.evaluated == 0 and not inside:
        evaluate("before training")
    # What each training call takes: an experience, or for joint training the whole stream at once.
    joint = strategy.settings.regime == "joint"
    stages = [benchmark.train_stream] if joint else list(benchmark.train_stream)
    course.stages = len(stages)
    for number, experiences in enumerate(stages, 1):
        if course.trained < number:
            (strategy.resume_training if inside else strategy.train)(experiences)
            inside = False
            course.trained = number
            course.save(strategy)
            course.report(strategy, f"stage {number} trained")
        if course.evaluated < number:
            evaluate(f"stage {number}")
            course.evaluated = number
            gc.collect()  # what a stage leaves refers to itself in cycles: few objects, found late, with much memory
            course.save(strategy)
            course.report(strategy, f"stage {number} evaluated")


def _result(
    strategy: Any, benchmark: Any, backbone: ClipBackbone, matrix: AccuracyMatrix, cost: StageCost, course: Course
) -> Result:
    chosen, threads, device = course.job.spec.evaluation, course.job.spec.threads, strategy.device
    rows = matrix.rows(per_class=bool(chosen.get("per_class")), calibration=bool(chosen.get("calibration")))
    costs = cost.rows()
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    details: dict[str, Any] = {
        "notes": course.notes,
        "seconds": course.total(),
        "peak_memory_mb": max((row.value or 0.0 for row in costs if row.metric == "peak_memory_mb"), default=None),
        "device": {"kind": device.type, "name": on, "threads": threads},
        "backbone": {"name": backbone.name, "pretrained": backbone.pretrained, "fingerprint": backbone.fingerprint},
        "data": {
            "names": list(benchmark.dataset_names),
            "fingerprint": benchmark.data_fingerprint,
            "content": benchmark.content_fingerprint,
            "split": benchmark.split,
            "synthetic": benchmark.synthetic,
            "notes": list(benchmark.notes),
        },
        "stream": {
            "train": list(benchmark.plan.train_names),
            "eval": [one.name for one in benchmark.plan.sets],
            "classes": len(benchmark.class_names),
        },
        "matrices": {space: values.tolist() for space, values in matrix.matrices(before=True).items()},
    }
    if chosen.get("per_class"):
        details["stream"]["class_names"] = list(benchmark.class_names)
    if chosen.get("confusion"):
        scores = {one.name: matrix.score(matrix.stage, one.name, "all") for one in benchmark.plan.sets}
        # (true column, predicted column, images) after the last stage, by test set, among all classes
        sets = {name: score.confusion for name, score in scores.items() if score is not None}
        details["confusion"] = {"classes": list(benchmark.class_names), "sets": sets}
    return Result([*rows, *costs], details)
