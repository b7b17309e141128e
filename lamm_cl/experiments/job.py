"""A run as whoever executes it sees it: what to do, where, and what comes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lamm_cl.experiments.spec import Environment, RunSpec

CHECKPOINT = "checkpoint.safetensors"
MODEL = "model.safetensors"


class Stopped(Exception):  # noqa: N818 - it is no error
    """Raised by a progress callback: leave the run as it was last saved."""


@dataclass(frozen=True)
class Job:
    """A run and where to do it.

    Attributes:
        spec: The run.
        directory: The run's own directory, for its checkpoint and logs.
        environment: Where data and caches are.
        device: "cpu", "cuda:1", ...
        progress: Called with the done fraction and a few words; may raise `Stopped` at a moment when all is saved.
        alone: Whether a run for which the device has no memory has failed; else others may have taken that memory.
        sharing: Runs that share the machine's cores, this one included.
    """

    spec: RunSpec
    directory: Path
    environment: Environment
    device: str
    progress: Callable[[float, str], None]
    alone: bool = True
    sharing: int = 1


@dataclass(frozen=True)
class Result:
    """What a run gave: rows as `lamm_cl.records.record` wants them, and further entries of the record."""

    rows: Sequence[Sequence[Any]]
    details: Mapping[str, Any] = field(default_factory=dict)
