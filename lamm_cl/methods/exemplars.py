"""Exemplars: how many training images of older classes come along into later stages."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Exemplars:
    """What a learner wants to see again of older classes; strategies keep it, in Avalanche's storage.

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
