"""`runs.csv`: derived from the records, and the same bytes whatever the order in which the runs finished."""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

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
    whole = ([*head, *map(cell, row), record.status, record.run_id] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(whole)
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


def entry_of(run_id: str, record: Record | None) -> Entry:
    """Return what is kept in memory of what was read in the place of a run's record."""
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


def table_of(entries: Iterable[Entry]) -> bytes:
    """Return `runs.csv` of the runs that have a record."""
    parts = sorted((entry.key, entry.lines) for entry in entries if entry.lines)
    return (",".join(COLUMNS) + "\n" + "".join(line for _, line in parts)).encode()
