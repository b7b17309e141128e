"""What a table is before anybody decides how to print it."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Literal

MISSING = "-"


@dataclass(frozen=True)
class Cell:
    """One place of a table: words (`text`), or a mean over seeds in the column's unit, None where nothing was measured.

    `std` is the sample standard deviation, None with fewer than two seeds; `best` says that it is the best of its
    column within its section; `mark` is printed behind the number and explained in the table's notes.
    """

    value: float | None = None
    std: float | None = None
    seeds: int = 0
    text: str | None = None
    run_ids: tuple[str, ...] = ()
    best: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Column:
    """A column: a heading, and how its numbers read.

    Attributes:
        key: Name in CSV files, unique in the table.
        group: Heading above neighbouring columns that share it.
        unit: "%" (numbers already times 100), another unit, or "" for a column of words.
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
        notes, data_notes: Sentences printed below; and what the runs say of their data.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    data_notes: tuple[str, ...] = ()

    def sections(self) -> list[tuple[Row, ...]]:
        """Return the rows of one section after the other."""
        return [tuple(rows) for _, rows in groupby(self.rows, key=lambda row: row.section)]

    @cached_property
    def places(self) -> dict[str, int]:
        """Which column has which key."""
        return {column.key: index for index, column in enumerate(self.columns)}

    def column(self, key: str) -> list[Cell]:
        """Return the cells of the column `key`, top to bottom."""
        return [row.cells[self.places[key]] for row in self.rows]

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
    for section in table.sections():
        cells_of = dict(zip(table.places, zip(*(row.cells for row in section), strict=True), strict=True))
        free = {k for k, cell in enumerate(cells_of.get("method", ())) if cell.text == "zero_shot"}
        best = [found - free or found for found in map(_best, cells_of.values(), table.columns)]
        for k, row in enumerate(section):
            cells = tuple(replace(cell, best=k in found) for cell, found in zip(row.cells, best, strict=True))
            rows.append(Row(cells, row.section))
    return replace(table, rows=tuple(rows))


def _best(cells: tuple[Cell, ...], column: Column) -> set[int]:
    """Return the places of the cells that print as the best of a column, nothing where fewer than two have a number."""
    finite = {k: cell.value for k, cell in enumerate(cells) if cell.value is not None and math.isfinite(cell.value)}
    if column.best is None or len(finite) < 2:
        return set()
    text = number((max if column.best == "max" else min)(finite.values()), column)
    return {k for k, value in finite.items() if number(value, column) == text}
