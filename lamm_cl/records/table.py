"""`runs.csv`: derived from the records, and the same bytes whatever the order in which the runs finished."""

import csv
import io
import math
from pathlib import Path
from typing import Any

from lamm_cl.files import write_atomic
from lamm_cl.records.record import COLUMNS, FAILED, ROW_COLUMNS, RUN_COLUMNS, Record

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


class RunsTable:
    """Makes `runs.csv` anew from the records, and reads again only those that changed since the last time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[Path, tuple[tuple[int, int, int], tuple[Any, ...] | None, str]] = {}

    def rebuild(self) -> None:
        """Write `runs.csv`, atomically, unless it already says the same. Call it under the directory's lock."""
        parts = sorted(part for path in self._directory.glob("runs/*/record.json") if (part := self._part(path)))
        text = ",".join(COLUMNS) + "\n" + "".join(line for _, line in parts)
        path = self._directory / "runs.csv"
        data = text.encode()
        if not (path.is_file() and path.read_bytes() == data):
            write_atomic(path, data)

    def _part(self, path: Path) -> tuple[tuple[Any, ...], str] | None:
        try:
            stat = path.stat()
        except FileNotFoundError:
            return None
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        known = self._known.get(path)
        if known is None or known[0] != stamp:
            record = Record.read(path)
            if record is None or record.run_id != path.parent.name:
                known = (stamp, None, "")
            else:
                known = (stamp, sort_key(record), lines(record))
            self._known[path] = known
        return None if known[1] is None else (known[1], known[2])
