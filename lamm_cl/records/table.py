"""`runs.csv`: derived from the records, and the same bytes whatever the order in which the runs finished."""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamm_cl.files import parse_json, patiently, read_bytes, write_atomic
from lamm_cl.records.record import COLUMNS, DAMAGED, FAILED, ROW_COLUMNS, RUN_COLUMNS, Record

_SORTED_BY = tuple(column for column in RUN_COLUMNS if column != "experiment")


def cell(value: Any) -> str:
    """Return `value` as a CSV cell: numbers with every digit, and nothing at all for what is missing.

    >>> cell(0.1 + 0.2), cell(None), cell(float("nan")), cell(3)
    ('0.30000000000000004', '', '', '3')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def lines(record: Record) -> str:
    """Return the record's part of `runs.csv`: a line per row; for a failed run a single line without a value."""
    head = [cell(record.columns.get(column)) for column in RUN_COLUMNS]
    rows = [[None] * len(ROW_COLUMNS)] if record.status == FAILED else record.rows
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([*head, *map(cell, row), record.status, record.run_id])
    return text.getvalue()


def sort_key(record: Record) -> tuple[Any, ...]:
    """Return what `runs.csv` is sorted by: the run's columns, numbers as numbers, and the run id last."""
    return (*(_natural(record.columns.get(column)) for column in _SORTED_BY), record.run_id)


def _natural(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return (0, value, "")
    return (1, 0.0, "" if value is None else str(value))


@dataclass(frozen=True)
class Entry:
    """What is kept in memory of a record.

    Attributes:
        status: "done", "failed", or "damaged" for a file that is no record of this run.
        digest: Of the record; no two have the same.
        seconds: That the run took.
        worker: Who did it.
        error: Why it failed, in one line.
        key: What `runs.csv` is sorted by.
        lines: Its lines there.
        note: What its reader should know, in one line.
    """

    status: str
    digest: str = ""
    seconds: float = 0.0
    worker: str = ""
    error: str = ""
    key: tuple[Any, ...] = ()
    lines: str = ""
    note: str = ""


class RunsTable:
    """Makes `runs.csv` anew from the records, and reads again only those that changed since the last time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[str, tuple[tuple[int, int, int], Entry]] = {}

    def entry(self, run_id: str) -> Entry | None:
        """Return what is known of a run's record, None when there is none.

        Raises:
            OSError: There is one, but it cannot be read.
        """
        path = self._directory / "runs" / run_id / "record.json"
        stat = patiently(path.stat)
        if stat is None:
            return None
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = self._known.get(run_id)
        if known is None or known[0] != stamp:
            data = read_bytes(path)
            if data is None:
                return None
            known = self._known[run_id] = (stamp, _entry(run_id, Record.from_json(parse_json(data) or {})))
        return known[1]

    def rebuild(self) -> None:
        """Write `runs.csv`, atomically, unless it already says the same. Call it under the directory's lock.

        Raises:
            OSError: A record cannot be read, or the table not written; then it is as it was.
        """
        runs = patiently(lambda: list((self._directory / "runs").iterdir())) or []
        entries = [entry for run in runs if (entry := self.entry(run.name)) is not None and entry.lines]
        parts = sorted((entry.key, entry.lines) for entry in entries)
        data = (",".join(COLUMNS) + "\n" + "".join(line for _, line in parts)).encode()
        path = self._directory / "runs.csv"
        if read_bytes(path) != data:
            write_atomic(path, data)


def _entry(run_id: str, record: Record | None) -> Entry:
    if record is None or record.run_id != run_id:
        return Entry(DAMAGED)
    return Entry(
        record.status,
        record.details["digest"],
        float(record.details.get("seconds") or 0.0),
        str(record.details.get("worker") or ""),
        str((record.details.get("error") or {}).get("line") or record.error or ""),
        sort_key(record),
        lines(record),
        " ".join(map(str, record.details.get("notes") or ())),
    )
