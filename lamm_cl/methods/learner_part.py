"""What a learner may be composed of: a part keeps what it learned, and is told when stages begin and end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from lamm_cl.errors import UsageError
from lamm_cl.methods.stage import Split, Stage
from lamm_cl.methods.statistics import ClassStatistics

# Parameters, by the beginning of their names, that train at a rate of their own: (learning rate, weight decay).
Rates = Mapping[str, tuple[float, float]]
Collect = Callable[[Split, int | None], tuple[Tensor, Tensor]]


def _no_text(class_ids: Sequence[int]) -> Tensor:
    raise UsageError("this learner has no text: its parts must not ask for its features")


@dataclass(frozen=True)
class PartData:
    """The images of a stage once more, as features.

    Attributes:
        collect: (split, epoch) -> features (n, width) and labels (n,), see `StageData.batches`: for a head as it is
            given them, behind the adapter or in front; for any other part as the learner takes them.
        text: (features as the head is given them, class ids) -> logits (n, len(ids)) of the text, where there is text.
        text_features: class ids -> (len(ids), E) text features as the loss sees them, where there is text.
    """

    collect: Collect
    text: Callable[[Tensor, Sequence[int]], Tensor]
    text_features: Callable[[Sequence[int]], Tensor] = _no_text


class LearnerPart(nn.Module):
    """A part of a `ComposedLearner`. What it learned is parameters and buffers and nothing else: see `Learner`.

    Attributes:
        looks_at: images beside the training set that it asks for ("val", "test").
        among_seen: whether the loss compares with all classes seen so far, where nothing else is chosen.
        rates: see `Rates`.
        needs_images: whether it looks at pixels while it trains, so that cached features do not do.
        scores_by_batch: see `Learner.scores_by_batch`.
    """

    looks_at: frozenset[Split] = frozenset()
    needs_images: bool = False
    scores_by_batch: bool = False
    among_seen: bool = False

    @property
    def rates(self) -> Rates:
        """What trains at a rate of its own: nothing."""
        return {}

    def grow(self, n_classes: int) -> None:
        """Make room for more classes, in the parts inside as well."""
        for part in self.children():
            if isinstance(part, LearnerPart | ClassStatistics):
                part.grow(n_classes)

    def begin_stage(self, stage: Stage, data: PartData | None) -> None:
        """Start a stage; without data where a learner is made to grow as another did: see `Learner.regrow`."""

    def begin_epoch(self, stage: Stage, epoch: int) -> None:
        """Start an epoch of a stage, counted from 0."""

    def end_epoch(self, stage: Stage, epoch: int, data: PartData) -> None:
        """Finish an epoch of a stage."""

    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Finish a stage: take what is kept of its training set, merge."""
