"""Avalanche plugins over the metrics."""

import warnings
from collections.abc import Sequence
from typing import Any

from avalanche.training.plugins import EvaluationPlugin

from lamm_cl.evaluation.accuracy_matrix import AccuracyMatrix
from lamm_cl.evaluation.cost import StageCost

__all__ = ["AccuracyMatrix", "StageCost", "evaluator"]


def evaluator(*metrics: Any, loggers: Sequence[Any] = ()) -> EvaluationPlugin:
    """Return an evaluation plugin, without Avalanche's warning where no logger is wanted."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")
        return EvaluationPlugin(*metrics, loggers=list(loggers))
