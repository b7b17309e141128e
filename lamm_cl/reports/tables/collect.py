"""From the long rows of `runs.csv` to one number a seed, and from those to cells."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lamm_cl.errors import UsageError
from lamm_cl.records.record import COLUMNS
from lamm_cl.reports.names import AVERAGE, dataset_rank, method_rank, shots_in_words, shots_rank, space_rank
from lamm_cl.reports.tables.model import Cell, Column, Row, Table, mark_best

# What the rows of a section have in common; `setting` is what a protocol's options add ("5 steps").
PLACE = ("backbone", "pretrained", "setting", "shots", "dataset", "label_space")
# What tells one row of a table from another; the seed does not.
SETTINGS = (*PLACE, "method", "dialect", "experiment")
_NUMBERS = ("seed", "stage", "value", "n")
_WORDS = (*SETTINGS, "protocol", "run_id", "seed", "status")
TITLES = {key: key.replace("_", " ").capitalize() for key in _WORDS}
TITLES |= {"dataset": "Data set", "pretrained": "Weights", "run_id": "Run"}
TITLES |= {"eval_set": "Set", "class": "Class", "quantity": "Number"}
_RANKS: dict[str, Callable[[str], Any]] = {
    "method": method_rank,
    "dataset": dataset_rank,
    "label_space": space_rank,
    "shots": shots_rank,
}


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with words as strings (missing: ""), numbers as floats (missing: NaN).

    `shots` becomes a word, since it names a setting; `setting` is added where absent.

    Raises:
        UsageError: A column of the contract is absent.
    """
    if frame.attrs.get("tidy"):
        return frame
    if absent := [name for name in COLUMNS if name not in frame.columns]:
        raise UsageError(f"results lack the column(s) {', '.join(absent)}; expected {', '.join(COLUMNS)}")
    out = frame.assign(setting=frame.get("setting", "")).reset_index(drop=True)
    for name in out.columns:
        if name in _NUMBERS:
            out[name] = pd.to_numeric(out[name], errors="coerce").astype(float)
        else:
            out[name] = out[name].astype(object).where(out[name].notna(), "").astype(str)
    # A column of whole numbers with a gap in it reads as floats: "16.0".
    out["shots"] = out["shots"].map({text: text.removesuffix(".0") for text in out["shots"].unique()}).astype(str)
    out.attrs["tidy"] = True
    return out


