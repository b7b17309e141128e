"""Heads on class means: prototypes, the Gaussian discriminant, and BOFA's mixture of both with the text."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.clip.backbone import FeatureKind
from lamm_cl.clip.feature_backbone import Backbone, projected
from lamm_cl.methods.head import Head, TextLogits, masked
from lamm_cl.methods.learner_part import PartData, Rates
from lamm_cl.methods.objective import Batch
from lamm_cl.methods.stage import Stage
from lamm_cl.methods.statistics import ClassStatistics

GRID = 21  # shares of text and image prototypes that are tried, from 0 to 1
OWN_EPOCHS = 6  # how long the head of a stage trains

Spread = Literal["merged", "pooled"]
Mix = Literal["swapped", "searched"]


class Prototypes(Head):
    """Cosine of an image's feature and the mean feature of each class.

    Args:
        width: of the features.
        takes: "raw": means of features as the tower gives them; "unit": of features of length 1.
    """

    keeps_old_logits = True

    def __init__(self, width: int, takes: FeatureKind = "raw") -> None:
        super().__init__()
        self.takes = takes
        self.statistics = ClassStatistics(width)

    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Add the stage's images to the means of their classes."""
        if stage.cumulative:
            self.statistics.reset()
        self.statistics.add(*data.collect("train", None))

    def forward(self, features: Tensor, columns: Sequence[int], text: TextLogits) -> Tensor:
        """Return cosines (batch, len(columns))."""
        ids = list(columns)
        means = F.normalize(self.statistics.mean[ids].to(features), dim=-1)
        return masked(F.normalize(features, dim=-1) @ means.T, self.statistics.known[ids])


