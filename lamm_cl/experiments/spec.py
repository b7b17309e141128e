"""One run: all that determines its result, where it is done, what comes of it and what it costs."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lamm_cl import __version__
from lamm_cl.data.own_data import placed
from lamm_cl.files import finite
from lamm_cl.methods import text_bank
from lamm_cl.strategies.settings import PrecisionName


@dataclass(frozen=True)
class RunSpec:
    """One run of the grid.

    Attributes:
        experiment: The experiment it belongs to.
        protocol: Name of the protocol.
        protocol_options: Its options.
        datasets: What the stream is made of: names, or mappings that describe one's own data.
        dataset: What tables call that.
        label: What tables call the method with these options.
        method: The registered method.
        options: Every option of method, recipe and strategy, defaults filled in.
        backbone: Name of the CLIP.
        pretrained: Tag or file of its weights; None for its own.
        precision: Of the computation.
        resize_mode: How images come to the tower's size; None as its weights were trained.
        shots: Training images per class, or "full".
        seed: Of data, order and initialisation, each by a name of its own.
        device: "cpu" or "cuda": the kind, not which one.
        threads: Of the computation.
        deterministic: Whether every operation has to be deterministic.
        evaluation: What is measured beside the accuracy matrix.
        imports: Digest of each imported file or module, by name.
    """

    experiment: str
    protocol: str
    datasets: tuple[Any, ...]
    dataset: str
    label: str
    method: str
    backbone: str
    shots: int | str
    seed: int
    protocol_options: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    pretrained: str | None = None
    precision: PrecisionName = "fp32"
    resize_mode: str | None = None
    device: str = "cpu"
    threads: int = 1
    deterministic: bool = False
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    imports: Mapping[str, str] = field(default_factory=dict)

    def determines(self) -> dict[str, Any]:
        """Return what the result depends on; names that only tables use are not part of it."""
        return {
            "protocol": {"name": self.protocol, **self.protocol_options},
            "datasets": list(self.datasets),
            "method": self.method,
            "options": dict(self.options),
            "backbone": {
                "name": self.backbone,
                "pretrained": self.pretrained,
                "precision": self.precision,
                **({"resize_mode": self.resize_mode} if self.resize_mode else {}),
            },
            "shots": self.shots,
            "seed": self.seed,
            "device": self.device,
            "threads": self.threads,
            "evaluation": dict(self.evaluation),
            # Left out at their defaults, so that the runs of earlier versions keep their ids.
            **({"deterministic": True} if self.deterministic else {}),
            **({"imports": dict(self.imports)} if self.imports else {}),
        }

    @property
    def run_id(self) -> str:
        """Twelve hexadecimal digits of the digest of `determines()`, the same on every machine."""
        text = json.dumps(finite(self.determines()), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def columns(self) -> dict[str, Any]:
        """Return the run's columns of `runs.csv`."""
        return {
            "experiment": self.experiment,
            "protocol": self.protocol,
            "dataset": self.dataset,
            "method": self.label,
            "dialect": self.options.get("dialect"),
            "backbone": self.backbone,
            "pretrained": self.pretrained,
            "shots": self.shots,
            "seed": self.seed,
        }

    def __str__(self) -> str:
        several = f" {self.pretrained}" if self.pretrained else ""
        return f"{self.label} on {self.dataset}, {self.backbone}{several}, {self.shots} shots, seed {self.seed}"


@dataclass(frozen=True)
class Environment:
    """Where runs work: nothing in it changes a result.

    Attributes:
        root: Directory of the data sets.
        folder: Where relative paths of one's own data start from; None for the working directory.
        cache: Directory of cached image features; None for the default place, False for none.
        loggers: Avalanche loggers by name, with their options.
        checkpoint_minutes: How often a run saves its state inside an experience.
        imports: Where each imported file is, or the name of the module.
        unprojected: Whether some run takes image features before CLIP's projection, so that each pass of the tower
            keeps them too.
        num_workers: Processes that read a run's images; None for `default_workers`.
        save: Whether a run leaves what it has learned beside its record.
        version: Of lamm_cl.
    """

    root: str | None = None
    folder: str | None = None
    cache: str | bool | None = None
    loggers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    checkpoint_minutes: float = 5.0
    imports: tuple[str, ...] = ()
    unprojected: bool = False
    num_workers: int | None = None
    save: bool = False
    version: str = __version__

    def found(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return a method's options with the files that they mean here."""
        return text_bank.placed(options, Path(self.folder or ".").absolute())

    def placed(self, datasets: Iterable[Any]) -> list[Any]:
        """Return data sets of a config with the paths that they mean here."""
        base = Path(self.folder or ".").absolute()
        return [placed(one, base)[0] if isinstance(one, Mapping) else one for one in datasets]


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
        on_device: Runs that share the device, this one included. Where it is alone and the device has no memory for it,
            it has failed; else others may have taken that memory.
        sharing: Runs that share the machine's cores, this one included.
        halved: Whether it is tried once more with pieces of half the size, for want of the GPU's memory.
    """

    spec: RunSpec
    directory: Path
    environment: Environment
    device: str
    progress: Callable[[float, str], None]
    on_device: int = 1
    sharing: int = 1
    halved: bool = False


@dataclass(frozen=True)
class Result:
    """What a run gave: rows as `lamm_cl.records.record` wants them, and further entries of the record."""

    rows: Sequence[Sequence[Any]]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What a run will cost.

    Attributes:
        seconds: Of its own computation.
        memory_mb: Of the process that does it.
        views: Images to encode beforehand, by view; runs that name the same view share it through the cache.
        seconds_a_view: To encode one.
        bytes_a_view: To keep one.
        start: Seconds until a new worker begins its first run: Python, torch, Avalanche.
    """

    seconds: float
    memory_mb: float
    views: Mapping[str, int] = field(default_factory=dict)
    seconds_a_view: float = 0.0
    bytes_a_view: int = 0
    start: float = 0.0
