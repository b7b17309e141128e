"""The bridge layer: CLIP's visual projection, trained, and later kept to directions that older stages do not use."""

import torch
from torch import Tensor, nn

from lamm_cl.clip.feature_backbone import Backbone, projection_of
from lamm_cl.methods.adapters import Adapter
from lamm_cl.methods.learner_part import PartData, Rates
from lamm_cl.methods.stage import Stage
from lamm_cl.prompts.vectors import Initial

RIDGE = 1e-4


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
