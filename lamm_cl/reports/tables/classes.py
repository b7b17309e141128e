"""The accuracy on each class, by its name, where runs recorded it."""

from collections.abc import Mapping, Sequence

import pandas as pd

from lamm_cl.evaluation.statistics import summarise
from lamm_cl.reports.names import method_rank, shots_in_words, space_rank
from lamm_cl.reports.tables.collect import tidy
from lamm_cl.reports.tables.model import Cell, Column, Row, Table, mark_best

_METRIC = "class_accuracy/"
_PLACE = ["backbone", "dataset", "shots", "label_space", "eval_set", "word"]


def class_tables(frame: pd.DataFrame, names: Mapping[str, Sequence[str]]) -> list[Table]:
    """Return a table for each protocol: a line per class after the last stage, a column per method.

    Args:
        frame: Rows of `runs.csv`.
        names: By run id, the names of the classes in the order of their columns, where the record holds them.
    """
    rows = tidy(frame)
    rows = rows[rows["metric"].str.startswith(_METRIC) & rows["value"].notna()]
    rows = rows[rows["stage"] == rows["run_id"].map(rows.groupby("run_id")["stage"].max())]
    tables = []
    for protocol, part in rows.groupby("protocol", sort=False):
        if "all" in set(part["label_space"]):  # at the end of a stream `seen` is the same
            part = part[part["label_space"] != "seen"]
        places = part["metric"].str.removeprefix(_METRIC).astype(int)
        known = [
            names[run][place] if place < len(names.get(run, ())) else f"class {place}"
            for run, place in zip(part["run_id"], places, strict=True)
        ]
        home = part["experiment"] if part["experiment"].nunique() > 1 else ""
        label = (part["method"] + " " + part["variant"] + " " + home).str.strip()
        tables.append(_table(str(protocol), part.assign(word=known, label=label, place=places)))
    return tables


def _table(protocol: str, rows: pd.DataFrame) -> Table:
    methods = sorted(set(rows["label"]), key=method_rank)
    shown = [key for key in _PLACE if key == "word" or rows[key].nunique() > 1]
    titles = {"backbone": "Backbone", "dataset": "Data set", "shots": "Shots", "label_space": "Label space"}
    titles |= {"eval_set": "Set", "word": "Class"}
    heads = [Column("class" if key == "word" else key, titles[key]) for key in shown]
    columns = [Column(f"method_{name}", name, unit="%", best="max") for name in methods]
    lines = []
    for values, group in rows.groupby(_PLACE, sort=False):
        words = dict(zip(_PLACE, map(str, values), strict=True))
        cells = []
        for name in methods:
            mine = group[group["label"] == name]
            found = summarise(100 * mine["value"])
            std = found.std if found.n > 1 else None
            cells.append(Cell(found.mean, std, found.n, run_ids=tuple(mine["run_id"])) if found.n else Cell())
        place = (*(words[key] for key in ("backbone", "dataset", "shots")), space_rank(words["label_space"]))
        texts = tuple(Cell(text=words[key]) for key in shown)
        lines.append(((place, group["place"].min()), Row((*texts, *cells), f"{place}/{words['word']}")))
    constant = {key: str(rows[key].iloc[0]) for key in _PLACE[:4] if key not in shown}
    if constant.get("shots"):
        constant["shots"] = shots_in_words(constant["shots"])
    if constant.get("label_space"):
        constant["label_space"] += " label space"
    about = ", ".join(filter(None, constant.values()))
    title = f"Accuracy on each class ({protocol}), after the last stage" + (f": {about}" if about else "")
    ordered = tuple(row for _, row in sorted(lines, key=lambda item: item[0]))
    return mark_best(Table(f"classes_{protocol}", title, (*heads, *columns), ordered))
