"""Differences of two methods, or of one method in two experiments, on the same seeds."""

import math
from collections.abc import Mapping
from itertools import product

import pandas as pd

from lamm_cl.evaluation.statistics import compare_paired
from lamm_cl.reports.tables.collect import SETTINGS, TITLES, order
from lamm_cl.reports.tables.model import Cell, Column, Row, Table
from lamm_cl.reports.tables.protocols import PROTOCOLS

_PLACE = ("backbone", "pretrained", "setting", "shots", "dataset", "label_space")
_NAME = ("method", "variant", "dialect", "experiment")
_COLUMNS = (
    Column("difference", "Difference", unit="%", signed=True),
    Column("low", "from", group="95% interval", unit="%", signed=True),
    Column("high", "to", group="95% interval", unit="%", signed=True),
    Column("p", "p", unit="1", digits=4),
)


def paired_table(frame: pd.DataFrame, protocol: str, against: str) -> Table:
    """Return the differences in the protocol's headline to `against`, each on the seeds that both have.

    Args:
        frame: Rows of `runs.csv`.
        protocol: Whose runs.
        against: The label of a method, which all others are compared with, or an experiment, whose methods are
            compared with the same methods elsewhere.
    """
    found = PROTOCOLS[protocol].accuracy(frame)
    which = "method" if against in set(found["method"]) else "experiment"
    shown = [key for key in SETTINGS if key == "method" or found[key].nunique() > 1]
    rows = []
    for place, part in found.groupby(list(_PLACE), sort=False, dropna=False):
        groups = [
            (dict(zip(_NAME, map(str, names), strict=True)), group)
            for names, group in part.groupby(list(_NAME), sort=False, dropna=False)
        ]
        for (name, group), (other, reference) in product(groups, groups):
            if other[which] == against != name[which] and _match(name, other, which, [one for one, _ in groups]):
                words = {**dict(zip(_PLACE, map(str, place), strict=True)), **name}
                if cells := _compared(group, reference):
                    section = "/".join(words[key] for key in shown if key in _PLACE)
                    texts = tuple(Cell(text=words[key]) for key in shown)
                    rows.append((order(tuple(words[key] for key in SETTINGS)), Row((*texts, *cells), section)))
    notes = (
        f"Each minus {against}, on the seeds that both have; the number after ± is the deviation of the differences.",
        "Interval and two-sided p: Student's t over paired differences, not corrected for the number of comparisons.",
    )
    title = f"Paired differences to {against} ({protocol}): {PROTOCOLS[protocol].headline.removesuffix(' [%]')}"
    heads = tuple(Column(key, TITLES[key]) for key in shown)
    ordered = tuple(row for _, row in sorted(rows, key=lambda item: item[0]))
    return Table(f"paired_{protocol}", title, (*heads, *_COLUMNS), ordered, notes)


def _match(name: Mapping[str, str], other: Mapping[str, str], which: str, every: list[dict[str, str]]) -> bool:
    """Return whether two may be compared: a method with one of its own experiment where that has it; else any."""
    if which == "experiment":
        return all(name[key] == other[key] for key in ("method", "variant", "dialect"))
    at_home = any(one["method"] == other["method"] and one["experiment"] == name["experiment"] for one in every)
    return name["experiment"] == other["experiment"] or not at_home


def _compared(first: pd.DataFrame, second: pd.DataFrame) -> tuple[Cell, ...]:
    """Return the cells of one comparison; nothing where fewer than two seeds are there with both."""
    one, two = (100 * part.groupby("seed")["accuracy"].mean() for part in (first, second))
    seeds = one.index.intersection(two.index)
    found = compare_paired(one[seeds].tolist(), two[seeds].tolist())
    if found.n < 2:
        return ()
    ids = tuple(dict.fromkeys(one for part in (first, second) for ids in part["run_id"] for one in ids))
    p = Cell() if math.isnan(found.p) else Cell(found.p, None, found.n)
    difference = Cell(found.difference, found.std, found.n, run_ids=ids)
    return difference, Cell(found.low, None, found.n), Cell(found.high, None, found.n), p
