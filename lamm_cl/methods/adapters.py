"""Adapters: small learned maps of features, in front of a head."""

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.clip.backbone import FeatureKind
from lamm_cl.clip.feature_backbone import Backbone, projected, projection_of
from lamm_cl.methods.consolidation import SingularFusion
from lamm_cl.methods.learner_part import LearnerPart, PartData, Rates
from lamm_cl.methods.stage import Stage
from lamm_cl.prompts.vectors import Initial

RIDGE = 1e-4  # of a bridge's Gram matrices


class Adapter(LearnerPart):
    """Maps features (..., width) to features (..., E). Abstract.

    Attributes:
        takes: which image features it wants: most published adapters mix features before they are normalised.
    """

    takes: FeatureKind = "raw"

    def forward(self, features: Tensor) -> Tensor:
        """Return the mapped features, not normalised."""
        raise NotImplementedError

    def in_training(self, features: Tensor) -> Tensor:
        """Return the mapped features that the loss sees, not normalised."""
        mapped: Tensor = self(features)
        return mapped


class Bottleneck(Adapter):
    """Two linear layers without bias, each with a ReLU, mixed with the feature itself (CLIP-Adapter).

    Args:
        width: of the features.
        reduction: the inner width is width / reduction.
        ratio: share of the mapped feature; the rest is the feature itself.
        initial: source of random values.
    """

    def __init__(self, width: int, reduction: int, ratio: float, initial: Initial) -> None:
        super().__init__()
        self.ratio, inner = ratio, max(1, width // reduction)
        self.fc = nn.Sequential(
            initial.linear("adapter/fc.0", width, inner, bias=False),
            nn.ReLU(),
            initial.linear("adapter/fc.2", inner, width, bias=False),
            nn.ReLU(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return ratio * MLP(f) + (1 - ratio) * f."""
        mapped: Tensor = self.fc(features)
        return self.ratio * mapped + (1 - self.ratio) * features


class Linear(Adapter):
    """One linear map without bias or residual, from a random start: nothing of zero-shot CLIP is kept (RAPF).

    Args:
        width: of the features.
        initial: source of random values.
        consolidation: fuses the map with what it was before the stage, after every stage but the first; None: nothing.
    """

    def __init__(self, width: int, initial: Initial, consolidation: SingularFusion | None = None) -> None:
        super().__init__()
        self.map = initial.linear("adapter/linear", width, width, bias=False)
        self.consolidation = consolidation

    def begin_stage(self, stage: Stage, data: PartData | None) -> None:
        """Remember the map."""
        if self.consolidation is not None:
            self.consolidation.begin(self.map.weight)

    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Fuse it, unless the stage brought all older images again."""
        if self.consolidation is not None and stage.old and not stage.cumulative:
            self.map.weight.data = self.consolidation.fused(self.map.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return W f."""
        mapped: Tensor = self.map(features)
        return mapped


class StageSum(Adapter):
    """The sum of one linear map with bias a stage, each from a random start; those of older stages are frozen.

    The feature itself is no part of the sum (ENGINE, PROOF): only before the first stage it stands alone.

    Args:
        width: of the features that are mapped.
        initial: source of random values.
        name: of the map in them.
        backbone: whose projection comes first, where features before CLIP's projection are taken.
        all_train: whether those of older stages train on (the texts' of PROOF's released code).
    """

    def __init__(
        self, width: int, initial: Initial, name: str, backbone: Backbone | None = None, all_train: bool = False
    ) -> None:
        super().__init__()
        self.maps = nn.ModuleList()
        self.takes = "raw" if backbone is None else "unprojected"
        self._width, self._initial, self._name, self._backbone = width, initial, name, backbone
        self._all_train = all_train

    def begin_stage(self, stage: Stage, data: PartData | None) -> None:
        """Start a new map."""
        self.maps.requires_grad_(self._all_train)
        where = f"{self._name}/{len(self.maps)}"
        self.maps.append(self._initial.linear(where, self._width, self._width))

    def forward(self, features: Tensor) -> Tensor:
        """Return the sum over stages of W f + b, as one map of the summed W and b."""
        if self._backbone is not None:
            features = projected(features, self._backbone)
        if not self.maps:
            return features
        weight, bias = (reduce(torch.add, [getattr(one, name) for one in self.maps]) for name in ("weight", "bias"))
        return F.linear(features, weight, bias)


class Bridge(Adapter):
    """W z in the place of CLIP's projection W0 z; a stage trains W whole, and is then kept to a subspace (BOFA).

    From epoch `whole` of every stage but the first, W is W0 + B A^T: the columns of A are the eigenvectors of the
    smallest eigenvalues of the mean Gram matrix of older stages, B starts as (W - W0) A and trains instead. The stage
    keeps that (the first one its W); scoring uses the mean of what all stages kept. The next stage goes on from W as it
    was, not from what was kept.

    Args:
        backbone: whose projection it starts from.
        rank: number of columns of A, at most the width of z.
        whole: epochs of a stage that train W whole.
        rate: learning rate and weight decay of B.
        initial: source of the data type.

    Attributes:
        weight: (d, w) W.
        inside: (d, rank) B.
        subspace: (w, rank) A.
        gram: (w, w) sum over older stages of Z^T Z / (n - 1) + 1e-4 I; not centred.
        count: number of them.
        kept: (d, w) sum of what the stages kept.
    """

    takes = "unprojected"
    subspace: Tensor
    gram: Tensor
    count: Tensor
    kept: Tensor
    _within: Tensor

    def __init__(self, backbone: Backbone, rank: int, whole: int, rate: tuple[float, float], initial: Initial) -> None:
        super().__init__()
        self._backbone, self._whole = backbone, whole
        start = projection_of(backbone).T.to(initial.device, initial.dtype)
        width = start.shape[1]
        rank = min(rank, width)
        self.weight = nn.Parameter(start.clone())
        self.inside = nn.Parameter(start.new_zeros(len(start), rank), requires_grad=False)
        self.register_buffer("subspace", start.new_zeros(width, rank))
        self.register_buffer("gram", torch.zeros(width, width, dtype=torch.float64, device=start.device))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("kept", torch.zeros_like(start))
        self.register_buffer("_within", torch.tensor(False))
        self._rate = rate

    @property
    def rates(self) -> Rates:
        """The learning rate and weight decay of B."""
        return {"inside": self._rate}

    @property
    def start(self) -> Tensor:
        """CLIP's own projection (d, w)."""
        return projection_of(self._backbone).T.to(self.weight)

    @property
    def fused(self) -> Tensor:
        """The weights (d, w) that score: the mean of what the stages kept; CLIP's own before the first."""
        return self.kept / self.count if self.count else self.start

    @property
    def now(self) -> Tensor:
        """The weights (d, w) that train."""
        return self.start + self.inside @ self.subspace.T if self._within else self.weight

    def begin_stage(self, stage: Stage, data: PartData | None) -> None:
        """Train W whole; a stage that brings all older images again is a first one."""
        if stage.cumulative:
            for buffer in (self.gram, self.count, self.kept):
                buffer.zero_()
        self._within.fill_(False)
        self.weight.requires_grad_(True)
        self.inside.requires_grad_(bool(stage.old) and not stage.cumulative)

    def begin_epoch(self, stage: Stage, epoch: int) -> None:
        """Go over to the subspace."""
        if epoch == self._whole and self.inside.requires_grad and self.count:
            self._enter()

    @torch.no_grad()
    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Keep the stage's weights and its Gram matrix."""
        if self.count and not self._within:  # it trained too few epochs to get there
            self._enter()
        self.kept += self.now
        z = data.collect("train", None)[0].to(self.gram)
        self.gram += z.T @ z / max(1, len(z) - 1) + RIDGE * torch.eye(len(self.gram)).to(self.gram)
        self.count += 1
        self.weight.requires_grad_(True)

    @torch.no_grad()
    def _enter(self) -> None:
        directions = torch.linalg.eigh(self.gram / self.count)[1][:, : self.subspace.shape[1]]
        self.subspace.copy_(directions)
        self.inside.copy_((self.weight - self.start) @ self.subspace)
        self.weight.requires_grad_(False)
        self._within.fill_(True)

    def forward(self, features: Tensor) -> Tensor:
        """Return features (n, d) that score."""
        return features @ self.fused.T

    def in_training(self, features: Tensor) -> Tensor:
        """Return features (n, d) that train."""
        return features @ self.now.T
