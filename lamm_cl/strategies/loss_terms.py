"""The terms of the loss as Avalanche metrics, for TensorBoard and other loggers."""

from typing import Any

from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from avalanche.evaluation.metric_utils import get_metric_name
from torch import Tensor


class LossTerms(PluginMetric[dict[str, float]]):
    """Mean of every term of the training loss over an epoch: `Loss_ce_Epoch/train_phase/...` and so on.

    `EvaluationPlugin(LossTerms(), loggers=[...])`; other strategies than ours have no terms and give nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sums: dict[str, Tensor] = {}
        self._n = 0

    def reset(self) -> None:
        """Forget the epoch."""
        self._sums, self._n = {}, 0

    def result(self) -> dict[str, float]:
        """Return the means so far by term."""
        return {name: float(value) / self._n for name, value in self._sums.items()}

    def before_training_epoch(self, strategy: Any) -> None:
        """An epoch begins."""
        self.reset()

    def after_training_iteration(self, strategy: Any) -> None:
        """Add a mini-batch; the sums stay on the device, nothing waits for it."""
        for name, value in getattr(strategy, "loss_terms", {}).items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._n += 1

    def after_training_epoch(self, strategy: Any) -> list[MetricValue]:
        """Report the epoch."""
        where = get_metric_name("", strategy, add_experience=False, add_task=False)
        x = strategy.clock.train_iterations
        return [MetricValue(self, f"Loss_{name}_Epoch{where}", value, x) for name, value in self.result().items()]
