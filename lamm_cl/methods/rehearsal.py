"""Rehearsal: what a learner adds to a stage to remember older classes by: exemplars, Gaussians, noisy means."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lamm_cl.clip.feature_backbone import Backbone, projected, projection_of
from lamm_cl.errors import UsageError
from lamm_cl.methods.learner_part import LearnerPart, PartData
from lamm_cl.methods.stage import Stage, Step
from lamm_cl.methods.statistics import ClassStatistics
from lamm_cl.seeds import seed_for

RIDGE = 1e-4  # added to the variances: fewer images than dimensions leave a covariance singular
PIXEL_NOISE = 0.25  # standard deviation, of a second view


@dataclass(frozen=True)
class Exemplars:
    """How many training images of older classes come along into later stages; Avalanche keeps them.

    The images of a class nearest to its mean feature, chosen one after the other so that their own mean comes as near
    as it can (herding, iCaRL), are part of the training set of every later stage. Where features are given without a
    strategy, `fit_stage` is given them among the others.

    Attributes:
        per_class: images of each class; 0: `total` is shared.
        total: images of all classes seen so far, in equal parts, rounded down.
    """

    per_class: int
    total: int = 0

    def of_each(self, classes: int) -> int:
        """Return the images of each class where so many have been seen.

        >>> Exemplars(0, 2000).of_each(30), Exemplars(20).of_each(30)
        (66, 20)
        """
        return self.per_class or self.total // max(1, classes)


class Rehearsal(LearnerPart):
    """Adds remembered features to mini-batches. Abstract."""

    def look(self, given: Tensor, encode: Callable[[Tensor], Tensor], step: Step) -> None:
        """Look at a mini-batch as the learner was given it, before `rehearse`.

        Args:
            given: images, or features.
            encode: makes features of images, as the learner takes them.
            step: where training is.
        """

    def rehearse(self, x: Tensor, labels: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Return the mini-batch that trains: this one first, then what is remembered.

        Args:
            x: (batch, width) features as the learner takes them.
            labels: (batch,) class ids.
            step: where training is. Whatever is drawn must depend on (seed, stage, step) alone, so that a run that was
                stopped goes on with the same bits: `torch.Generator().manual_seed(seed_for(name, *step.place))`.
        """
        raise NotImplementedError


class Remembered(Rehearsal):
    """Rehearses from statistics of each class, taken in the evaluation view when a stage ends. Abstract.

    Args:
        statistics: of the features as the learner takes them.
        name: of the draws of an order.

    Attributes:
        step: where training is; None outside of training steps.
    """

    step: Step | None = None

    def __init__(self, statistics: ClassStatistics, name: str) -> None:
        super().__init__()
        self.statistics, self._name = statistics, name

    def end_epoch(self, stage: Stage, epoch: int, data: PartData) -> None:
        """Draw nothing outside of training steps."""
        self.step = None

    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Add the stage's images to the statistics of their classes."""
        if stage.cumulative:
            self.statistics.reset()
        self.statistics.add(*data.collect("train", None))

    def older(self, stage: Stage) -> list[int]:
        """Return the classes that the stage does not bring itself, ascending."""
        known = self.statistics.known.tolist()
        return [c for c in stage.old if c not in stage.classes and known[c]]

    def order(self, n: int, step: Step) -> list[int]:
        """Return the order of n older classes in an epoch."""
        seed = seed_for(self._name, step.seed, step.stage.number, step.epoch)
        return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()


