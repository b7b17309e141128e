"""Rehearsal by means: the mean feature of older classes, with noise."""

from collections.abc import Callable

import torch
from torch import Tensor

from lamm_cl.clip.feature_backbone import Backbone, projected, projection_of
from lamm_cl.errors import UsageError
from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.rehearsal import Rehearsal
from lamm_cl.methods.stage import Stage, Step
from lamm_cl.methods.statistics import ClassStatistics
from lamm_cl.seeds import seed_for

PIXEL_NOISE = 0.25


class NoisyMeans(Rehearsal):
    """Adds the mean feature of each older class plus N(0, noise^2 I) to each mini-batch (ENGINE).

    The noise is one of features behind CLIP's projection; here it is added in front of it, where it means the same.

    Args:
        backbone: whose features before the projection are kept.
        noise: standard deviation.
        classes: older classes a mini-batch, in an order that each epoch draws anew; 0: all of them.
        views: whether the mini-batch is looked at a second time, with noise on its pixels.

    Attributes:
        statistics: mean of each class.
        step: where training is; None outside of training steps.
        real: images of the mini-batch, which come first in it.
        view: (real, E) features of its second view, without gradient.
    """

    step: Step | None = None
    real: int = 0
    view: Tensor | None = None

    def __init__(self, backbone: Backbone, noise: float, classes: int = 0, views: bool = False) -> None:
        super().__init__()
        self.statistics = ClassStatistics(backbone.width("unprojected"))
        self.needs_images = views
        self._backbone, self._noise, self._classes = backbone, noise, classes
        self._back: Tensor | None = None

    def grow(self, n_classes: int) -> None:
        """Make room for more classes."""
        self.statistics.grow(n_classes)

    def end_epoch(self, stage: Stage, epoch: int, data: PartData) -> None:
        """Look at nothing outside of training steps."""
        self.step = self.view = None

    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Add the stage's images to the means of their classes."""
        if stage.cumulative:
            self.statistics.reset()
        self.statistics.add(*data.collect("train", None))

    def look(self, given: Tensor, encode: Callable[[Tensor], Tensor], step: Step) -> None:
        """Look at the mini-batch with noise on its pixels."""
        self.view = self.second_view(given, encode, step) if self.needs_images else None

    def second_view(self, given: Tensor, encode: Callable[[Tensor], Tensor], step: Step) -> Tensor:
        """Return features (real, E) of images with noise; pixels are clamped to [0, 1], as in the released code.

        Pixels are normalised by then, so that this takes half of them away.

        Raises:
            UsageError: features were given.
        """
        if given.dim() != 4:
            raise UsageError("image_aug adds noise to pixels: give images instead of features, or leave image_aug at 0")
        generator = torch.Generator().manual_seed(seed_for("second view", *step.place))
        noise = torch.randn(given.shape, generator=generator).to(given)
        return projected(encode((given + PIXEL_NOISE * noise).clamp(0, 1)), self._backbone)

    def rehearse(self, x: Tensor, labels: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Return the mini-batch and a noisy mean of older classes behind it."""
        self.step, self.real = step, len(x)
        known = self.statistics.known.tolist()
        old = [c for c in step.stage.old if c not in step.stage.classes and known[c]]
        if not old:
            return x, labels
        order = self.order(len(old), step)
        turn = [old[row] for row in order]
        if self._classes:
            turn = [turn[(step.batch * self._classes + i) % len(old)] for i in range(min(self._classes, len(old)))]
        noise = torch.stack([self.normals(step, call) for call in range(len(turn))])
        means = self.statistics.mean[turn]
        drawn = means + self._noise * noise.to(means) @ self._back_through_projection().to(means)
        return torch.cat([x, drawn.to(x)]), torch.cat([labels, labels.new_tensor(turn)])

    def order(self, n: int, step: Step) -> list[int]:
        """Return the order of n older classes in an epoch."""
        seed = seed_for("mean classes", step.seed, step.stage.number, step.epoch)
        return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()

    def normals(self, step: Step, call: int) -> Tensor:
        """Return numbers (E,) from N(0, 1), which depend on the step and on how many draws it made before."""
        generator = torch.Generator().manual_seed(seed_for("mean noise", *step.place, call))
        return torch.randn(self._backbone.embed_dim, generator=generator, dtype=torch.float64)

    def _back_through_projection(self) -> Tensor:
        """Return the pseudo-inverse (E, w) of CLIP's projection."""
        if self._back is None:
            self._back = torch.linalg.pinv(projection_of(self._backbone).double())
        return self._back
