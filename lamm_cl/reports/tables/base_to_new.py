"""Learn the base classes, keep the new ones: the shape of the base-to-new tables."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lamm_cl.reports.names import AVERAGE
from lamm_cl.reports.tables.collect import accuracies, build_table, per_seed, pick, with_averages
from lamm_cl.reports.tables.model import Cell, Column, Row, Table, mark_best

COLUMNS = (
    Column("base", "Base", unit="%", best="max"),
    Column("new", "New", unit="%", best="max"),
    Column("harmonic_mean", "H", unit="%", best="max"),
)
_MEAN_OF_H = "mean of H"


def base_to_new_table(frame: pd.DataFrame) -> Table:
    """Return base, new and their harmonic mean H, for each data set and on average.

    H is the harmonic mean of the base and new accuracies of its row, also in the average rows, as papers print it;
    its deviation is that of the seeds' own harmonic means. Rows called "mean of H" give the mean of the data sets' H.

    Args:
        frame: Rows of `runs.csv`; those of other protocols are left out.

    Source: Zhou et al., "Conditional Prompt Learning for Vision-Language Models" (CoCoOp), CVPR 2022, Table 1.
    """
    observations = observe(frame)
    several = observations["dataset"].nunique() > 1
    note = (
        "H of an average is the harmonic mean of the two averages, as papers print it; "
        '"mean of H" is the mean of the data sets\' H.'
    )
    table = build_table("base_to_new", "Base to new", observations, COLUMNS, (note,) if several else (), _of_means)
    return _with_mean_of_h(table) if several else table


def observe(frame: pd.DataFrame) -> pd.DataFrame:
    """Return base, new and H per settings and seed, with the averages over data sets and the H of these."""
    observations = with_averages(per_seed(accuracies(frame, "base_to_new"), quantities), COLUMNS)
    return observations.assign(harmonic_mean=_harmonic(observations["base"], observations["new"]))


def quantities(table: pd.DataFrame) -> "Mapping[str, pd.Series[float]]":
    """Return base, new and their harmonic mean from `wide` rows, after the only training experience."""
    base, new = trained(table, "base"), trained(table, "new")
    return {"base": base, "new": new, "harmonic_mean": _harmonic(base, new)}


def trained(table: pd.DataFrame, eval_set: str) -> "pd.Series[float]":
    """Return the accuracy after the only training experience; for what has nothing to train, before it."""
    after, before = pick(table, 1, eval_set), pick(table, 0, eval_set)
    untrained = np.asarray(table.index.get_level_values("method") == "zero_shot")
    return after.where(after.notna() | ~untrained, before)


def _harmonic(base: "pd.Series[float]", new: "pd.Series[float]") -> "pd.Series[float]":
    total = base + new
    # Two zeros have the limit 0; a missing part stays missing.
    return (2 * base * new / total.mask(total == 0)).mask(total == 0, 0.0)


def _of_means(cells: dict[str, Cell]) -> dict[str, Cell]:
    base, new, own = cells["base"], cells["new"], cells["harmonic_mean"]
    if base.value is None or new.value is None or own.value is None:
        return cells
    total = base.value + new.value
    value = 2 * base.value * new.value / total if total else 0.0
    return cells | {"harmonic_mean": Cell(value, own.std, own.seeds, run_ids=own.run_ids)}


def _with_mean_of_h(table: Table) -> Table:
    place = next(index for index, column in enumerate(table.columns) if column.key == "dataset")
    words = [index for index, column in enumerate(table.columns) if not column.numeric]
    groups: dict[tuple[str | None, ...], list[Cell]] = {}
    averages: dict[tuple[str | None, ...], Row] = {}
    for row in table.rows:
        key = tuple(row.cells[index].text for index in words if index != place)
        if row.cells[place].text == AVERAGE:
            averages[key] = row
        else:
            groups.setdefault(key, []).append(row.cells[-1])
    extra = [_mean_row(row, place, groups[key]) for key, row in averages.items()]
    return mark_best(Table(table.name, table.title, table.columns, (*table.rows, *extra), table.notes))


def _mean_row(row: Row, place: int, cells: list[Cell]) -> Row:
    values = [cell.value for cell in cells if cell.value is not None]
    whole = len(values) == len(cells) and row.cells[-1].value is not None
    mean = Cell(sum(values) / len(values), run_ids=row.cells[-1].run_ids) if whole else Cell()
    blank = Cell(text="")
    out = [cell if cell.text is not None else blank for cell in row.cells[:-1]]
    out[place] = Cell(text=_MEAN_OF_H)
    return Row((*out, mean), f"{row.section}/{_MEAN_OF_H}")
