"""What a table is before anybody decides how to print it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import Literal

MISSING = "-"


@dataclass(frozen=True)
class Cell:
    """One place of a table: words, or a mean over seeds.

    Attributes:
        value: Mean over the seeds, in the column's unit; None where nothing was measured.
        std: Sample standard deviation over the seeds; None with fewer than two.
        seeds: How many seeds the mean is over.
        text: Words instead of a number.
        run_ids: The runs behind the number.
        best: Whether it is the best of its column within its section.
        mark: A sign printed behind the number, explained in the table's notes.
    """

    value: float | None = None
    std: float | None = None
    seeds: int = 0
    text: str | None = None
    run_ids: tuple[str, ...] = ()
    best: bool = False
    mark: str = ""

    @property
    def missing(self) -> bool:
        """Whether the cell holds neither words nor a number."""
        return self.text is None and self.value is None


@dataclass(frozen=True)
class Column:
    """A column: a key that is unique in the table, a heading, and how its numbers read.

    Attributes:
        key: Name in CSV files and HTML.
        title: Heading.
        group: Heading above neighbouring columns that share it.
        unit: "%" (numbers already times 100), another unit, or "" for a column of words.
        digits: Digits behind the point.
        best: Which end is good, or None where neither is.
        signed: Whether numbers carry their sign also when positive (differences).
    """

    key: str
    title: str
    group: str = ""
    unit: str = ""
    digits: int = 2
    best: Literal["max", "min"] | None = None
    signed: bool = False

    @property
    def numeric(self) -> bool:
        """Whether the column holds numbers."""
        return self.unit != ""


@dataclass(frozen=True)
class Row:
    """One line; neighbours of the same `section` are ranked together and set apart from the rest."""

    cells: tuple[Cell, ...]
    section: str = ""


@dataclass(frozen=True)
class Table:
    """A table: columns, rows, and what a reader must know to trust it.

    Attributes:
        name: Short name without spaces, for anchors and file names.
        title: What the table shows and under which settings.
        columns: Its columns.
        rows: Its rows, in reading order; each has one cell a column.
        notes: Sentences printed below.
        data_notes: What the runs say of their data, printed below those.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())
    data_notes: tuple[str, ...] = field(default=())

    def sections(self) -> Iterator[tuple[Row, ...]]:
        """Yield the rows of one section after the other."""
        for _, rows in groupby(self.rows, key=lambda row: row.section):
            yield tuple(rows)

    def column(self, key: str) -> list[Cell]:
        """Return the cells of the column `key`, top to bottom.

        Raises:
            KeyError: No such column.
        """
        for index, column in enumerate(self.columns):
            if column.key == key:
                return [row.cells[index] for row in self.rows]
        raise KeyError(key)

    @cached_property
    def seeds(self) -> int:
        """The largest number of seeds behind any cell."""
        return max((cell.seeds for row in self.rows for cell in row.cells), default=0)


def number(value: float, column: Column) -> str:
    """Write `value` with the column's digits; a negative zero loses its sign.

    >>> number(-0.001, Column("d", "Degradation", unit="%"))
    '0.00'
    >>> number(1.5, Column("d", "Difference", unit="%", signed=True))
    '+1.50'
    """
    text = f"{value:.{column.digits}f}"
    if float(text) == 0:
        return text.lstrip("-")
    return f"+{text}" if column.signed and value > 0 else text


def mark_best(table: Table) -> Table:
    """Mark in each section the cells that print as its best; a section of one row has no best.

    What learned nothing is the best alone or not at all: that zero-shot CLIP forgets as little as the best is no merit.
    """
    rows: list[Row] = []
    method = next((index for index, column in enumerate(table.columns) if column.key == "method"), None)
    for section in table.sections():
        learned = tuple(row for row in section if method is None or row.cells[method].text != "zero_shot")
        best = [_best_text(section, index, column) for index, column in enumerate(table.columns)]
        tied = [_has(learned, index, column, best[index]) for index, column in enumerate(table.columns)]
        for row in section:
            cells = tuple(
                replace(cell, best=_is(cell, column, best[index]) and (row in learned or not tied[index]))
                for index, (cell, column) in enumerate(zip(row.cells, table.columns, strict=True))
            )
            rows.append(Row(cells, row.section))
    return Table(table.name, table.title, table.columns, tuple(rows), table.notes)


def _best_text(rows: tuple[Row, ...], index: int, column: Column) -> str | None:
    if column.best is None:
        return None
    values = [cell.value for row in rows if (cell := row.cells[index]).value is not None]
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if len(finite) < 2:
        return None
    return number(max(finite) if column.best == "max" else min(finite), column)


def _has(rows: tuple[Row, ...], index: int, column: Column, best: str | None) -> bool:
    return any(_is(row.cells[index], column, best) for row in rows)


def _is(cell: Cell, column: Column, best: str | None) -> bool:
    return best is not None and cell.value is not None and number(cell.value, column) == best
