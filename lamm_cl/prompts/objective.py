"""What a method minimises: cross entropy plus named, weighted terms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.prompts import losses
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

    def __call__(self, output: "Output", labels: Tensor, classes: Sequence[int] | None = None) -> dict[str, Tensor]:
        """Return each term unweighted, and their weighted sum "total".

        Args:
            output: the forward pass.
            labels: (batch,) class ids.
            classes: label space: the class ids that compete; default: every column of the output.
        """
        batch = _batch(output, labels, classes)
        found = {"ce": F.cross_entropy(batch.logits, batch.rows)}
        total = found["ce"]
        for name, (term, weight) in self.terms.items():
            found[name] = term(batch)
            total = total + weight * found[name]
        return {**found, "total": total}


def _batch(output: "Output", labels: Tensor, classes: Sequence[int] | None) -> Batch:
    columns = output.columns
    space = list(columns) if classes is None else list(classes)
    place = {class_id: row for row, class_id in enumerate(space)}
    table = torch.zeros(max(*columns, *space) + 1, dtype=torch.long)
    for class_id, row in place.items():
        table[class_id] = row
    where = {class_id: column for column, class_id in enumerate(columns)}
    keep = torch.tensor([where[class_id] for class_id in space])
    device = output.logits.device
    keep, table = keep.to(device, non_blocking=True), table.to(device, non_blocking=True)
    logits = output.logits if space == list(columns) else output.logits[:, keep]
    return Batch(output, table[labels], keep, logits)


def hierarchical(
    dialect: Dialect,
    lambda_wc: float,
    lambda_cos: float,
    lambda_kd: float,
    kd_target: Literal["learned", "zero_shot"],
) -> dict[str, tuple[Term, float]]:
    """Return LAMM's three terms: parameter, feature and logits space (equations 5 to 8).

    Args:
        dialect: "official" (the released code) or "paper"; what differs is in `lamm_cl/methods/README.md`.
        lambda_wc: weight of L_WC; the paper's is 1 / shots.
        lambda_cos: weight of L_COS.
        lambda_kd: weight of L_KD.
        kd_target: see `losses.knowledge_distillation`.
    """
    official = dialect == "official"

    def wc(batch: Batch) -> Tensor:
        learned, anchors = batch.output.labels
        if not learned:
            return batch.logits.new_zeros(())
        return losses.weight_consolidation(learned, anchors)

    def cos(batch: Batch) -> Tensor:
        output = batch.output
        assert output.teacher is not None
        text = output.text[..., batch.keep, :, :]
        distance = losses.cosine_distance(text, output.teacher[batch.keep])
        return losses.cosine_of_batch(distance, batch.rows) if official else losses.cosine_of_classes(distance)

    def kd(batch: Batch) -> Tensor:
        teacher = batch.output.teacher_logits()[:, batch.keep]
        temperature = losses.OFFICIAL_TEMPERATURE if official else 1.0
        return losses.knowledge_distillation(batch.logits, teacher, temperature, kd_target)

    return {"wc": (wc, lambda_wc), "cos": (cos, lambda_cos), "kd": (kd, lambda_kd)}
