"""One measured number, as it goes into the records."""

from typing import NamedTuple, get_args

from lamm_cl.methods.training import LabelSpace

LABEL_SPACES: tuple[str, ...] = get_args(LabelSpace)


class Row(NamedTuple):
    """One number: what was measured, on what, after which stage.

    Attributes:
        stage: 0 before any training, k after training experience k (from 1).
        eval_set: name of the test set, or "total" for all of them together.
        label_space: "own", "seen" or "all"; empty where it does not apply (seconds, memory).
        metric: "accuracy" or another metric's name.
        value: fraction for accuracies, at full precision; None when missing.
        n: images behind the number, where it is a mean over images.
    """

    stage: int
    eval_set: str
    label_space: str
    metric: str
    value: float | None
    n: int | None = None