def accuracies(frame: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Return the tidy rows of one protocol that hold an accuracy."""
    rows = tidy(frame)
    wanted = (rows["protocol"] == protocol) & (rows["metric"] == "accuracy") & rows["value"].notna()
    return rows[wanted].reset_index(drop=True)


def values_of(rows: pd.DataFrame, key: str) -> list[Any]:
    """Return what occurs in a column of settings, in the order of the tables."""
    return sorted(set(rows[key]), key=_RANKS.get(key))


def at_the_end(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows after the last stage without the label space `seen` where `all` is there, which is the same then."""
    return rows[rows["label_space"] != "seen"] if rows["label_space"].eq("all").any() else rows


def wide(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per settings and seed, one column per (stage, eval_set), values as they are.

    Runs with the same settings and the same seed are one observation, their mean: counting them
    twice would make the deviation over seeds too small. `run_id` holds the tuple of their ids.
    """
    keys = [*SETTINGS, "seed"]
    values = rows.groupby([*keys, "stage", "eval_set"], sort=False, dropna=False)["value"].mean()
    table = values.unstack(["stage", "eval_set"])
    ids = rows[[*keys, "run_id"]].drop_duplicates()
    found = run_ids(ids.groupby(keys, sort=False, dropna=False), [(one,) for one in ids["run_id"]])
    table[("run_id", "")] = found.reindex(table.index)
    return table


def run_ids(groups: Any, ids: Iterable[tuple[str, ...]]) -> "pd.Series[Any]":
    """Return, for each group of rows (made with `sort=False`), their `ids` as one tuple, each id once."""
    index = groups.size().index
    parts: list[dict[str, None]] = [{} for _ in range(len(index))]
    for place, row in zip(groups.ngroup().to_numpy(), ids, strict=True):
        parts[place].update(dict.fromkeys(row))
    return pd.Series([tuple(part) for part in parts], index=index, dtype=object)


Quantities = Mapping[str, "pd.Series[float]"]
Line = tuple[Mapping[str, str], Sequence[Cell]]  # settings, and what stands behind them


def per_seed(rows: pd.DataFrame, quantities: Callable[[pd.DataFrame], Quantities]) -> pd.DataFrame:
    """Return settings, seed, `run_id` and the quantities made from `wide` rows, as columns."""
    if rows.empty:
        return pd.DataFrame(columns=[*SETTINGS, "seed", "run_id"], dtype=object)
    table = wide(rows)
    return pd.DataFrame({"run_id": table[("run_id", "")], **quantities(table)}, index=table.index).reset_index()


def pick(table: pd.DataFrame, stage: float, eval_set: str) -> "pd.Series[float]":
    """Return the column (stage, eval_set) of `wide` rows, all NaN where no run has it."""
    place = (stage, eval_set)
    return table[place].astype(float) if place in table.columns else pd.Series(np.nan, index=table.index)


def numbered_sets(names: Iterable[str]) -> list[str]:
    """Return `set1`, `set2`, ... up to the highest number among `names`; a run may have been scored on some of them.

    >>> numbered_sets(["set3", "total", "set1"])
    ['set1', 'set2', 'set3']
    """
    numbers = [int(match[1]) for name in set(names) if (match := re.fullmatch(r"set(\d+)", name))]
    return [f"set{number}" for number in range(1, max(numbers, default=0) + 1)]


def set_numbers(rows: pd.DataFrame) -> "pd.Series[float]":
    """Return which experience (from 1) trained each row's set: `set3` the third, others as they come in a run."""
    pairs = rows[["run_id", "eval_set"]].drop_duplicates()
    numbers = pairs["eval_set"].str.extract(r"^set(\d+)$")[0].astype(float)
    pairs = pairs.assign(number=numbers.where(numbers.notna(), pairs.groupby("run_id", sort=False).cumcount() + 1))
    found = rows[["run_id", "eval_set"]].merge(pairs, how="left", on=["run_id", "eval_set"])
    return pd.Series(found["number"].to_numpy(dtype=float), index=rows.index)


def stream_lengths(rows: pd.DataFrame) -> "pd.Series[float]":
    """Return the number of sets of each run, by run id.

    It is told by the sets that a run was scored on, not by the stages it has reached: a run may be unfinished.
    """
    pairs = rows.loc[(rows["eval_set"] != "") & (rows["eval_set"] != "total"), ["run_id", "eval_set"]].drop_duplicates()
    return set_numbers(pairs).groupby(pairs["run_id"], sort=False).max()


def with_steps(rows: pd.DataFrame, lengths: "pd.Series[float]") -> pd.DataFrame:
    """Name each stream's number of sets in its setting, where streams (by run id) differ in it."""
    if lengths.nunique() < 2:
        return rows
    steps = rows["run_id"].map(lengths).map(lambda count: f"{count:g} steps", na_action="ignore")
    return rows.assign(setting=steps.fillna(""))


def average_rows(table: pd.DataFrame, quantities: list[str]) -> pd.DataFrame:
    """Return per-seed means over all data sets of `table`, under the name of the average.

    A mean exists only where every data set of the table has the value with that seed: a mean over
    fewer data sets would be another number under the same name. No rows where there is one data set.
    """
    datasets = table["dataset"].nunique()
    if datasets < 2:
        return table.iloc[0:0]
    keys = [key for key in SETTINGS if key != "dataset"] + ["seed"]
    groups = table.groupby(keys, sort=False, dropna=False)
    means = (groups[quantities].sum(min_count=1) / datasets).where(groups[quantities].count() == datasets)
    out = means.assign(run_id=run_ids(groups, table["run_id"])).reset_index().assign(dataset=AVERAGE)
    return out.dropna(subset=quantities, how="all")[table.columns]


def with_averages(observations: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return `observations` with a column for each of the `keys` and, below, the averages over data sets."""
    full = observations.reindex(columns=[*SETTINGS, "seed", "run_id", *keys])
    extra = average_rows(full, [*keys])
    return pd.concat([full, extra], ignore_index=True) if len(extra) else full


def build_table(
    name: str, title: str, observations: pd.DataFrame, columns: Sequence[Column], notes: Sequence[str] = ()
) -> Table:
    """Return a table of means over seeds, times 100 where a column's unit is percent.

    Settings that are the same in every row go into the title; the others become columns of words.
    Rows with the same settings except those of the method are one section. `observations` are what `per_seed`
    returns, with a column for the key of each of `columns`.
    """
    shown, constant = split_settings(observations, SETTINGS)
    return laid_out(name, title + constant, _lines(observations, columns), shown, columns, notes)


def laid_out(
    name: str,
    title: str,
    lines: Iterable[Line],
    shown: Sequence[str],
    columns: Sequence[Column],
    notes: Sequence[str] = (),
) -> Table:
    """Return a table of lines, with a column of words for each setting `shown`."""
    rows = []
    for words, cells in lines:
        section = "/".join(words[key] for key in shown if key in PLACE)
        rows.append(Row((*(Cell(text=words[key]) for key in shown), *cells), section))
    heads = [Column(key, TITLES[key]) for key in shown]
    return mark_best(Table(name, title, (*heads, *columns), tuple(rows), tuple(notes)))


def by_shots(name: str, title: str, rows: pd.DataFrame, notes: Sequence[str] = ()) -> Table:
    """Return a table of `accuracy` with a column for each number of shots; `rows` as `per_seed` returns them."""
    shots = values_of(rows, "shots")
    columns = tuple(Column(f"shots{count}", count, group="Shots", unit="%", best="max") for count in shots)
    if len(rows):
        keys = [key for key in SETTINGS if key != "shots"] + ["seed"]
        groups = rows.groupby([*keys, "shots"], sort=False, dropna=False)
        table = groups["accuracy"].mean().unstack("shots").reindex(columns=shots)
        table.columns = pd.Index([column.key for column in columns])
        lines = rows.groupby(keys, sort=False, dropna=False)
        table["run_id"] = run_ids(lines, rows["run_id"]).reindex(table.index)
        rows = table.reset_index().assign(shots="")
    return build_table(name, title, rows, columns, notes)


def _lines(observations: pd.DataFrame, columns: Sequence[Column]) -> list[Line]:
    """Return the settings and the cells of each row, in the order of the tables."""
    if observations.empty:
        return []
    groups = observations.groupby(list(SETTINGS), sort=False, dropna=False)
    values = groups[[column.key for column in columns]]
    scale = np.array([100.0 if column.unit == "%" else 1.0 for column in columns])
    means, stds = ((frame.to_numpy(dtype=float) * scale).tolist() for frame in (values.mean(), values.std()))
    ids, counts, lines = run_ids(groups, observations["run_id"]), values.count(), []
    for settings, run, *line in zip(counts.index, ids, means, stds, counts.to_numpy().tolist(), strict=True):
        cells = [
            Cell() if np.isnan(mean) else Cell(mean, None if np.isnan(std) else std, count, run_ids=run)
            for mean, std, count in zip(*line, strict=True)
        ]
        lines.append((dict(zip(SETTINGS, settings, strict=True)), cells))
    return sorted(lines, key=order)


def order(line: Line) -> list[Any]:
    """Return a sort key for lines by their settings."""
    return [_RANKS.get(key, str)(value) for key, value in line[0].items()]


def split_settings(rows: pd.DataFrame, keys: Sequence[str]) -> tuple[list[str], str]:
    """Return the settings that a table has columns for, and for its title those that are the same in every row."""
    shown, constant = [], []
    for key in keys:
        values = [value for value in rows[key].unique() if value]
        if key in ("method", "class") or len(values) > 1 or (key == "setting" and values):
            shown.append(key)
        elif values and key != "experiment":
            spelled = {"shots": shots_in_words(values[0]), "label_space": f"{values[0]} label space"}
            constant.append({**spelled, "dialect": f"{values[0]} dialect"}.get(key, values[0]))
    return shown, ": " * bool(constant) + ", ".join(constant)
