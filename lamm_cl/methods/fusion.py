"""Heads that mix what another head says with the text: RAIL's gate, ENGINE's reranking."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.clip.feature_backbone import Backbone, projected
from lamm_cl.methods.head import Head, TextLogits
from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.prototypes import GaussianDiscriminant
from lamm_cl.methods.stage import Stage
from lamm_cl.prompts.pair_texts import PairTexts

ROUNDS = 3  # sentences that tell one class from another


class Gate(Head):
    """Probabilities p of the text; where they name a class that the head knows, (1 - w) p + w * its scores.

    So zero-shot CLIP decides whether a fitted head has a say (Xu et al., RAIL, NeurIPS 2024).

    Args:
        head: gives the scores; they are used as they are, and count as 0 for classes that it does not know.
        weight: w.
        over: which classes p is over: "all" of the stream, also of stages to come (the released code), or "seen".
            With "seen" every image goes to the head, and classes that it does not know read -inf.
    """

    def __init__(self, head: Head, weight: float, over: Literal["all", "seen"] = "all") -> None:
        super().__init__()
        self.takes, self.head, self._weight, self._over = head.takes, head, weight, over
        self._n_classes = 0

    def grow(self, n_classes: int) -> None:
        """Make room for more classes."""
        super().grow(n_classes)
        self._n_classes = n_classes

    def begin_stage(self, stage: Stage, data: PartData | None) -> None:
        """Start a stage."""
        self.head.begin_stage(stage, data)

    def end_epoch(self, stage: Stage, epoch: int, data: PartData) -> None:
        """Finish an epoch of a stage."""
        self.head.end_epoch(stage, epoch, data)

    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Fit the head."""
        self.head.end_stage(stage, data)

    def forward(self, features: Tensor, columns: Sequence[int], text: TextLogits) -> Tensor:
        """Return probabilities mixed with scores (batch, len(columns))."""
        every = tuple(range(self._n_classes))
        logits, scores = text(every), self.head(features, every, text)
        known = ~torch.isneginf(scores)
        if self._over == "seen" and known.any():
            logits = torch.where(known, logits, -torch.inf)
        p = logits.softmax(1)
        mixed = (1 - self._weight) * p + self._weight * torch.where(known, scores, 0)
        fused = torch.where(known.gather(1, p.argmax(1, keepdim=True)), mixed, p)
        if self._over == "seen":
            fused = torch.where(known | ~known.any(), fused, -torch.inf)
        return fused[:, list(columns)]


class Rerank(Head):
    """ENGINE's scores s * g / |g| + (1 - s) (r * R + (1 - r) * cosine to text), over all classes seen so far.

    g are the Gaussian discriminant's scores. R is 0 but for the `top` classes nearest by cosine: there it is the cosine
    of the frozen image feature with the mean of sentences that tell the class from each of the others of them, averaged
    over three sentences each. Every score depends on which classes have been seen; those that have not read -inf.

    Args:
        discriminant: gives g; it is fitted on frozen features.
        backbone: the frozen CLIP.
        texts: the sentences; None: r is 0.
        stat: s.
        rerank: r.
        top: classes that are told apart.
    """

    in_front = True

    def __init__(
        self,
        discriminant: GaussianDiscriminant,
        backbone: Backbone,
        texts: PairTexts | None,
        stat: float,
        rerank: float,
        top: int,
    ) -> None:
        super().__init__()
        self.takes, self.discriminant = discriminant.takes, discriminant
        self._backbone, self._texts = backbone, texts
        self._stat, self._rerank, self._top = stat, rerank if texts is not None else 0.0, top

    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Fit the discriminant."""
        self.discriminant.end_stage(stage, data)

    def forward(self, features: Tensor, columns: Sequence[int], text: TextLogits) -> Tensor:
        """Return scores (batch, len(columns))."""
        seen = self.discriminant.known.nonzero()[:, 0].tolist()
        scores = features.new_full((len(features), len(self.discriminant.count)), -torch.inf)
        if seen:
            cosine = text(seen) / self._backbone.exp_logit_scale.to(features)
            if self._rerank and len(seen) > 1:
                cosine = self._rerank * self.reranked(features, cosine, seen) + (1 - self._rerank) * cosine
            g = F.normalize(self.discriminant(features, seen, text), dim=-1)
            scores[:, seen] = self._stat * g + (1 - self._stat) * cosine
        return scores[:, list(columns)]

    @torch.no_grad()
    def reranked(self, features: Tensor, cosine: Tensor, seen: Sequence[int]) -> Tensor:
        """Return R (batch, len(seen))."""
        assert self._texts is not None
        image = F.normalize(projected(features, self._backbone), dim=-1)
        best = cosine.topk(min(self._top, len(seen)), 1)[1]
        pairs = [[[(a, b) for b in row if b != a] for a in row] for row in best.tolist()]
        rows = {pair: i for i, pair in enumerate(dict.fromkeys(p for image in pairs for one in image for p in one))}
        place = torch.tensor([[[rows[p] for p in one] for one in image] for image in pairs], device=features.device)
        found = torch.zeros_like(cosine)
        for turn in range(ROUNDS):
            told = self._texts.features([(seen[a], seen[b], turn) for a, b in rows]).to(features)
            sentence = F.normalize(told[place].mean(2), dim=-1)
            found.scatter_add_(1, best, torch.einsum("nd,nkd->nk", image, sentence) / ROUNDS)
        return found
