"""All that a worker must know of a grid, in one file of the experiment's directory: anybody who sees it can join."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lamm_cl import __version__
from lamm_cl.errors import UsageError
from lamm_cl.experiments import imports
from lamm_cl.experiments.spec import Environment, RunSpec
from lamm_cl.files import finite, parse_json, read_bytes, write_json
from lamm_cl.records import DAMAGED, FAILED, Entry, ExperimentDirectory
from lamm_cl.records.record import sealed


@dataclass(frozen=True)
class Grid:
    """The runs of a command and what they need.

    Attributes:
        specs: All runs, done or not.
        environment: Where data and caches are.
        again: Digests of failures that are tried again, by run; a failure that comes later stays.
        folder: Where relative paths start.
        modules: Folders of the modules that the config imports.
    """

    specs: Sequence[RunSpec]
    environment: Environment
    again: Mapping[str, str] = field(default_factory=dict)
    folder: str = field(default_factory=os.getcwd)
    modules: Sequence[str] = ()

    @classmethod
    def of(cls, specs: Sequence[RunSpec], environment: Environment, home: ExperimentDirectory) -> "Grid":
        """Return the grid in which what has failed so far is tried again."""
        entries = [(spec.run_id, home.entry(spec.run_id)) for spec in specs]
        failed = {run: entry.digest for run, entry in entries if entry and entry.status == FAILED}
        return cls(specs, environment, failed, modules=tuple(imports.folders(environment.imports)))

    def wants(self, run_id: str, entry: Entry | None) -> bool:
        """Whether a run is still to be done, given what is known of its record."""
        if entry is None or entry.status == DAMAGED:
            return True
        return entry.status == FAILED and entry.digest == self.again.get(run_id)

    def write(self, home: ExperimentDirectory) -> None:
        """Make this the grid that workers of the directory join."""
        content = {
            "version": __version__,
            "runs": [{"run_id": spec.run_id, **vars(spec)} for spec in self.specs],
            "environment": vars(self.environment),
            "again": self.again,
            "folder": self.folder,
            "modules": self.modules,
        }
        with home.locked():
            write_json(home.path / "grid.json", sealed(finite(content)))

    @classmethod
    def read(cls, home: ExperimentDirectory) -> "Grid":
        """Return the grid that the last `lamm-cl run` left in a directory.

        Raises:
            UsageError: There is none, it is damaged, or another version of lamm_cl made it.
        """
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
        if content["version"] != __version__:
            raise UsageError(
                f"{home.path} was made by lamm_cl {content['version']}, this is {__version__}: their results must not "
                f"stand in one table. Install lamm_cl {content['version']} to take part."
            )
        specs = []
        for entry in content["runs"]:
            run_id = entry.pop("run_id")
            specs.append(RunSpec(**{**entry, "datasets": tuple(entry["datasets"])}))
            assert specs[-1].run_id == run_id, "a run that is read is the run that was written"
        rest = content["environment"]
        environment = Environment(**{**rest, "imports": tuple(rest["imports"])})
        return cls(specs, environment, content["again"], content["folder"], tuple(content["modules"]))
