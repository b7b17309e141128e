"""LAMM's hierarchical loss: parameter, feature and logits space (Gao et al., AAAI 2024, equations 5 to 8)."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, autocast

from lamm_cl.methods.objective import Batch, Term
from lamm_cl.prompts import losses
from lamm_cl.prompts.labels import Dialect


@dataclass(frozen=True)
class Hierarchical:
    """LAMM's three terms, on a prompted CLIP.

    Attributes:
        teacher: "original": features of the original names in the fixed template; "current": of the original names in
            the learned context as it is now (the released code of X+LAMM).
        dialect: "official" (the released code) or "paper"; what differs is in `lamm_cl/methods/README.md`.
        kd_target: see `losses.knowledge_distillation`.
    """

    teacher: Literal["original", "current"]
    dialect: Dialect
    kd_target: Literal["learned", "zero_shot"]

    def terms(self, lambda_wc: float, lambda_cos: float, lambda_kd: float) -> dict[str, tuple[Term, float]]:
        """Return the terms with their weights; the paper's weight of L_WC is 1 / shots."""
        return {"wc": (self.wc, lambda_wc), "cos": (self.cos, lambda_cos), "kd": (self.kd, lambda_kd)}

    def wc(self, batch: Batch) -> Tensor:
        """L_WC over the labels that train."""
        learned, anchors = batch.output.label_vectors()
        return losses.weight_consolidation(learned, anchors) if learned else batch.logits.new_zeros(())

    def cos(self, batch: Batch) -> Tensor:
        """L_COS over the label space."""
        text, teacher = batch.output.text, self._teacher(batch)
        if not batch.whole:
            text, teacher = text[..., batch.keep, :, :], teacher[batch.keep]
        # Features have length 1, but for what float16 rounds.
        distance = losses.cosine_distance(text, teacher, unit=text.dtype == teacher.dtype != torch.float16)
        if self.dialect == "official":
            return losses.cosine_of_batch(distance, batch.rows)
        return losses.cosine_of_classes(distance)

    def kd(self, batch: Batch) -> Tensor:
        """L_KD over the label space."""
        output = batch.output
        image = output.image[:, 0] if output.image.shape[1] == 1 else F.normalize(output.image.mean(1), dim=-1)
        with autocast(image.device.type, enabled=False):  # as the learned logits
            teacher = output.scale * image @ self._teacher(batch).to(image.dtype).t()
        teacher = teacher if batch.whole else teacher[:, batch.keep]
        temperature = losses.OFFICIAL_TEMPERATURE if self.dialect == "official" else 1.0
        return losses.knowledge_distillation(batch.logits, teacher, temperature, self.kd_target)

    def _teacher(self, batch: Batch) -> Tensor:
        """Return the features (n, E) of the original names, for all columns of the output."""
        found: Tensor = batch.output.current_names() if self.teacher == "current" else batch.output.zero_shot()
        return found
