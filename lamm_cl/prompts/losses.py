"""LAMM's losses (Gao et al., AAAI 2024, section 3.3; and its released code) and other distances, as pure functions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.clip.precision import at_least_float

OFFICIAL_TEMPERATURE = 2.0


def weight_consolidation(learned: Sequence[Tensor], anchors: Sequence[Tensor]) -> Tensor:
    """L_WC: sum of squared differences between learned label vectors and their anchors (equation 5).

    Both are (m, D) of each class, in one order, or of all in one.
    """
    together = learned[0] if len(learned) == 1 else torch.cat(list(learned))
    return F.mse_loss(together, torch.cat(list(anchors)), reduction="sum")


def cosine_distance(text: Tensor, teacher: Tensor, unit: bool = False) -> Tensor:
    """Return 1 - cos of each class's text features and its teacher's, averaged over a class's prompts.

    Args:
        text: (..., n, v, E) text features, v prompts a class.
        teacher: (n, E) features of the original names; no gradient reaches them.
        unit: whether all have length 1.

    Returns:
        (..., n).
    """
    if unit:
        return (1 - (text * teacher.detach()[:, None]).sum(-1)).mean(-1)
    return (1 - F.cosine_similarity(text, teacher.detach()[:, None], dim=-1)).mean(-1)


def cosine_of_classes(distance: Tensor) -> Tensor:
    """L_COS of the paper: the sum over classes (equation 6) of a `cosine_distance` (n,), or its mean over the batch."""
    return distance.sum(-1).mean()


def cosine_of_batch(distance: Tensor, rows: Tensor) -> Tensor:
    """L_COS of the released code: the mean over the batch's labels; 0 when the batch has one class only.

    `distance` is (n,) or (batch, n), see `cosine_distance`; `rows` (batch,) is the row of each image's label.
    """
    each = distance[rows] if distance.dim() == 1 else distance.gather(1, rows[:, None])[:, 0]
    several = (rows != rows[0]).any()  # as a factor, not a branch: a device need not wait for the answer
    return each.mean() * several.to(each.dtype)


def knowledge_distillation(logits: Tensor, teacher: Tensor, temperature: float, target: str = "learned") -> Tensor:
    """L_KD: cross entropy between learned and zero-shot probabilities, times T^2 (equation 7).

    Both the paper's equation and the released code put the *learned* probabilities in the target's place, and the
    gradient flows through them.

    Args:
        logits: (batch, n) learned.
        teacher: (batch, n) zero-shot.
        temperature: T; 1 in the paper, 2 in the released code.
        target: "learned" (as published) or "zero_shot" (what distillation usually means; its target has no gradient).
    """
    if target == "zero_shot":
        goal, guess = teacher.detach(), logits
    else:
        goal, guess = logits, teacher
    return F.cross_entropy(guess / temperature, F.softmax(goal / temperature, 1)) * temperature**2


Distance = Literal["l1", "l2", "cosine", "kl"]


def l1(learned: Tensor, reference: Tensor) -> Tensor:
    """Return the mean of the absolute differences over all elements (PromptSRC, Khattak et al. 2023, eq. 3 and 4)."""
    return (learned - reference).abs().mean()


def l2(learned: Tensor, reference: Tensor) -> Tensor:
    """Return the squared Euclidean distance of two vectors, averaged over the pairs (KgCoOp, Yao et al. 2023, eq. 4).

    Of vectors of length 1 it is twice the cosine distance.
    """
    return (learned - reference).square().sum(-1).mean()


def cosine(learned: Tensor, reference: Tensor) -> Tensor:
    """Return 1 - cos of two vectors, averaged over the pairs (the released code of KgCoOp)."""
    return (1 - F.cosine_similarity(learned, reference, dim=-1)).mean()


def kl(learned: Tensor, reference: Tensor) -> Tensor:
    """Return KL(softmax(reference) || softmax(learned)), the mean over all elements (the released code of PromptSRC).

    The mean is over images *and* classes of both logits (batch, n): with n classes it is 1/n of that over images.
    """
    goal = at_least_float(reference).log_softmax(-1)
    return (goal.exp() * (goal - at_least_float(learned).log_softmax(-1))).mean().to(learned.dtype)


DISTANCES: Mapping[Distance, Callable[[Tensor, Tensor], Tensor]] = {"l1": l1, "l2": l2, "cosine": cosine, "kl": kl}
