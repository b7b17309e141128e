"""Stops a run whose loss is no longer a number."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

PENALTY = "plugins' penalties"


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite; the message names the step and the term."""


class LossGuard:
    """Watches the terms of the loss.

    On the CPU every step is checked at once. On other devices reading a value would wait for the device, so the
    first bad step of every term is remembered there and read once, by `flush`, at the end of the epoch.
    """

    def __init__(self, device: torch.device) -> None:
        self._at_once = device.type == "cpu"
        self._names: tuple[str, ...] = ()
        self._first_bad: Tensor | None = None

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
        if self._names != tuple(named) or self._first_bad is None:
            self.flush()
            self._names = tuple(named)
            self._first_bad = torch.full((len(named),), -1, device=terms[named[0]].device)
        bad = ~torch.isfinite(torch.stack([terms[name].detach().float().reshape(()) for name in named]))
        self._first_bad = torch.where(bad & (self._first_bad < 0), step, self._first_bad)

    def flush(self) -> None:
        """Read what was remembered on the device.

        Raises:
            NonFiniteLossError: When a term was NaN or infinite at any step since the last call.
        """
        if self._first_bad is None:
            return
        steps = dict(zip(self._names, self._first_bad.tolist(), strict=True))
        self._names, self._first_bad = (), None
        bad = [(step, name) for name, step in steps.items() if step >= 0]
        if bad:
            step = min(bad)[0]
            name = next(name for first, name in bad if first == step)
            raise NonFiniteLossError(_message(name, step, "NaN or infinite"))


def _message(term: str, step: int, value: str) -> str:
    return (
        f"the loss term {term!r} became {value} at training step {step} (counted over all stages). "
        "A lower lr, a smaller weight of that term, or precision='fp32' usually helps."
    )