class GaussianDiscriminant(Head):
    """Scores z P m_c - m_c P m_c / 2 - log C of features z of length 1, with m_c the mean of class c and a precision P.

    P = D (S + tr(S) / (n - 1) I)^-1 with S the sum of (z - m)(z - m)^T over n images, D the width of z (Wang et al., "A
    hard-to-beat baseline for training-free CLIP-based adaptation", ICLR 2024). Everything is float64.

    Args:
        width: of the features.
        spread: how stages come together. "merged", as in the released codes of ENGINE and BOFA: with k classes known
            before and n now, P = k/n P_old + (n-k)/n P_stage + k (n-k) / n^3 d d^T, where d is the difference of the
            mean old and the mean new class mean: it averages inverses, and adds to them what belongs to a covariance.
            "pooled": S sums over all images so far, so that two stages give the same as one.
        takes: which image features, in front of any adapter.

    Attributes:
        mean: (C, width) mean of each class's features of length 1.
        count: (C,) images of each class.
        scatter: (width, width) S over all images so far.
        precision: (width, width) P.
        weight, bias: (C, width) and (C,): scores are z weight^T + bias.
    """

    in_front = True
    mean: Tensor
    count: Tensor
    scatter: Tensor
    precision: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, width: int, spread: Spread = "merged", takes: FeatureKind = "unprojected") -> None:
        super().__init__()
        self.takes, self._spread = takes, spread
        shapes = {"mean": (0, width), "count": (0,), "weight": (0, width), "bias": (0,)}
        for name, shape in {**shapes, "scatter": (width, width), "precision": (width, width)}.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    def grow(self, n_classes: int) -> None:
        """Make room for more classes."""
        extra = n_classes - len(self.count)
        self.mean, self.weight = (F.pad(one, (0, 0, 0, extra)) for one in (self.mean, self.weight))
        self.count, self.bias = F.pad(self.count, (0, extra)), F.pad(self.bias, (0, extra))

    @property
    def known(self) -> Tensor:
        """Which classes (C,) have images."""
        return self.count > 0

    @torch.no_grad()
    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Add the stage's images."""
        if stage.cumulative:
            for buffer in self.buffers():
                buffer.zero_()
        self.add(*data.collect("train", None))

    @torch.no_grad()
    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add the features (n, width) and labels (n,) of a stage."""
        z = F.normalize(features.to(self.mean), dim=-1)
        new = torch.zeros_like(self.count).index_add_(0, labels, torch.ones_like(labels, dtype=torch.float64))
        mean = torch.zeros_like(self.mean).index_add_(0, labels, z) / new.clamp(min=1)[:, None]
        centred = z - mean[labels]
        scatter = centred.T @ centred
        old, own = self.known & (new == 0), new > 0
        if self._spread == "pooled":
            self._pool(scatter, mean, new)
        else:
            self._merge(precision(scatter, len(z)), mean, old, own)
            self.mean = torch.where(own[:, None], mean, self.mean)
            self.count = torch.where(own, new, self.count)
        self.weight = self.mean @ self.precision
        self.bias = -math.log(max(1, int(self.known.sum()))) - (self.weight * self.mean).sum(1) / 2

    def _merge(self, own_precision: Tensor, mean: Tensor, old: Tensor, own: Tensor) -> None:
        k, n = int(old.sum()), int((old | own).sum())
        if not k:
            self.precision = own_precision
            return
        d = self.mean[old].mean(0) - mean[own].mean(0)
        merged = k / n * self.precision + (n - k) / n * own_precision
        self.precision = merged + (k / n) * (n - k) / n**2 * torch.outer(d, d)

    def _pool(self, scatter: Tensor, mean: Tensor, new: Tensor) -> None:
        count = self.count + new
        # A class that comes again moves its mean: what lies between its two means belongs to S.
        gap = mean - self.mean
        weight = self.count * new / count.clamp(min=1)
        self.scatter = self.scatter + scatter + (weight[:, None] * gap).T @ gap
        self.mean = self.mean + gap * (new / count.clamp(min=1))[:, None]
        self.count = count
        self.precision = precision(self.scatter, int(count.sum()))

    def forward(self, features: Tensor, columns: Sequence[int], text: TextLogits) -> Tensor:
        """Return scores (batch, len(columns))."""
        ids = list(columns)
        z = F.normalize(features.to(self.mean), dim=-1)
        return masked((z @ self.weight[ids].T + self.bias[ids]).to(features.dtype), self.known[ids])


def precision(scatter: Tensor, n: int) -> Tensor:
    """Return D (S + tr(S) / (n - 1) I)^-1 for a sum S (D, D) over n images."""
    width = len(scatter)
    ridge = scatter.trace() / max(1, n - 1)
    found: Tensor = width * torch.linalg.pinv(scatter + ridge * torch.eye(width).to(scatter), hermitian=True)
    return found


class MixedPrototypes(Head):
    """Scores s * g + (1 - s) * f . (m * image prototype + (1 - m) * text), over all classes seen so far.

    f is the feature behind the bridge, of length 1; g are the discriminant's scores. The image prototype is the mean of
    a class's features behind CLIP's *own* projection. The share m is searched on the stage's training images, anew in
    each stage as long as 0 is the best; there it is the text's share ("swapped", as released), or the image's
    ("searched"). Classes that have not been seen read -inf.

    Args:
        discriminant: gives g.
        backbone: the frozen CLIP.
        bridge: maps features.
        stat: s.
        mix: which of the two the share that was searched is.
        scale: factor of the cosines in the loss.
        prefilter: whether only the best class of each stage's own head competes.
        rate: learning rate and weight decay of these heads.

    Attributes:
        statistics: means of features in front of CLIP's projection.
        searched: share of the text with which most training images were recognised.
        heads: of each stage, on features of length 1 in front of the bridge.
    """

    in_front = True
    among_seen = True
    searched: Tensor

    def __init__(
        self,
        discriminant: GaussianDiscriminant,
        backbone: Backbone,
        bridge: nn.Module,
        *,
        stat: float,
        mix: Mix,
        scale: float,
        prefilter: bool,
        rate: tuple[float, float],
    ) -> None:
        super().__init__()
        self.takes, self.discriminant = discriminant.takes, discriminant
        self.statistics = ClassStatistics(backbone.width(self.takes))
        self.heads = nn.ModuleList()
        self.register_buffer("searched", torch.tensor(0.0, dtype=torch.float64))
        self._backbone, self._bridge = backbone, (bridge,)  # it is a child of the learner already
        self._stat, self._mix, self._scale, self._prefilter, self._rate = stat, mix, scale, prefilter, rate
        self._classes: list[tuple[int, ...]] = []

    @property
    def rates(self) -> Rates:
        """The learning rate and weight decay of the stages' heads."""
        return {"heads": self._rate}

    def begin_stage(self, stage: Stage, data: PartData | None) -> None:
        """Take the stage's statistics, search the share, and start a head from the stage's own discriminant."""
        self.heads.requires_grad_(False)
        self._classes.append(stage.classes)
        like = self._backbone.projection
        assert like is not None
        shape = self.statistics.width, len(stage.classes)
        head = nn.utils.skip_init(nn.Linear, *shape, dtype=like.dtype)  # type: ignore[no-untyped-call]
        self.heads.append(head.to(like.device))
        if data is not None:
            self._look(stage, data)

    def begin_epoch(self, stage: Stage, epoch: int) -> None:
        """Stop training the stage's head."""
        if epoch == OWN_EPOCHS:
            self.heads.requires_grad_(False)

    @torch.no_grad()
    def _look(self, stage: Stage, data: PartData) -> None:
        if stage.cumulative:
            self.statistics.reset()
        self.discriminant.end_stage(stage, data)
        features, labels = data.collect("train", None)
        self.statistics.add(features, labels)
        alone = GaussianDiscriminant(self.statistics.width, "pooled").to(self.searched.device)
        alone.grow(len(self.statistics.count))
        alone.add(features, labels)
        own, head = list(stage.classes), self.heads[-1]
        head.weight.copy_(alone.weight[own])  # type: ignore[operator]  # a linear layer
        head.bias.copy_(alone.bias[own])  # type: ignore[operator]
        if not self.searched:
            self.searched.copy_(self._search(features, labels, stage.seen, data.text_features(stage.seen)))

    @property
    def share(self) -> Tensor:
        """The image prototype's share m, a scalar."""
        return self.searched if self._mix == "swapped" else 1 - self.searched

    def _search(self, features: Tensor, labels: Tensor, seen: Sequence[int], text: Tensor) -> Tensor:
        """Return the share of the text with which most training images are recognised; of equals the smallest."""
        image = F.normalize(self._bridge[0](features), dim=-1)
        prototypes, rows = self.prototypes(seen, text), torch.searchsorted(torch.tensor(seen).to(labels), labels)
        shares = torch.linspace(0, 1, GRID, dtype=text.dtype, device=text.device)
        logits = ((1 - s) * image @ prototypes.T + s * image @ text.T for s in shares)
        correct = torch.stack([(one.argmax(1) == rows).sum() for one in logits])
        return shares[int(correct.argmax())]

    def prototypes(self, class_ids: Sequence[int], like: Tensor) -> Tensor:
        """Return the image prototypes (n, d) of classes, of length 1; zero where a class has no images."""
        return F.normalize(projected(self.statistics.mean[list(class_ids)].to(like), self._backbone), dim=-1)

    def logits(self, batch: Batch) -> Tensor:
        """Return what the loss compares with the labels (batch, n)."""
        output = batch.output
        image, text, share = output.image[:, 0], output.text[:, 0], self.share.to(output.text)
        mixed = share * self.prototypes(output.columns, text) + (1 - share) * text
        logits: Tensor = self._scale * image @ mixed[batch.keep].T
        return logits

    def own(self, batch: Batch) -> Tensor:
        """Return the cross entropy of the stage's own head among the stage's classes, a scalar; 0 where it is still."""
        zero = batch.logits.new_zeros(())
        if not len(self.heads) or not self.heads[-1].weight.requires_grad:
            return zero
        output, own = batch.output, torch.tensor(self._classes[-1], device=batch.rows.device)
        ids = torch.tensor(output.columns, device=own.device)[batch.keep][batch.rows]
        mine = torch.isin(ids, own)
        if not mine.any():
            return zero
        z = F.normalize(output.model.features(output.given), dim=-1)[mine]
        return F.cross_entropy(self.heads[-1](z), torch.searchsorted(own, ids[mine]))

    def forward(self, features: Tensor, columns: Sequence[int], text: TextLogits) -> Tensor:
        """Return scores (batch, len(columns))."""
        seen = self.discriminant.known.nonzero()[:, 0].tolist()
        scores = features.new_full((len(features), len(self.discriminant.count)), -torch.inf)
        if seen:
            g = self.discriminant(features, seen, text)
            mixed = self._stat * g + (1 - self._stat) * self.cosine(features, seen, text)
            if self._prefilter:
                mixed = mixed.masked_fill(~self.candidates(features, seen), -torch.inf)
            scores[:, seen] = mixed
        return scores[:, list(columns)]

    def cosine(self, features: Tensor, seen: Sequence[int], text: TextLogits) -> Tensor:
        """Return the products (batch, len(seen)) with mixtures of prototype and text."""
        share = self.share.to(features)
        image = F.normalize(self._bridge[0](features), dim=-1)
        plain = text(seen) / self._backbone.exp_logit_scale.to(features)
        return share * image @ self.prototypes(seen, image).T + (1 - share) * plain

    def candidates(self, features: Tensor, seen: Sequence[int]) -> Tensor:
        """Return which classes (batch, len(seen)) are the best of a stage's own head."""
        z, found = F.normalize(features, dim=-1), torch.zeros(len(features), len(self.statistics.count)).bool()
        found = found.to(features.device)
        for classes, head in zip(self._classes, self.heads, strict=True):
            best = torch.tensor(classes, device=features.device)[head(z).argmax(1)]
            found[torch.arange(len(z), device=z.device), best] = True
        return found[:, list(seen)]
