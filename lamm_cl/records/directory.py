"""An experiment's directory: whose it is, where each run's things lie, who works on what."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lamm_cl.errors import UsageError
from lamm_cl.files import (
    check_writable,
    disk_trouble,
    finite,
    read_json,
    remove_leftovers,
    trouble_below,
    write_json,
)
from lamm_cl.records.locks import FileLock
from lamm_cl.records.record import DONE, FORMAT, Record
from lamm_cl.records.table import RunsTable

_REMEDY = "remove it or choose another --out."


class ExperimentDirectory:
    """Holds `experiment.json`, `runs.csv` and, for each run, `runs/<run_id>/` with its record and its checkpoint."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._table = RunsTable(self.path)

    def run(self, run_id: str) -> Path:
        """The directory of one run."""
        return self.path / "runs" / run_id

    def record(self, run_id: str) -> Record | None:
        """The run's record; None when it has none, or a damaged one, or another run's."""
        record = Record.read(self.run(run_id) / "record.json")
        return record if record is not None and record.run_id == run_id else None

    def is_done(self, run_id: str) -> bool:
        """Whether the run has finished well."""
        record = self.record(run_id)
        return record is not None and record.status == DONE

    @contextlib.contextmanager
    def claim(self, run_id: str) -> Iterator[bool]:
        """Work on a run alone: yields whether it could be had. Its leftovers of a killed process are removed."""
        directory = self.run(run_id)
        directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory / "lock")
        if not lock.acquire():
            yield False
            return
        try:
            remove_leftovers(directory)
            yield True
        finally:
            lock.release()

    def write_record(self, record: Record) -> None:
        """Store a run's record. From here on the run is done, or failed; call it inside `claim`."""
        record.write(self.run(record.run_id) / "record.json")

    def rebuild_table(self) -> None:
        """Make `runs.csv` anew from all records; safe beside other processes that do the same."""
        with FileLock(self.path / ".lock"):
            remove_leftovers(self.path)
            self._table.rebuild()

    # -- whose directory this is ---------------------------------------------------------------------------------

    def identity(self) -> dict[str, Any] | None:
        """What `experiment.json` says, None where there is none."""
        path = self.path / "experiment.json"
        if not path.exists():
            return None
        content = read_json(path)
        if content is None or not isinstance(content.get("settings"), dict):
            raise UsageError(f"{path} is damaged: it does not say whose results these are. Choose another --out.")
        return content

    def check(self, experiment: str, version: str, settings: Mapping[str, Any]) -> None:
        """Refuse results that must not stand in one table with these. Writes nothing.

        Args:
            experiment: The experiment's name.
            version: Of lamm_cl.
            settings: What each setting of the runs is; a setting may be new, but not other than it was.

        Raises:
            UsageError: The directory is another experiment's, another version's, has other settings, or is no
                experiment's at all but has a `runs.csv`.
        """
        settings = finite(settings)
        try:
            if self.path.exists() and not self.path.is_dir():
                raise UsageError(f"--out {self.path} is a file, not a directory.")
            found = self.identity()
            check_writable(self.path)
        except OSError as error:
            raise self._unusable(error) from error
        if found is None:
            if (self.path / "runs.csv").exists():
                raise UsageError(
                    f"{self.path} has a runs.csv but no experiment.json: it was not made by this command and would be "
                    "overwritten. Choose another --out."
                )
            return
        if found.get("experiment") != experiment:
            raise UsageError(
                f"{self.path} holds the experiment {found.get('experiment')!r}, not {experiment!r}. "
                "Choose another --out."
            )
        if found.get("format") != FORMAT or found.get("version") != version:
            raise UsageError(
                f"{self.path} was made by lamm_cl {found.get('version')}, this is {version}: their results must not "
                f"stand in one table. Choose another --out, or install lamm_cl {found.get('version')}."
            )
        changed = _changes(found["settings"], settings)
        if changed:
            raise UsageError(
                f"{self.path} holds this experiment with other settings:\n  " + "\n  ".join(changed) + "\n"
                "Their results must not stand in one table: choose another --out, or undo the change."
            )

    def open(self, experiment: str, version: str, settings: Mapping[str, Any]) -> None:
        """Make the directory this experiment's, or check that it is.

        Raises:
            UsageError: As `check`, or the directory cannot be made or written.
        """
        self.check(experiment, version, settings)
        try:
            (self.path / "runs").mkdir(parents=True, exist_ok=True)
            with FileLock(self.path / ".lock"):
                remove_leftovers(self.path)
                self.check(experiment, version, settings)
                old = (self.identity() or {}).get("settings", {})
                merged = {**old, **finite(settings)}
                if not old or merged != old:
                    content = {"format": FORMAT, "experiment": experiment, "version": version}
                    write_json(self.path / "experiment.json", {**content, "settings": dict(sorted(merged.items()))})
        except OSError as error:
            raise self._unusable(error) from error

    def check_places(self, run_ids: Iterable[str]) -> None:
        """Refuse a damaged directory: files where folders must be, folders where files must be. Writes nothing.

        Raises:
            UsageError: Names the first of them.
        """
        runs = [path for run_id in run_ids if (path := self.run(run_id)).exists()]
        for folder in (self.path / "runs", *runs):
            if folder.exists() and not folder.is_dir():
                raise UsageError(f"cannot write in {folder}: it is no directory; {_REMEDY}")
        inside = [path / name for path in runs for name in ("record.json", "lock")]
        for file in (self.path / "runs.csv", self.path / ".lock", *inside):
            if file.is_dir():
                raise UsageError(f"cannot write {file}: it is a directory; {_REMEDY}")

    def trouble(self, error: BaseException) -> str | None:
        """Say what keeps everybody from writing here and what to do; None when `error` is about something else."""
        full = disk_trouble(error)
        if full is not None:
            return f"{full}: {self.path}. What was done is kept; make room and repeat the command."
        damaged = trouble_below(self.path, error)
        return None if damaged is None else f"cannot write {damaged}; {_REMEDY} What was done is kept."

    def _unusable(self, error: OSError) -> UsageError:
        return UsageError(
            f"cannot write in {self.path}: {error.strerror or error}. Choose another directory with --out."
        )


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say which settings of both differ, one text each, down to the option that does."""
    texts = []
    for key in sorted(set(old) & set(new)):
        if isinstance(old[key], dict) and isinstance(new[key], dict):
            for option in sorted(set(old[key]) | set(new[key])):
                there, here = old[key].get(option), new[key].get(option)
                if there != here:
                    texts.append(f"{key}.{option} was {there!r} there and is {here!r} here")
        elif old[key] != new[key]:
            texts.append(f"{key} was {old[key]!r} there and is {new[key]!r} here")
    return texts
