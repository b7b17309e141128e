"""The head of BOFA: text mixed with image prototypes, a Gaussian discriminant, and a linear head a stage."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.clip.feature_backbone import Backbone, projected
from lamm_cl.methods.gaussian_discriminant import GaussianDiscriminant
from lamm_cl.methods.head import Head, TextLogits
from lamm_cl.methods.learner_part import PartData, Rates
from lamm_cl.methods.objective import Batch
from lamm_cl.methods.stage import Stage
from lamm_cl.methods.statistics import ClassStatistics

GRID = 21  # shares that are tried, from 0 to 1
OWN_EPOCHS = 6  # how long the head of a stage trains

Mix = Literal["swapped", "searched"]


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

    def grow(self, n_classes: int) -> None:
        """Make room for more classes."""
        self.discriminant.grow(n_classes)
        self.statistics.grow(n_classes)

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