class Gaussians(Remembered):
    """Adds features drawn from N(mean, covariance) of some older classes to each mini-batch (RAPF's pseudo-features).

    A class of one image has no covariance but the ridge.

    Args:
        width: of the features.
        classes: older classes a mini-batch; they take turns in an order that each epoch draws anew, so that with fewer
            older classes than this one is drawn twice.
        features: of each class.
        shrinkage: whether the mean variance is added to all variances, and the mean covariance to all covariances.

    Attributes:
        statistics: count, mean and covariance of each class.
    """

    def __init__(self, width: int, classes: int, features: int, shrinkage: bool = False) -> None:
        super().__init__(ClassStatistics(width, "class"), "gaussian classes")
        self._classes, self._features, self._shrinkage = classes, features, shrinkage
        self._factors: dict[int, Tensor] = {}  # follow from the statistics
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Add the stage's images to the statistics of their classes."""
        super().end_stage(stage, data)
        self._factors.clear()

    def rehearse(self, x: Tensor, labels: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Return the mini-batch and drawn features of older classes behind it."""
        self.step = step
        found, ids = [x], [labels]
        for call, class_id in enumerate(self.turn(step)):
            drawn = self.sample(class_id, self._features, step, call)
            found.append(drawn.to(x))
            ids.append(labels.new_full((len(drawn),), class_id))
        return (torch.cat(found), torch.cat(ids)) if len(found) > 1 else (x, labels)

    def turn(self, step: Step) -> list[int]:
        """Return the older classes whose turn it is."""
        old = self.older(step.stage)
        order = self.order(len(old), step)
        return [old[order[(step.batch * self._classes + i) % len(old)]] for i in range(self._classes if old else 0)]

    def normals(self, n: int, step: Step, call: int) -> Tensor:
        """Return numbers (n, width) from N(0, 1), which depend on the step and on how many draws it made before."""
        generator = torch.Generator().manual_seed(seed_for("gaussian", *step.place, call))
        return torch.randn(n, self.statistics.width, generator=generator, dtype=torch.float64)

    def sample(self, class_id: int, n: int, step: Step, call: int) -> Tensor:
        """Draw n features (n, width) of a class, float64."""
        if class_id not in self._factors:
            self._factors[class_id] = torch.linalg.cholesky(self.covariance(class_id))
        mean = self.statistics.mean_of(class_id)
        return self.normals(n, step, call).to(mean) @ self._factors[class_id].to(mean).T + mean

    def covariance(self, class_id: int) -> Tensor:
        """Return the covariance (width, width) from which a class's features are drawn."""
        count = int(self.statistics.count[class_id])
        found = self.statistics.covariance(class_id, correction=min(1, count - 1))
        found = found + RIDGE * torch.eye(len(found), dtype=found.dtype, device=found.device)
        return shrunk(found) if self._shrinkage else found


def _forget(module: Gaussians, keys: object) -> None:
    module._factors.clear()


def shrunk(covariance: Tensor) -> Tensor:
    """Return S + v I + c (1 - I), v being the mean variance and c the mean covariance in S.

    Added to S as a whole, as in RAPF's released code; a convex combination would keep the size of S.
    """
    width = len(covariance)
    variance = covariance.diagonal().mean()
    other = (covariance.sum() - covariance.trace()) / max(1, width * width - width)
    return covariance + other + (variance - other) * torch.eye(width, dtype=variance.dtype, device=variance.device)


class NoisyMeans(Remembered):
    """Adds the mean feature of each older class plus N(0, noise^2 I) to each mini-batch (ENGINE).

    The noise is one of features behind CLIP's projection; here it is added in front of it, where it means the same.

    Args:
        backbone: whose features before the projection are kept.
        noise: standard deviation.
        classes: older classes a mini-batch, in an order that each epoch draws anew; 0: all of them.
        views: whether the mini-batch is looked at a second time, with noise on its pixels.

    Attributes:
        statistics: mean of each class.
        real: images of the mini-batch, which come first in it.
        view: (real, E) features of its second view, without gradient.
    """

    real: int = 0
    view: Tensor | None = None

    def __init__(self, backbone: Backbone, noise: float, classes: int = 0, views: bool = False) -> None:
        super().__init__(ClassStatistics(backbone.width("unprojected")), "mean classes")
        self.needs_images = views
        self._backbone, self._noise, self._classes = backbone, noise, classes
        self._back: Tensor | None = None

    def end_epoch(self, stage: Stage, epoch: int, data: PartData) -> None:
        """Look at nothing outside of training steps."""
        self.step = self.view = None

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
        old = self.older(step.stage)
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

    def normals(self, step: Step, call: int) -> Tensor:
        """Return numbers (E,) from N(0, 1), which depend on the step and on how many draws it made before."""
        generator = torch.Generator().manual_seed(seed_for("mean noise", *step.place, call))
        return torch.randn(self._backbone.embed_dim, generator=generator, dtype=torch.float64)

    def _back_through_projection(self) -> Tensor:
        """Return the pseudo-inverse (E, w) of CLIP's projection."""
        if self._back is None:
            self._back = torch.linalg.pinv(projection_of(self._backbone).double())
        return self._back
