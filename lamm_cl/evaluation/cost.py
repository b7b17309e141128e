"""What each stage cost: seconds, peak memory, trained parameters."""

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue

from lamm_cl.evaluation.rows import Row

_MB = 1024 * 1024
METRICS = ("seconds", "peak_memory_mb", "trained_parameters")


class StageCost(PluginMetric[list[dict[str, float]]]):
    """Measures every training stage, from its first to its last mini-batch.

    - seconds: wall-clock time of the stage, evaluations inside it included.
    - peak_memory_mb: on CUDA the most that the allocator held; on CPU the most that the process held in memory
      during the stage (Linux) or ever (elsewhere).
    - trained_parameters: numbers that the optimizer may change.
    """

    def __init__(self) -> None:
        """Start with no stage."""
        super().__init__()
        self._stages: list[dict[str, float]] = []
        self._start: float | None = None  # None between stages
        self._earlier = 0  # stages that a loaded learner had behind it
        self._before = 0.0  # seconds that an interrupted process had spent on this stage

    def before_training_exp(self, strategy: Any) -> None:
        """Start the clock."""
        if not self._stages:
            self._earlier = max(0, len(getattr(strategy, "trained", ())) - 1)
        _reset_peak(strategy.device)
        self._start = time.perf_counter()

    def _seconds(self) -> float:
        return 0.0 if self._start is None else self._before + time.perf_counter() - self._start

    def after_training_exp(self, strategy: Any) -> list[MetricValue]:
        """Stop the clock and report."""
        if strategy.device.type == "cuda":
            torch.cuda.synchronize(strategy.device)
        costs = {
            "seconds": self._seconds(),
            "peak_memory_mb": _peak(strategy.device),
            "trained_parameters": float(trained_parameters(strategy)),
        }
        self._stages.append(costs)
        self._start, self._before = None, 0.0
        where = f"train_phase/{strategy.experience.origin_stream.name}_stream"
        x = strategy.clock.train_iterations
        names = {"seconds": "Stage_Seconds", "peak_memory_mb": "Stage_PeakMemoryMB"}
        names["trained_parameters"] = "Stage_TrainedParameters"
        return [MetricValue(self, f"{names[key]}/{where}", value, x) for key, value in costs.items()]

    def result(self) -> list[dict[str, float]]:
        """Return one dictionary per stage."""
        return list(self._stages)

    def reset(self) -> None:
        """Forget everything."""
        self._stages.clear()
        self._start, self._before = None, 0.0

    def rows(self) -> list[Row]:
        """Return everything as rows for the records."""
        return [
            Row(stage, "", "", metric, costs[metric])
            for stage, costs in enumerate(self._stages, self._earlier + 1)
            for metric in METRICS
        ]

    def state(self) -> dict[str, Any]:
        """Return all that was found, and the seconds of a stage that is not over, for JSON."""
        stages = [dict(costs) for costs in self._stages]
        return {"stages": stages, "earlier": self._earlier, "inside": self._seconds()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state that `state` gave; an interrupted stage goes on at its next `before_training_exp`."""
        self._stages = [dict(costs) for costs in state["stages"]]
        self._earlier = int(state["earlier"])
        self._start, self._before = None, float(state["inside"])


def trained_parameters(strategy: Any) -> int:
    """Return how many numbers the strategy's optimizer may change; without one, those that require a gradient."""
    optimizer = getattr(strategy, "optimizer", None)
    if optimizer is None:
        return sum(p.numel() for p in strategy.model.parameters() if p.requires_grad)
    return sum(p.numel() for group in optimizer.param_groups for p in group["params"] if p.requires_grad)


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
