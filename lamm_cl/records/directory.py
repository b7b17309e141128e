"""An experiment's directory: whose it is, where each run's things lie, who works on what."""

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lamm_cl import files
from lamm_cl.errors import UsageError
from lamm_cl.locks import Lock
from lamm_cl.records.record import DAMAGED, DONE, FORMAT, Entry, Record, entry_of, table_of

_REMEDY = "remove it or choose another --out."
_IN_THE_WAY = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP}
_TABLE_EVERY = 1.0


class ExperimentDirectory:
    """Holds `experiment.json`, `runs.csv` and, for each run, `runs/<run_id>/` with its record and its checkpoint."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._known: dict[str, tuple[tuple[int, int, int], Entry]] = {}
        self._table_due = 0.0

    def run(self, run_id: str) -> Path:
        """The directory of one run."""
        return self.path / "runs" / run_id

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Write what belongs to the whole directory alone; what killed processes left of it is removed."""
        with Lock(self.path / ".lock"):
            files.remove_leftovers(self.path)
            yield

    # -- records -------------------------------------------------------------------------------------------------

    def record(self, run_id: str) -> Path:
        """The file of a run's record, written inside `claim`; from there on the run is done, or failed."""
        return self.run(run_id) / "record.json"

    def entry(self, run_id: str) -> Entry | None:
        """What a record says in short, read again only when it changed; None only when there is none."""
        path = self.record(run_id)
        stat = files.patiently(path.stat)
        if stat is None:
            return None
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = self._known.get(run_id)
        if known is None or known[0] != stamp:
            data = files.read_bytes(path)
            if data is None:
                return None
            record = Record.from_json(files.parse_json(data) or {})
            known = self._known[run_id] = (stamp, entry_of(run_id, record))
        return known[1]

    def is_done(self, run_id: str) -> bool:
        """Whether the run has finished well."""
        entry = self.entry(run_id)
        return entry is not None and entry.status == DONE

    @contextlib.contextmanager
    def claim(self, run_id: str) -> Iterator[bool]:
        """Work on a run alone: yields whether it could be had.

        Its leftovers of a killed process are removed, and a damaged record is renamed, so that it can be done again.
        """
        directory = self.run(run_id)
        directory.mkdir(parents=True, exist_ok=True)
        lock = Lock(directory / "lock")
        if not lock.acquire():
            yield False
            return
        try:
            files.remove_leftovers(directory)
            entry, record = self.entry(run_id), self.record(run_id)
            if entry is not None and entry.status == DAMAGED:
                record.replace(record.with_name("record.damaged.json"))
            yield True
        finally:
            with contextlib.suppress(OSError):
                self.progress(run_id).unlink(missing_ok=True)
            lock.release()

    def is_claimed(self, run_id: str) -> bool:
        """Whether somebody works on a run at this moment."""
        lock = Lock(self.run(run_id) / "lock")
        taken = lock.path.exists() and not lock.acquire()
        lock.release()
        return taken

    def progress(self, run_id: str) -> Path:
        """The file of a run's `Progress`, written inside `claim`, whose end removes it; a kill leaves it there."""
        return self.run(run_id) / "progress.json"

    def rebuild_table(self) -> None:
        """Make `runs.csv` anew from all records, safe beside others that do so; after an `OSError` it is as it was."""
        begin = time.monotonic()
        with self.locked():
            runs = files.patiently(lambda: list((self.path / "runs").iterdir())) or []
            data = table_of(entry for run in runs if (entry := self.entry(run.name)) is not None)
            if files.read_bytes(self.path / "runs.csv") != data:
                files.write_atomic(self.path / "runs.csv", data)
        # A table of many thousand runs takes seconds to write: not more than a twentieth of the time goes there.
        self._table_due = time.monotonic() + max(_TABLE_EVERY, 20 * (time.monotonic() - begin))

    def refresh_table(self) -> bool:
        """Make `runs.csv` anew unless that was done a moment ago; returns whether it was."""
        if time.monotonic() < self._table_due:
            return False
        self.rebuild_table()
        return True

    # -- whose directory this is ---------------------------------------------------------------------------------

    def check(self, experiment: str, version: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Refuse results that must not stand in one table with these: a setting may be new, but not other than it was.

        Writes nothing, and returns the settings that are there. The version is that of lamm_cl. Raises `UsageError`
        where the directory is another experiment's or among its runs, another version's, has other settings, or is
        nobody's and has a `runs.csv`.
        """
        settings = files.finite(settings)
        path = self.path / "experiment.json"
        try:
            if self.path.is_symlink() and not self.path.exists():
                raise UsageError(
                    f"--out {self.path} is a link to {self.path.readlink()}, which is not there. "
                    "Make that directory, or choose another --out."
                )
            data = files.read_bytes(path)
            files.check_writable(self.path)
        except OSError as error:
            raise self.unusable(error) from error
        if data is None:
            place = Path(os.path.realpath(self.path))
            for folder in (place, *place.parents):
                if folder.name == "runs" and files.mode_of(folder.parent / "experiment.json"):
                    raise UsageError(f"{self.path} lies among the runs of {folder.parent}. Choose another --out.")
            if (self.path / "runs.csv").exists():
                raise UsageError(
                    f"{self.path} has a runs.csv but no experiment.json: it was not made by this command and would be "
                    "overwritten. Choose another --out."
                )
            return {}
        found = files.parse_json(data)
        if found is None or not isinstance(found.get("settings"), dict):
            raise UsageError(f"{path} is damaged: it does not say whose results these are. Choose another --out.")
        if found.get("experiment") != experiment:
            there = found.get("experiment")
            raise UsageError(f"{self.path} holds the experiment {there!r}, not {experiment!r}. Choose another --out.")
        if found.get("format") != FORMAT or found.get("version") != version:
            raise UsageError(
                f"{self.path} was made by lamm_cl {found.get('version')}, this is {version}: their results must not "
                f"stand in one table. Choose another --out, or install lamm_cl {found.get('version')}."
            )
        changed = changes(found["settings"], settings)
        if lines := [f"{name} was {there!r} there and is {here!r} here" for name, there, here in changed]:
            raise UsageError(
                f"{self.path} holds this experiment with other settings:\n  " + "\n  ".join(lines) + "\n"
                "Their results must not stand in one table: choose another --out, or undo the change."
            )
        return dict(found["settings"])

    def open(self, experiment: str, version: str, settings: Mapping[str, Any]) -> None:
        """Make the directory this experiment's; raises `UsageError` as `check` does, or where it cannot be written."""
        self.check(experiment, version, settings)
        try:
            (self.path / "runs").mkdir(parents=True, exist_ok=True)
            with self.locked():
                old = self.check(experiment, version, settings)
                merged = dict(sorted({**old, **files.finite(settings)}.items()))
                if not old or merged != old:
                    content = {"format": FORMAT, "experiment": experiment, "version": version, "settings": merged}
                    files.write_json(self.path / "experiment.json", content)
        except OSError as error:
            raise self.unusable(error) from error

    def check_places(self, run_ids: Iterable[str]) -> None:
        """Refuse a directory with files where folders must be, or folders where files must be; writes nothing."""
        runs = [path for run_id in run_ids if (path := self.run(run_id)).exists()]
        for folder in (self.path / "runs", *runs):
            if folder.exists() and not folder.is_dir():
                raise UsageError(f"cannot write in {folder}: it is no directory; {_REMEDY}")
        inside = [file for run in runs for file in (self.record(run.name), run / "lock")]
        for file in (self.path / "runs.csv", self.path / ".lock", *inside):
            if file.is_dir():
                raise UsageError(f"cannot write {file}: it is a directory; {_REMEDY}")

    def trouble(self, error: BaseException) -> str | None:
        """Say what keeps everybody from working here and what to do; None when `error` is about something else."""
        found = files.disk_error(error, self.path)
        if found is None:
            return None
        place, reason = found.filename2 or found.filename or self.path, found.strerror or found
        if found.errno in files.FULL:
            return f"{reason}: {place}. What was done is kept; make room and repeat the command."
        if found.errno in _IN_THE_WAY:
            return f"cannot write {place}: {reason}; {_REMEDY} What was done is kept."
        return f"cannot use {place}: {reason}. What was done is kept; mend that and repeat the command."

    def explain(self, error: OSError) -> str:
        """Return what `trouble` says; raises `error` when it is about something else."""
        if trouble := self.trouble(error):
            return trouble
        raise error

    def unusable(self, error: OSError) -> UsageError:
        """Return what to say when the directory cannot be begun."""
        reason = error.strerror or error
        return UsageError(f"cannot write in {self.path}: {reason}. Choose another directory with --out.")


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield each setting that both have and that differs, down to the option that does: name, old and new value."""
    for key in sorted(set(old) & set(new)):
        if isinstance(old[key], dict) and isinstance(new[key], dict):
            for option in sorted(set(old[key]) | set(new[key])):
                there, here = old[key].get(option), new[key].get(option)
                if there != here:
                    yield f"{key}.{option}", there, here
        elif old[key] != new[key]:
            yield key, old[key], new[key]
