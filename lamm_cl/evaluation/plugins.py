"""Avalanche plugins over the metrics, and the one that measures what a stage costs."""

import contextlib
import copy
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from avalanche.training.plugins import EvaluationPlugin

from lamm_cl.evaluation.accuracy_matrix import AccuracyMatrix
from lamm_cl.evaluation.summary import Row

__all__ = ["AccuracyMatrix", "StageCost", "evaluator"]

_MB = 1024 * 1024
_LOGGED = {
    "seconds": "Stage_Seconds",
    "peak_memory_mb": "Stage_PeakMemoryMB",
    "trained_parameters": "Stage_TrainedParameters",
    "kept_parameters": "Stage_KeptParameters",
    "state_mb": "Stage_StateMB",
    "train_images_per_second": "Stage_TrainImagesPerSecond",
}
COSTS = (*_LOGGED, "test_images_per_second")


class StageCost(PluginMetric[list[dict[str, float]]]):
    """Measures every training stage, from its first to its last mini-batch, and the evaluations after it.

    - seconds: wall-clock time of the stage, evaluations inside it included.
    - peak_memory_mb: on CUDA the most that the allocator held; on CPU the most that the process held in memory
      during the stage (Linux) or ever (elsewhere).
    - trained_parameters: numbers that the optimizer may change.
    - kept_parameters, state_mb: the model's state after the stage (parameters and buffers, without the frozen CLIP and
      without exemplars, which are images): how many numbers, and their size.
    - train_images_per_second: images that the stage's mini-batches had, in all epochs, by its seconds; for a learner
      that takes no steps the images of the stage. What is rehearsed of old classes is not counted.
    - test_images_per_second: test images by the seconds of the last evaluation after the stage.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stages: list[dict[str, float]] = []
        self._start: float | None = None  # None between stages
        self._earlier = 0  # stages that a loaded learner had behind it
        self._before = 0.0  # seconds that an interrupted process had spent on this stage
        self._images = 0  # in the mini-batches of this stage
        self._tested = 0  # images of this evaluation
        self._testing = 0.0  # when the evaluation began

    def before_training_exp(self, strategy: Any) -> None:
        """Start the clock."""
        if not self._stages:
            self._earlier = max(0, len(getattr(strategy, "trained", ())) - 1)
        _reset_peak(strategy.device)
        self._start = time.perf_counter()

    def after_training_iteration(self, strategy: Any) -> None:
        """Count the images of a mini-batch."""
        self._images += getattr(strategy, "drawn_images", None) or len(strategy.mb_y)

    def before_eval(self, strategy: Any) -> None:
        """Start the clock of an evaluation."""
        self._tested, self._testing = 0, time.perf_counter()

    def after_eval_exp(self, strategy: Any) -> None:
        """Count the images of a test set."""
        self._tested += len(strategy.experience.dataset)

    def after_eval(self, strategy: Any) -> None:
        """Stop the clock of an evaluation; those before or inside a stage belong to none."""
        if self._stages and self._start is None and self._tested:
            _wait(strategy.device)
            self._stages[-1]["test_images_per_second"] = self._tested / (time.perf_counter() - self._testing)

    def _seconds(self) -> float:
        return 0.0 if self._start is None else self._before + time.perf_counter() - self._start

    def after_training_exp(self, strategy: Any) -> list[MetricValue]:
        """Stop the clock and report."""
        _wait(strategy.device)
        seconds, state = self._seconds(), strategy.model.state_dict().values()
        kept = {id(value): value for value in state if isinstance(value, torch.Tensor)}.values()  # each once
        images = self._images or len(strategy.experience.dataset)
        costs = {
            "seconds": seconds,
            "peak_memory_mb": _peak(strategy.device),
            "trained_parameters": float(trained_parameters(strategy)),
            "kept_parameters": float(sum(one.numel() for one in kept)),
            "state_mb": sum(one.numel() * one.element_size() for one in kept) / _MB,
        }
        if self._images or kept:  # else nothing was learned
            costs["train_images_per_second"] = images / seconds
        self._stages.append(costs)
        self._start, self._before, self._images = None, 0.0, 0
        where = f"train_phase/{strategy.experience.origin_stream.name}_stream"
        x = strategy.clock.train_iterations
        return [MetricValue(self, f"{_LOGGED[key]}/{where}", value, x) for key, value in costs.items()]

    def result(self) -> list[dict[str, float]]:
        """Return one dictionary per stage."""
        return list(self._stages)

    def reset(self) -> None:
        """Forget everything."""
        self._stages.clear()
        self._start, self._before, self._images = None, 0.0, 0

    def rows(self) -> list[Row]:
        """Return everything as rows for the records."""
        return [
            Row(stage, "", "", metric, costs[metric])
            for stage, costs in enumerate(self._stages, self._earlier + 1)
            for metric in COSTS
            if metric in costs
        ]

    def state(self) -> dict[str, Any]:
        """Return all that was found, with the seconds and images of a stage that is not over, for JSON."""
        inside, images = self._seconds(), self._images
        stages = copy.deepcopy(self._stages)
        return {"stages": stages, "earlier": self._earlier, "inside": inside, "images": images}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state that `state` gave; an interrupted stage goes on at its next `before_training_exp`."""
        self._stages = copy.deepcopy(state["stages"])
        self._earlier, self._images = state["earlier"], state["images"]
        self._start, self._before = None, state["inside"]


def trained_parameters(strategy: Any) -> int:
    """Return how many numbers the strategy's optimizer may change; without one, those that require a gradient."""
    optimizer = getattr(strategy, "optimizer", None)
    if optimizer is None:
        return sum(p.numel() for p in strategy.model.parameters() if p.requires_grad)
    return sum(p.numel() for group in optimizer.param_groups for p in group["params"] if p.requires_grad)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    # Linux: 5 resets the high-water mark of this process's memory (proc(5), clear_refs). Where that is not allowed,
    # the mark is that of the process's whole life.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> float:
    """Return the peak memory in MB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MB
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return _peak_of_life()


def _peak_of_life() -> float:
    """Return the most memory in MB that this process ever held."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        memory = psutil.Process().memory_info()
        return float(getattr(memory, "peak_wset", memory.rss)) / _MB
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MB


def evaluator(*metrics: Any, loggers: Sequence[Any] = ()) -> EvaluationPlugin:
    """Return an evaluation plugin, without Avalanche's warning where no logger is wanted."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")
        return EvaluationPlugin(*metrics, loggers=list(loggers))
