"""What a learner minimises: cross entropy plus named, weighted terms."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.clip.precision import lasting
from lamm_cl.methods.inputs import check_space, class_ids, label_rows


@dataclass(frozen=True)
class Output:
    """What one forward pass gives; a learner may add to it.

    Attributes:
        logits: (batch, n).
        columns: class id of each of the n columns.
    """

    logits: Tensor
    columns: tuple[int, ...]

    def supply(self, plain: Tensor) -> None:
        """Take unit features (batch, E) of the images in the plain tower, for a learner that wants them."""

    def emptied(self) -> Self:
        """Return this output for no image at all."""
        return replace(self, logits=self.logits[:0])


@dataclass(frozen=True)
class Batch:
    """What a term of the objective sees.

    Attributes:
        output: everything of the forward pass; what else it holds is for the learner's own terms.
        rows: (batch,) each image's label as a row of the label space.
        keep: (n,) the output's columns that are in the label space.
        logits: (batch, n) logits of the label space.
    """

    output: Any
    rows: Tensor
    keep: Tensor
    logits: Tensor

    @property
    def whole(self) -> bool:
        """Whether the label space is the output's columns, so that `keep` keeps everything as it is."""
        return self.logits is self.output.logits


Term = Callable[[Batch], Tensor]


class Projection(Protocol):
    """Changes the gradients of every step by those of a distance that is no part of the loss."""

    def distance(self, batch: Batch) -> Tensor:
        """Return the distance, a scalar."""
        ...

    def backward(
        self, loss: Tensor, distance: Tensor, parameters: Sequence[Tensor], retain_graph: bool = False
    ) -> None:
        """Set the gradients of `parameters`; loss and distance may share a factor, which is then in them too."""
        ...


class Objective:
    """Cross entropy over the label space, plus terms.

    Args:
        terms: name -> (term, weight); a term of weight 0 is not computed.
        wants: what the terms will ask of every output ("current_names", "zero_shot_image"), so that one pass may
            compute it together with the rest, or a cache give it.
        logits: gives the logits (batch, n) that are compared with the labels; default: those that score.
        projection: changes the gradients of every step; its distance is returned, unweighted and no part of "total".
        ce: takes the place of that comparison, as a whole.
    """

    def __init__(
        self,
        terms: Mapping[str, tuple[Term, float]] | None = None,
        wants: Collection[str] = (),
        logits: Term | None = None,
        projection: "Projection | None" = None,
        ce: Term | None = None,
    ) -> None:
        self.logits, self.projection, self.ce = logits, projection, ce
        self.terms = {name: pair for name, pair in (terms or {}).items() if pair[1]}
        self.wants = frozenset(wants if self.terms else ())

    def plus(self, terms: Mapping[str, tuple[Term, float]], wants: Collection[str] = ()) -> "Objective":
        """Return this objective with more terms, and with what they want."""
        return self.but(terms={**self.terms, **terms}, wants={*self.wants, *wants})

    def __call__(
        self, output: Output, labels: Tensor, classes: Sequence[int] | Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return each term unweighted, and their weighted sum "total".

        Args:
            output: the forward pass.
            labels: (batch,) class ids.
            classes: label space: the class ids that compete; default: every column of the output.

        Raises:
            UsageError: labels or classes that make no loss, see `lamm_cl.methods.inputs`.
        """
        batch = _batch(output, labels, classes)
        if self.ce is None:
            logits = batch.logits if self.logits is None else self.logits(batch)
            found = {"ce": F.cross_entropy(logits, batch.rows)}
        else:
            found = {"ce": self.ce(batch)}
        total = found["ce"]
        for name, (term, weight) in self.terms.items():
            found[name] = term(batch)
            total = total + weight * found[name]
        if self.projection is not None:
            found["zero_shot_kl"] = self.projection.distance(batch)
        return {**found, "total": total}

    def but(self, **changes: Any) -> Self:
        """Return the same objective with some of its arguments changed."""
        same = {name: getattr(self, name) for name in ("terms", "wants", "logits", "projection", "ce")}
        return type(self)(**{**same, **changes})

    def backward(
        self, loss: Tensor, terms: Mapping[str, Tensor], parameters: Sequence[Tensor], retain_graph: bool = False
    ) -> None:
        """Set the gradients of a step; see `Learner.backward`."""
        if self.projection is None:
            torch.autograd.backward(loss, retain_graph=retain_graph)
        else:
            self.projection.backward(loss, terms["zero_shot_kl"], parameters, retain_graph)


def _batch(output: Output, labels: Tensor, classes: Sequence[int] | Tensor | None) -> Batch:
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
