"""Stops a run whose loss is no longer a number."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

PENALTY = "plugins' penalties"
MOST = 1000  # steps that are kept on a device


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite; the message names the step and the term."""


class LossGuard:
    """Watches the terms of the loss.

    On the CPU every step is checked at once. On other devices reading a value would wait for the device, so the
    terms are kept there and read once in many steps, and by `flush`, at the end of the epoch.
    """

    def __init__(self, device: torch.device) -> None:
        self._at_once = device.type == "cpu"
        self._names: tuple[str, ...] = ()
        self._seen: list[Tensor] = []
        self._steps: list[int] = []

    def see(self, step: int, terms: Mapping[str, Tensor]) -> None:
        """Look at the scalar terms of one step.

        Raises:
            NonFiniteLossError: On the CPU, when a term is NaN or infinite.
        """
        # Sums are bad whenever a part is: name the part.
        named = sorted(terms, key=lambda name: (name == PENALTY, name == "total"))
        if self._at_once:
            for name in named:
                value = float(terms[name].detach())
                if not math.isfinite(value):
                    raise NonFiniteLossError(_message(name, step, str(value)))
            return
        if self._names != tuple(named):
            self.flush()
            self._names = tuple(named)
        self._steps.append(step)
        self._seen.append(torch.stack([terms[name].detach().float().reshape(()) for name in named]))
        if len(self._seen) >= MOST:
            self.flush()

    def flush(self) -> None:
        """Read what was remembered on the device.

        Raises:
            NonFiniteLossError: When a term was NaN or infinite at any step since the last call.
        """
        if not self._seen:
            return
        values, names, steps = torch.stack(self._seen).tolist(), self._names, self._steps
        self._names, self._seen, self._steps = (), [], []
        for step, row in zip(steps, values, strict=True):
            for name, value in zip(names, row, strict=True):
                if not math.isfinite(value):
                    raise NonFiniteLossError(_message(name, step, "NaN or infinite"))


def _message(term: str, step: int, value: str) -> str:
    return (
        f"the loss term {term!r} became {value} at training step {step} (counted over all stages). "
        "A lower lr, a smaller weight of that term, or precision='fp32' usually helps."
    )
