"""One run: all that determines its result, where it is done, what it gives and costs; and a grid of them in a file."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lamm_cl import __version__
from lamm_cl.data.own_data import placed
from lamm_cl.errors import UsageError
from lamm_cl.files import digest, finite, parse_json, read_bytes, write_json
from lamm_cl.methods import text_bank
from lamm_cl.records import DAMAGED, FAILED, Entry, ExperimentDirectory
from lamm_cl.records.record import RUN_COLUMNS, sealed
from lamm_cl.strategies.settings import PrecisionName


@dataclass(frozen=True)
class RunSpec:
    """One run of the grid."""

    experiment: str
    protocol: str
    datasets: tuple[Any, ...]  # what the stream is made of: names, or mappings that describe one's own data
    dataset: str  # what tables call that
    label: str  # what tables call the method with these options
    method: str
    backbone: str
    shots: int | str  # training images per class, or "full"
    seed: int  # of data, order and initialisation, each by a name of its own
    protocol_options: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)  # of method, recipe and strategy, defaults filled in
    pretrained: str | None = None  # tag or file of the backbone's weights; None for its own
    precision: PrecisionName = "fp32"
    resize_mode: str | None = None  # how images come to the tower's size; None as its weights were trained
    device: str = "cpu"  # or "cuda": the kind, not which one
    threads: int = 1
    deterministic: bool = False
    evaluation: Mapping[str, Any] = field(default_factory=dict)  # what is measured beside the accuracy matrix
    imports: Mapping[str, str] = field(default_factory=dict)  # digest of each imported file or module, by name

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
        return digest(finite(self.determines()))[:12]

    def columns(self) -> dict[str, Any]:
        """Return the run's columns of `runs.csv`."""
        named_otherwise = {"method": self.label, "dialect": self.options.get("dialect")}
        return {name: getattr(self, name, None) for name in RUN_COLUMNS} | named_otherwise

    def __str__(self) -> str:
        several = f" {self.pretrained}" if self.pretrained else ""
        return f"{self.label} on {self.dataset}, {self.backbone}{several}, {self.shots} shots, seed {self.seed}"


@dataclass(frozen=True)
class Environment:
    """Where runs work: nothing in it changes a result."""

    root: str | None = None  # directory of the data sets
    folder: str | None = None  # where relative paths of one's own data start from; None for the working directory
    cache: str | bool | None = None  # directory of cached image features; None for the default place, False for none
    loggers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # Avalanche's by name, with their options
    checkpoint_minutes: float = 5.0  # between two savings of a run's state inside an experience
    imports: tuple[str, ...] = ()  # where each imported file is, or the name of the module
    # Whether some run takes image features before CLIP's projection, so that each pass of the tower keeps them too.
    unprojected: bool = False
    num_workers: int | None = None  # processes that read a run's images; None for `default_workers`
    graph: Literal["auto", "never"] = "auto"  # whether a GPU's training steps are recorded where they can be
    save: bool = False  # whether a run leaves what it has learned beside its record
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
    """A run and where to do it."""

    spec: RunSpec
    directory: Path  # the run's own, for its checkpoint and logs
    environment: Environment
    device: str
    # Called with the done fraction and a few words; may raise `Stopped` at a moment when all is saved.
    progress: Callable[[float, str], None]
    # Runs that share the device, this one included. Where it is alone and the device has no memory for it, it has
    # failed; else others may have taken that memory.
    on_device: int = 1
    sharing: int = 1  # runs that share the machine's cores, this one included
    halved: bool = False  # whether it is tried once more with pieces of half the size, for want of the GPU's memory


@dataclass(frozen=True)
class Result:
    """What a run gave: rows as `lamm_cl.records.record` wants them, and further entries of the record."""

    rows: Sequence[Sequence[Any]]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What a run will cost."""

    seconds: float  # of its own computation
    memory_mb: float  # of the process that does it
    # Images to encode beforehand, by view; runs that name the same view share it through the cache.
    views: Mapping[str, int] = field(default_factory=dict)
    seconds_a_view: float = 0.0  # to encode one
    bytes_a_view: int = 0  # to keep one
    start: float = 0.0  # seconds until a new worker begins its first run: Python, torch, Avalanche


@dataclass(frozen=True)
class Grid:
    """The runs of a command, done or not, and what they need."""

    specs: Sequence[RunSpec]
    environment: Environment
    # Digests of failures that are tried again, by run; a failure that comes later stays.
    again: Mapping[str, str] = field(default_factory=dict)
    folder: str = field(default_factory=os.getcwd)  # where relative paths start

    @classmethod
    def of(cls, specs: Sequence[RunSpec], environment: Environment, home: ExperimentDirectory) -> "Grid":
        """Return the grid in which what has failed so far is tried again."""
        entries = [(spec.run_id, home.entry(spec.run_id)) for spec in specs]
        failed = {run: entry.digest for run, entry in entries if entry and entry.status == FAILED}
        return cls(specs, environment, failed)

    def wants(self, run_id: str, entry: Entry | None) -> bool:
        """Whether a run is still to be done, given what is known of its record."""
        if entry is None or entry.status == DAMAGED:
            return True
        return entry.status == FAILED and entry.digest == self.again.get(run_id)

    def write(self, home: ExperimentDirectory) -> None:
        """Make this the grid that workers of the directory join."""
        runs = [{"run_id": spec.run_id, **vars(spec)} for spec in self.specs]
        content = {"version": __version__, "runs": runs, "environment": vars(self.environment)}
        content |= {"again": self.again, "folder": self.folder}
        with home.locked():
            write_json(home.path / "grid.json", sealed(finite(content)))

    @classmethod
    def read(cls, home: ExperimentDirectory) -> "Grid":
        """Return the grid that `lamm-cl run` left in a directory; `UsageError` where none can be joined."""
        path = home.path / "grid.json"
        data = read_bytes(path)
        if data is None:
            raise UsageError(
                f"{home.path} holds no grid to join. Begin one with `lamm-cl run CONFIG.yaml --out {home.path}`; then "
                f"`lamm-cl work {home.path}` takes part in it from anywhere that sees the directory."
            )
        content = parse_json(data) or {}
        if "digest" not in content or content != sealed(content):
            raise UsageError(f"{path} is damaged: repeat the `lamm-cl run` that made it.")
        home.check(content["runs"][0]["experiment"], __version__, {})
        specs = []
        for entry in content["runs"]:
            run_id = entry.pop("run_id")
            specs.append(RunSpec(**{**entry, "datasets": tuple(entry["datasets"])}))
            assert specs[-1].run_id == run_id, "a run that is read is the run that was written"
        environment = Environment(**{**content["environment"], "imports": tuple(content["environment"]["imports"])})
        return cls(specs, environment, content["again"], content["folder"])
