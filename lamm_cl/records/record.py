"""What one run left: its configuration, where and how it ran, its numbers or its error."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lamm_cl.files import read_json, write_json

FORMAT = 1
DONE, FAILED = "done", "failed"
RUN_COLUMNS = (
    "experiment", "protocol", "dataset", "method", "dialect", "backbone", "pretrained", "shots", "seed",
)  # fmt: skip
ROW_COLUMNS = ("stage", "eval_set", "label_space", "metric", "value", "n")
COLUMNS = (*RUN_COLUMNS, *ROW_COLUMNS, "status", "run_id")
# What may differ between two runs of the same thing: it is measured on the machine, not computed.
MEASURED = frozenset({"seconds", "peak_memory_mb"})

# stage, eval_set, label_space, metric, value, n: see lamm_cl.evaluation.rows.Row, of which these are the plain values.
RowValues = Sequence[Any]


@dataclass(frozen=True)
class Record:
    """One finished or failed run.

    Attributes:
        run_id: Digest of what determines the result.
        status: "done" or "failed".
        columns: The values of `RUN_COLUMNS`; None where one does not apply.
        rows: One sequence per result, in the order of `ROW_COLUMNS`; empty for a failed run and for no
            other.
        details: The rest: config, versions, git, data, device, times, matrices, error.
    """

    run_id: str
    status: str
    columns: Mapping[str, Any]
    rows: Sequence[RowValues] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def error(self) -> str | None:
        """The failure in one line, None for a run that is done."""
        error = self.details.get("error")
        return None if error is None else str(error.get("message", "")).strip() or str(error.get("kind"))

    def write(self, path: Path) -> None:
        """Write the record to `path`, whole or not at all."""
        content = {
            "format": FORMAT,
            "run_id": self.run_id,
            "status": self.status,
            "run": dict(self.columns),
            **self.details,
            "row_columns": ROW_COLUMNS,
            "rows": [list(row) for row in self.rows],
        }
        write_json(path, content)

    @classmethod
    def read(cls, path: Path) -> "Record | None":
        """Return the record in `path`, or None when there is none or it is damaged."""
        content = read_json(path)
        return None if content is None else cls.from_json(content)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Record | None":
        """Return the record that `content` holds, or None when something is missing in it or of a wrong kind."""
        rest = dict(content)
        known = [rest.pop(key, None) for key in ("format", "run_id", "status", "run", "rows")]
        form, run_id, status, columns, rows = known
        rest.pop("row_columns", None)
        if form != FORMAT or not isinstance(run_id, str) or status not in (DONE, FAILED):
            return None
        if not isinstance(columns, dict) or not set(RUN_COLUMNS) <= set(columns) or not _are_rows(rows):
            return None
        if not _can_be_written([run_id, *columns.values(), *(value for row in rows for value in row)]):
            return None
        if status == DONE and not rows:  # a run that measured nothing would count as done for ever
            return None
        return cls(run_id, status, columns, tuple(map(tuple, rows)), rest)


def _are_rows(rows: Any) -> bool:
    return isinstance(rows, list) and all(isinstance(row, list) and len(row) == len(ROW_COLUMNS) for row in rows)


def _can_be_written(values: Iterable[Any]) -> bool:
    """Whether no word holds half a letter: JSON can spell one, but no table could be written then."""
    try:
        "".join(value for value in values if isinstance(value, str)).encode()
    except UnicodeEncodeError:
        return False
    return True


def read_records(directory: Path | str) -> Iterable[Record]:
    """Yield every readable record of an experiment directory, in no particular order; damaged ones are passed over."""
    for path in sorted(Path(directory).glob("runs/*/record.json")):
        record = Record.read(path)
        if record is not None and record.run_id == path.parent.name:
            yield record
