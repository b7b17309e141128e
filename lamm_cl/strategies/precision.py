"""Mixed precision (the towers in half precision, prompts, scale and loss in fp32), and pure half precision."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from lamm_cl.clip.precision import arithmetic
from lamm_cl.errors import UsageError
from lamm_cl.strategies.settings import FIXED, PURE, WORKSPACE

_AUTOCAST: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """What a strategy computes in.

    fp16 has too few exponents for small gradients: its loss is scaled up before the backward pass and the
    gradients are scaled back before the step. The other precisions pass everything through. So does pure_fp16, which
    is what the released trainers call `PREC: fp16`: no autocast and no scaled loss, but a model that is in half
    precision itself, and with it the gradients and the momentum.

    Raises:
        UsageError: The device has no such precision, or cuBLAS was not told to be deterministic.
    """

    def __init__(self, name: str, device: torch.device, deterministic: bool = False) -> None:
        if name == "tf32" and device.type != "cuda":
            raise UsageError(f"precision 'tf32' is one of NVIDIA's GPUs, the device is {device.type}: use 'fp32'.")
        if deterministic and device.type == "cuda" and os.environ.get(WORKSPACE) not in FIXED:
            raise UsageError(
                f"deterministic on a GPU needs {WORKSPACE}={FIXED[0]} in the environment before Python starts: "
                f"`{WORKSPACE}={FIXED[0]} python ...`. `lamm-cl run` sets it by itself."
            )
        self.name = name
        self._place, self._deterministic = device, deterministic
        self._dtype = _AUTOCAST.get(name)
        # torch starts at 2**16, which overflows in the first steps of a run that may have few: they would be skipped.
        self.scaler: Any = torch.amp.GradScaler(device.type, init_scale=2.0**12, enabled=name == "fp16")

    def check(self, model: Any) -> None:
        """Check that a model is in half precision where everything should be, and only there.

        Raises:
            UsageError: It is built for another precision.
        """
        half = getattr(model, "dtype", None) == torch.float16
        if half != (self.name == PURE):
            built = "is" if half else "is not"
            raise UsageError(
                f"precision={self.name!r}, but the model {built} in half precision: build it with "
                f"build_model(..., half={not half}), or choose precision={PURE if half else 'fp32'!r}."
            )

    def arithmetic(self) -> AbstractContextManager[None]:
        """Return the context in which stages and evaluations run."""
        return arithmetic(self._place, self.name == "tf32", self._deterministic)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which forward pass and loss are computed."""
        if self._dtype is None:
            return nullcontext()
        return torch.autocast(self._place.type, dtype=self._dtype)

    def scaled(self, loss: Tensor) -> Tensor:
        """Return what the backward pass of a scalar loss starts from."""
        found: Tensor = self.scaler.scale(loss)
        return found

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the optimizer step, with gradients at their true scale."""
        self.scaler.step(optimizer)
        self.scaler.update()
