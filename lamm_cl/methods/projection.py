"""Gradient projection: a step may not lead away from zero-shot CLIP (ProGrad, Zhu et al., ICCV 2023)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, autocast

from lamm_cl.methods.objective import Batch
from lamm_cl.prompts.losses import knowledge_distillation


@dataclass(frozen=True)
class GradientProjection:
    """Takes from the gradient of the loss what points against the gradient of the distance to zero-shot CLIP.

    For each tensor by itself: where a . b < 0, a - share * (a . b / |b|^2) b, and a otherwise (equation 5), a being the
    gradient of the whole loss and b that of `distance`, which is no part of the loss.

    Attributes:
        temperature: T, of both sides.
        share: of the component that is taken away: the paper's lambda.
    """

    temperature: float = 1.0
    share: float = 1.0

    def distance(self, batch: Batch) -> Tensor:
        """Return T^2 times the cross entropy of the logits with zero-shot CLIP's probabilities (equation 3).

        The entropy of the target, which has no gradient, is not subtracted: the released code does not either.
        """
        output = batch.output
        image, text = output.zero_shot_image(), output.zero_shot()
        with autocast(image.device.type, enabled=False):
            teacher = (output.scale * image @ text.to(image.dtype).t())[:, batch.keep]
            return knowledge_distillation(batch.logits, teacher, self.temperature, "zero_shot")

    def backward(
        self, loss: Tensor, distance: Tensor, parameters: Sequence[Tensor], retain_graph: bool = False
    ) -> None:
        """Set the gradients of `parameters`; a factor that loss and distance share is in them too.

        Args:
            loss: what is minimised, with whatever was added to it.
            distance: what `distance` returned.
            parameters: what trains.
            retain_graph: as torch's.
        """
        reached: Sequence[Tensor | None] = [None] * len(parameters)
        if distance.requires_grad:
            reached = torch.autograd.grad(distance, list(parameters), retain_graph=True, allow_unused=True)
        torch.autograd.backward(loss, retain_graph=retain_graph)
        for parameter, towards in zip(parameters, reached, strict=True):
            if parameter.grad is not None and towards is not None:
                parameter.grad.sub_(self._against(parameter.grad, towards).to(parameter.grad.dtype))

    def _against(self, gradient: Tensor, towards: Tensor) -> Tensor:
        """Return what is taken away; zeros where the two agree, or one of them is zero."""
        dtype = torch.promote_types(gradient.dtype, torch.float32)  # squares overflow in half precision
        a, b = gradient.to(dtype), towards.to(dtype)
        product, square = (a * b).sum(), (b * b).sum()
        # As factors, not branches: a device need not wait for the answer.
        return self.share * torch.where(product < 0, product / square, 0) * b
