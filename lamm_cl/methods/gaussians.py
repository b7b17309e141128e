"""Rehearsal by Gaussians: features of older classes drawn with the mean and covariance of each."""

import torch
from torch import Tensor

from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.rehearsal import Rehearsal
from lamm_cl.methods.stage import Stage, Step
from lamm_cl.methods.statistics import ClassStatistics
from lamm_cl.seeds import seed_for

RIDGE = 1e-4  # added to the variances: fewer images than dimensions leave a covariance singular


class Gaussians(Rehearsal):
    """Adds features drawn from N(mean, covariance) of some older classes to each mini-batch (RAPF's pseudo-features).

    The statistics are those of features as the learner takes them, in the evaluation view, taken when a stage ends. A
    class of one image has no covariance but the ridge.

    Args:
        width: of the features.
        classes: older classes a mini-batch; they take turns in an order that each epoch draws anew, so that with fewer
            older classes than this one is drawn twice.
        features: of each class.
        shrinkage: whether the mean variance is added to all variances, and the mean covariance to all covariances.

    Attributes:
        statistics: count, mean and covariance of each class.
        step: where training is; None outside of training steps.
    """

    step: Step | None = None

    def __init__(self, width: int, classes: int, features: int, shrinkage: bool = False) -> None:
        super().__init__()
        self.statistics = ClassStatistics(width, "class")
        self._classes, self._features, self._shrinkage = classes, features, shrinkage
        self._factors: dict[int, Tensor] = {}  # follow from the statistics
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def grow(self, n_classes: int) -> None:
        """Make room for more classes."""
        self.statistics.grow(n_classes)

    def end_epoch(self, stage: Stage, epoch: int, data: PartData) -> None:
        """Draw nothing outside of training steps."""
        self.step = None

    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Add the stage's images to the statistics of their classes."""
        if stage.cumulative:
            self.statistics.reset()
        self.statistics.add(*data.collect("train", None))
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

    def older(self, stage: Stage) -> list[int]:
        """Return the classes that the stage does not bring itself, ascending."""
        known = self.statistics.known.tolist()
        return [c for c in stage.old if c not in stage.classes and known[c]]

    def order(self, n: int, step: Step) -> list[int]:
        """Return the order of n classes in an epoch."""
        seed = seed_for("gaussian classes", step.seed, step.stage.number, step.epoch)
        return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()

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
