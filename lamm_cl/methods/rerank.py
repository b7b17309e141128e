"""The reranking head: text, a Gaussian discriminant, and sentences that tell the best classes apart (ENGINE)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.clip.feature_backbone import Backbone, projected
from lamm_cl.methods.gaussian_discriminant import GaussianDiscriminant
from lamm_cl.methods.head import Head, TextLogits
from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.stage import Stage
from lamm_cl.prompts.pair_texts import PairTexts

ROUNDS = 3


class Rerank(Head):
    """Scores s * g / |g| + (1 - s) (r * R + (1 - r) * cosine to text), over all classes seen so far.

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

    def grow(self, n_classes: int) -> None:
        """Make room for more classes."""
        self.discriminant.grow(n_classes)

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
