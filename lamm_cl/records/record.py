"""What one run left: its configuration, where and how it ran, its numbers or its error; and its lines in `runs.csv`."""

import contextlib
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lamm_cl.files import digest, finite, parse_json, write_atomic, write_json

FORMAT = 1
DONE, FAILED, DAMAGED = "done", "failed", "damaged"
RUN_COLUMNS = (
    "experiment", "protocol", "dataset", "method", "dialect", "backbone", "pretrained", "shots", "seed",
)  # fmt: skip
_SORTED_BY = RUN_COLUMNS[1:]  # a directory holds one experiment
ROW_COLUMNS = ("stage", "eval_set", "label_space", "metric", "value", "n")
COLUMNS = (*RUN_COLUMNS, *ROW_COLUMNS, "status", "run_id")
# What may differ between two runs of the same thing: it is measured on the machine, not computed.
MEASURED = frozenset({"seconds", "peak_memory_mb", "train_images_per_second", "test_images_per_second"})

_KEYS = {"format", "run_id", "status", "run", "row_columns", "rows", "digest"}


@dataclass(frozen=True)
class Record:
    """One finished or failed run."""

    run_id: str  # digest of what determines the result
    status: str  # "done" or "failed"
    columns: Mapping[str, Any]  # the values of `RUN_COLUMNS`; None where one does not apply
    # The plain values of each `lamm_cl.evaluation.summary.Row`, in the order of `ROW_COLUMNS`; none for a failed run.
    rows: Sequence[Sequence[Any]] = ()
    # The rest: config, versions, git, data, device, times, matrices, error.
    details: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the record to `path`, whole or not at all, with a digest of all that it holds."""
        head = {"format": FORMAT, "run_id": self.run_id, "status": self.status, "run": self.columns}
        content = {**head, **self.details, "row_columns": ROW_COLUMNS, "rows": self.rows}
        write_json(path, sealed(finite(content)))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Record | None":
        """Return the record that `content` holds, or None when its digest is not that of its content."""
        if not content.keys() >= _KEYS or content["format"] != FORMAT or content != sealed(content):
            return None
        run_id, status, columns, rows = (content[key] for key in ("run_id", "status", "run", "rows"))
        if status == DONE and not rows:  # a run that measured nothing would count as done for ever
            return None
        details = {key: value for key, value in content.items() if key not in _KEYS or key == "digest"}
        return cls(run_id, status, columns, tuple(map(tuple, rows)), details)


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's JSON with the digest of all the rest of it."""
    rest = {key: value for key, value in content.items() if key != "digest"}
    return {**rest, "digest": digest(rest)}


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    worker: str  # who does it: machine and number of the process
    fraction: float  # that is done, 0 to 1
    text: str  # a few words

    def write(self, path: Path) -> None:
        """Write it where it can be written; a reader sees all of it or the one before."""
        with contextlib.suppress(OSError):
            write_atomic(path, json.dumps(asdict(self)).encode(), lasting=False)

    @classmethod
    def read(cls, path: Path) -> "Progress | None":
        """Return what `path` says, None where nothing can be read."""
        try:
            content = parse_json(path.read_bytes()) or {}
            return cls(str(content["worker"]), float(content["fraction"]), str(content["text"]))
        except (OSError, KeyError, TypeError, ValueError):
            return None


# -- runs.csv: derived from the records, and the same bytes whatever the order in which the runs finished --------------


def _lines(record: Record) -> str:
    """Return the record's part of `runs.csv`: a line per row; for a failed run a single line without a value.

    The writer gives numbers every digit, and None an empty cell.
    """
    head = [record.columns.get(column) for column in RUN_COLUMNS]
    rows = [[None] * len(ROW_COLUMNS)] if record.status == FAILED else record.rows
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([*head, *row, record.status, record.run_id] for row in rows)
    return text.getvalue()


def _natural(value: Any) -> tuple[int, float, str]:
    """Return what sorts numbers as numbers, before texts."""
    return (0, value, "") if isinstance(value, int | float) else (1, 0.0, "" if value is None else str(value))


@dataclass(frozen=True)
class Entry:
    """What is kept in memory of a record."""

    status: str  # "done", "failed", or "damaged" for a file that is no record of this run
    digest: str = ""  # of the record; no two have the same
    seconds: float = 0.0  # that the run took
    worker: str = ""  # who did it
    error: str = ""  # why it failed, in one line
    key: tuple[Any, ...] = ()  # what `runs.csv` is sorted by: the run's columns, and the run id last
    lines: str = ""  # its lines there
    note: str = ""  # what its reader should know, in one line


def entry_of(run_id: str, record: Record | None) -> Entry:
    """Return what is kept in memory of what was read in the place of a run's record."""
    if record is None or record.run_id != run_id:
        return Entry(DAMAGED)
    said = record.details
    error = said.get("error") or {}
    return Entry(
        record.status,
        said["digest"],
        seconds=float(said.get("seconds") or 0.0),
        worker=str(said.get("worker") or ""),
        error=str(error.get("line") or str(error.get("message", "")).strip() or error.get("kind") or ""),
        key=(*(_natural(record.columns.get(column)) for column in _SORTED_BY), run_id),
        lines=_lines(record),
        note=" ".join(map(str, said.get("notes") or ())),
    )


def table_of(entries: Iterable[Entry]) -> bytes:
    """Return `runs.csv` of the runs that have a record."""
    parts = sorted((entry.key, entry.lines) for entry in entries if entry.lines)
    return (",".join(COLUMNS) + "\n" + "".join(line for _, line in parts)).encode()
