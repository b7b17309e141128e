"""How far what is learned is from a reference: pure functions of features or logits."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from lamm_cl.clip.precision import at_least_float

Distance = Literal["l1", "l2", "cosine", "kl"]


def l1(learned: Tensor, reference: Tensor) -> Tensor:
    """Return the mean of the absolute differences over all elements (PromptSRC, Khattak et al. 2023, equations 3, 4).

    Args:
        learned: (..., E).
        reference: the same, or one that broadcasts to it.
    """
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

    The mean is over images *and* classes: with n classes it is 1/n of the mean over images.

    Args:
        learned: (batch, n) logits.
        reference: (batch, n) logits.
    """
    goal = at_least_float(reference).log_softmax(-1)
    return (goal.exp() * (goal - at_least_float(learned).log_softmax(-1))).mean().to(learned.dtype)


DISTANCES: Mapping[Distance, Callable[[Tensor, Tensor], Tensor]] = {"l1": l1, "l2": l2, "cosine": cosine, "kl": kl}
