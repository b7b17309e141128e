"""The loss of a strategy: the label space that plugins see, the stop where it is no number, its terms as metrics."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from avalanche.evaluation.metric_utils import get_metric_name
from torch import Tensor
from torch.nn import functional as F

PENALTY = "plugins' penalties"
MOST = 1000  # steps that are kept on a device


def columns_of(space: str, own: Iterable[int], seen: Iterable[int], n_columns: int) -> tuple[int, ...]:
    """Return the columns of a label space, ascending: those that train now, those and earlier ones, or all."""
    if space == "all":
        return tuple(range(n_columns))
    if space == "seen":
        return tuple(sorted({*own, *seen}))
    return tuple(sorted(set(own)))


def spread(logits: Tensor, places: Tensor, n_columns: int) -> Tensor:
    """Return logits (batch, k) of the columns `places` (k,) among all (batch, n_columns); other columns become -inf."""
    full = logits.new_full((logits.shape[0], n_columns), -torch.inf)
    return full.index_copy(1, places, logits)


class LabelSpaceLoss:
    """Cross-entropy in a label space, for the plugins that ask a strategy for its criterion (EWC, A-GEM).

    An image of the label space competes inside it. Any other image (an old one that a plugin remembered)
    competes among the wider columns. Chosen per image with a mask, so nothing waits for the device.
    """

    def __init__(self) -> None:
        self._spaces: Tensor | None = None  # (2, n_columns): the wider one, the label space

    def restrict(self, columns: Sequence[int], wider: Sequence[int], n_columns: int) -> None:
        """Set the label space, and the wider one for images whose class is not in it."""
        self._spaces = None
        if len(columns) < n_columns:
            self._spaces = torch.zeros(2, n_columns, dtype=torch.bool)
            self._spaces[0, list(wider)] = True
            self._spaces[1, list(columns)] = True

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (batch, n_columns) for labels (batch,), a scalar."""
        if self._spaces is None:
            return F.cross_entropy(logits, labels)
        wider, own = self._spaces = self._spaces.to(logits.device)
        allowed = torch.where(own[labels][:, None], own, wider)
        return F.cross_entropy(logits.masked_fill(~allowed, -torch.inf), labels)


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite; the message names the step and the term."""


class LossGuard:
    """Watches the terms of the loss.

    On the CPU every step is checked at once. On other devices reading a value would wait for the device, so the
    terms are kept there and read once in many steps, and by `flush`, at the end of the epoch.
    """

    def __init__(self, device: torch.device) -> None:
        self._most = 1 if device.type == "cpu" else MOST
        self._seen: list[tuple[int, str]] = []  # step and term of each value
        self._values: list[Tensor] = []  # of each step

    def see(self, step: int, terms: Mapping[str, Tensor]) -> None:
        """Look at the scalar terms of one step.

        Raises:
            NonFiniteLossError: On the CPU, when a term is NaN or infinite.
        """
        # Sums are bad whenever a part is: name the part.
        named = sorted(terms, key=lambda name: (name == PENALTY, name == "total"))
        self._seen += [(step, name) for name in named]
        self._values.append(torch.stack([terms[name].detach().reshape(()) for name in named]))
        if len(self._values) >= self._most:
            self.flush()

    def flush(self) -> None:
        """Read what was remembered.

        Raises:
            NonFiniteLossError: When a term was NaN or infinite at any step since the last call.
        """
        values, seen = torch.cat(self._values).tolist() if self._values else [], self._seen
        self._values, self._seen = [], []
        for value, (step, term) in zip(values, seen, strict=True):
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"the loss term {term!r} became {value} at training step {step} (counted over all stages). "
                    "A lower lr, a smaller weight of that term, or precision='fp32' usually helps."
                )


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
