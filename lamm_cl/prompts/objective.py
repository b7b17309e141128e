"""What a method minimises: cross entropy plus named, weighted terms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.clip.lasting import lasting
from lamm_cl.prompts import losses
from lamm_cl.prompts.inputs import check_space, class_ids, label_rows
from lamm_cl.prompts.labels import Dialect

if TYPE_CHECKING:
    from lamm_cl.prompts.prompted_clip import Output


@dataclass(frozen=True)
class Batch:
    """What a term of the objective sees.

    Attributes:
        output: everything of the forward pass.
        rows: (batch,) each image's label as a row of the label space.
        keep: (n,) the output's columns that are in the label space.
        logits: (batch, n) logits of the label space.
    """

    output: "Output"
    rows: Tensor
    keep: Tensor
    logits: Tensor


Term = Callable[[Batch], Tensor]


class Objective:
    """Cross entropy over the label space, plus terms.

    Args:
        terms: name -> (term, weight); a term of weight 0 is not computed.
        teacher: what `Output.teacher` holds: None = nothing, "original" = the original names in the fixed template,
            "current" = the original names in the current learned context (LAMM's released code).
    """

    def __init__(
        self,
        terms: Mapping[str, tuple[Term, float]] | None = None,
        teacher: Literal["original", "current"] | None = None,
    ) -> None:
        self.terms = {name: pair for name, pair in (terms or {}).items() if pair[1]}
        self.teacher = teacher if self.terms else None

    def __call__(
        self, output: "Output", labels: Tensor, classes: Sequence[int] | Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return each term unweighted, and their weighted sum "total".

        Args:
            output: the forward pass.
            labels: (batch,) class ids.
            classes: label space: the class ids that compete; default: every column of the output.

        Raises:
            UsageError: labels or classes that make no loss, see `lamm_cl.prompts.inputs`.
        """
        batch = _batch(output, labels, classes)
        found = {"ce": F.cross_entropy(batch.logits, batch.rows)}
        total = found["ce"]
        for name, (term, weight) in self.terms.items():
            found[name] = term(batch)
            total = total + weight * found[name]
        return {**found, "total": total}


def _batch(output: "Output", labels: Tensor, classes: Sequence[int] | Tensor | None) -> Batch:
    space = output.columns if classes is None or classes is output.columns else class_ids(classes)
    keep = _kept(output.columns, space, output.logits.device)
    # A plugin may have put any image into the batch: one that does not compete must not pass for another class.
    rows = label_rows(labels, space, len(output.logits)).to(output.logits.device)
    logits = output.logits if space == output.columns else output.logits[:, keep]
    return Batch(output, rows, keep, logits)


@lru_cache(maxsize=64)
def _kept(columns: tuple[int, ...], space: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the column of each row of the label space; made once, not every step."""
    check_space(space, columns)
    where = {class_id: column for column, class_id in enumerate(columns)}
    with lasting():
        return torch.tensor([where[class_id] for class_id in space]).to(device)


@dataclass(frozen=True)
class Hierarchical:
    """LAMM's three terms: parameter, feature and logits space (equations 5 to 8).

    Attributes:
        dialect: "official" (the released code) or "paper"; what differs is in `lamm_cl/methods/README.md`.
        kd_target: see `losses.knowledge_distillation`.
    """

    dialect: Dialect
    kd_target: Literal["learned", "zero_shot"]

    def terms(self, lambda_wc: float, lambda_cos: float, lambda_kd: float) -> dict[str, tuple[Term, float]]:
        """Return the terms with their weights; the paper's weight of L_WC is 1 / shots."""
        return {"wc": (self.wc, lambda_wc), "cos": (self.cos, lambda_cos), "kd": (self.kd, lambda_kd)}

    def wc(self, batch: Batch) -> Tensor:
        """L_WC over the labels that train."""
        learned, anchors = batch.output.labels
        return losses.weight_consolidation(learned, anchors) if learned else batch.logits.new_zeros(())

    def cos(self, batch: Batch) -> Tensor:
        """L_COS over the label space."""
        assert batch.output.teacher is not None
        text = batch.output.text[..., batch.keep, :, :]
        distance = losses.cosine_distance(text, batch.output.teacher[batch.keep])
        if self.dialect == "official":
            return losses.cosine_of_batch(distance, batch.rows)
        return losses.cosine_of_classes(distance)

    def kd(self, batch: Batch) -> Tensor:
        """L_KD over the label space."""
        teacher = batch.output.teacher_logits()[:, batch.keep]
        temperature = losses.OFFICIAL_TEMPERATURE if self.dialect == "official" else 1.0
        return losses.knowledge_distillation(batch.logits, teacher, temperature, self.kd_target)
