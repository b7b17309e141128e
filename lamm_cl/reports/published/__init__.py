"""Numbers that papers print, as data: one CSV a table, in long form, each row with its citation; see the README."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from lamm_cl.errors import unknown

if TYPE_CHECKING:
    import pandas as pd

STANDINGS = ("primary", "reprint", "secondary")


@dataclass(frozen=True)
class PublishedNumber:
    """One printed number; the fields are the columns of the CSV files, and `printed` is `value` as it was printed."""

    source: str
    citation: str
    table: str
    protocol: str
    method: str
    minus: str
    dialect: str
    options: str
    minus_options: str
    trained_on: str
    dataset: str
    label_space: str
    metric: str
    value: float
    rounding: float
    shots: str
    setting: str
    backbone: str
    pretrained: str
    precision: str
    seeds: str
    standing: str
    note: str
    printed: str
    protocol_options: str = ""
    resize_mode: str = ""


@cache
def _tables() -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in _rows("tables")}


def names() -> list[tuple[str, str, str]]:
    """Return (name, what it holds, citation) of every published table, without importing pandas."""
    return [(name, row["title"], row["citation"]) for name, row in _tables().items()]


def standings(name: str) -> str:
    """Return how many of the numbers of the table `name` have which standing, in words.

    >>> standings("lamm-table5")
    '10 primary'
    """
    counts = Counter(row.standing for row in numbers(name))
    return ", ".join(f"{counts[one]} {one}" for one in STANDINGS if counts[one])


@cache
def numbers(name: str) -> tuple[PublishedNumber, ...]:
    """Return the rows of the published table `name`, in the paper's order.

    Raises:
        UsageError: No such table.
    """
    found = []
    for row in (row for file in about(name)["files"].split() for row in _rows(file)):
        printed = row.pop("value")
        half = 0.5 * 10.0 ** -len(printed.partition(".")[2])
        rounding = float(row.pop("rounding") or half)
        found.append(PublishedNumber(**row, value=float(printed), rounding=rounding, printed=printed))
    return tuple(found)


def published(name: str) -> "pd.DataFrame":
    """Return the published table `name` with a row per number; `value` in percent, `printed` with the paper's digits.

    Raises:
        UsageError: No such table.
    """
    import pandas as pd

    return pd.DataFrame(numbers(name))


def about(name: str) -> dict[str, str]:
    """Return what `tables.csv` says of the published table `name`: its title, its citation, ..."""
    if name not in _tables():
        raise unknown("published table", name, _tables())
    return _tables()[name]


def _rows(file: str) -> Iterator[dict[str, str]]:
    text = files(__package__).joinpath(f"{file}.csv").read_text(encoding="utf-8")
    yield from csv.DictReader(text.splitlines())
