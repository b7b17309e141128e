"""Tables as the template shows them; every number leads to its runs, and each run to its config and record."""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any
from urllib.parse import quote

from lamm_cl.files import finite
from lamm_cl.reports.results import Results, error_of
from lamm_cl.reports.tables.collect import TITLES
from lamm_cl.reports.tables.model import Cell, Column, Row, Table
from lamm_cl.reports.tables.render import heading, notes, plain

_MOST_CHOICES = 60
_LONG = 40  # characters; longer texts may wrap
_MOST_ROWS = 40  # of a table whose sections are not folded
_PLAIN_BYTES = 8_000_000  # beyond that the data travels compressed
_RUN_COLUMNS = ("run_id", "protocol", "dataset", "method", "dialect", "backbone", "shots", "seed", "status")
_NUMERIC = ("shots", "seed")


def anchor(name: str) -> str:
    """Return `name` as an id."""
    return "".join(one if one.isalnum() or one in "-_" else "-" for one in name)


def runs_link(*run_ids: str) -> str:
    """Return the address that opens these runs."""
    return "#runs=" + ",".join(quote(run_id, safe="") for run_id in run_ids)


def table_view(table: Table) -> dict[str, Any]:
    """Return one table with its columns, sections, filters and notes."""
    sections = [tuple(rows) for rows in table.sections()]
    words = [place for place, column in enumerate(table.columns) if not column.numeric]
    header = next((place for place, column in enumerate(table.columns) if column.key == "method"), 0)
    same = [
        place
        for place in words
        if place != header and all(len({row.cells[place].text for row in rows}) == 1 for rows in sections)
    ]
    fold = len(table.rows) > _MOST_ROWS and len(sections) > 1
    columns = [
        {
            "title": _heading(column),
            "numeric": column.numeric,
            "best": column.best,
            "sec": fold and place in same,
            "first": place == header,
        }
        for place, column in enumerate(table.columns)
    ]
    shown = [
        {
            "number": number,
            "title": ", ".join(f"{table.columns[place].title} {rows[0].cells[place].text}" for place in same),
            "rows": [_row(table, row, header, same if fold else []) for row in rows],
        }
        for number, rows in enumerate(sections)
    ]
    choices = []
    for place in words:
        values = list(dict.fromkeys(row.cells[place].text or "" for row in table.rows))
        if 1 < len(values) <= _MOST_CHOICES and "" not in values:
            choices.append({"title": table.columns[place].title, "place": place, "of": values})
    return {
        "id": f"table-{anchor(table.name)}",
        "title": table.title.partition(":")[0],
        "caption": table.title,
        "columns": columns,
        "sections": shown,
        "choices": choices,
        "fold": fold,
        "files": True,
        "notes": notes(table),
    }


def _heading(column: Column) -> str:
    title = f"{column.group} {heading(column)}" if column.group else heading(column)
    return title + (" [%]" if column.unit == "%" else "")


def _row(table: Table, row: Row, header: int, same: Sequence[int]) -> dict[str, Any]:
    cells = zip(row.cells, table.columns, strict=True)
    shown = [_cell(cell, column, table.seeds, k == header, k in same) for k, (cell, column) in enumerate(cells)]
    return {"kind": "free" if row.cells[header].text == "zero_shot" else "", "cells": shown}


def _cell(cell: Cell, column: Column, usual_seeds: int, header: bool, same: bool) -> dict[str, Any]:
    text = plain(cell, column, usual_seeds)
    number = column.numeric and cell.value is not None
    kinds = ["number"] * column.numeric + ["words"] * (len(text) > _LONG) + ["sec"] * same + ["first"] * header
    return {
        "tag": "th" if header and not column.numeric else "td",
        "text": text,
        "kind": " ".join(kinds),
        "value": repr(cell.value) if number else None,
        "best": cell.best,
        "href": runs_link(*cell.run_ids) if number and cell.run_ids else "",
    }


# -- runs --------------------------------------------------------------------------------------------------------


def runs_view(results: Results) -> dict[str, Any] | None:
    """Return the table of all runs, each linked to its record, in sections of protocol and data set."""
    runs = results.runs
    if runs.empty:
        return None
    choices = []
    for place, key in enumerate(_RUN_COLUMNS):
        values = sorted(map(_word, runs[key].unique()))
        if 1 < len(values) <= _MOST_CHOICES and key != "run_id" and "" not in values:
            choices.append({"title": TITLES[key], "place": place, "of": values})
    columns = [runs[key].map(_word).tolist() for key in _RUN_COLUMNS]
    lines = sorted(zip(*columns, strict=True), key=lambda line: (line[1], line[2]))
    sections = [
        {
            "number": number,
            "title": f"{protocol}, {dataset}",
            "rows": [_line(values, results.records.get(values[0])) for values in group],
        }
        for number, ((protocol, dataset), group) in enumerate(groupby(lines, key=lambda line: (line[1], line[2])))
    ]
    heads = [{"title": TITLES[key], "numeric": key in _NUMERIC, "first": key == "run_id"} for key in _RUN_COLUMNS]
    return {
        "id": "runs",
        "title": "Runs",
        "caption": "Every run, with its config and its record",
        "columns": [*heads, {"title": "Error"}],
        "sections": sections,
        "choices": choices,
        "fold": len(lines) > _MOST_ROWS,
    }


def _word(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:g}"
    return str(value)


def _line(values: tuple[str, ...], record: Mapping[str, Any] | None) -> dict[str, Any]:
    run_id, *rest = values
    cells: list[dict[str, Any]] = [
        {"tag": "th", "text": run_id, "kind": "first", "value": None, "href": runs_link(run_id)}
    ]
    for key, value in zip(_RUN_COLUMNS[1:], rest, strict=True):
        number = key in _NUMERIC and value != ""
        cells.append({"tag": "td", "text": value or "-", "kind": "number" * number, "value": value if number else None})
    failed = rest[-1] == "failed"
    error = error_of(record) if failed and record else ""
    cells.append({"tag": "td", "text": error, "kind": "words" * bool(error), "value": None})
    return {"kind": "failed" if failed else "", "cells": cells}


def _json(content: Any) -> str:
    try:
        return json.dumps(content, allow_nan=False, separators=(",", ":"))
    except ValueError:  # a number that JSON has no word for
        return json.dumps(finite(content), allow_nan=False, separators=(",", ":"))


def embedded_runs(results: Results) -> str:
    """Return a script element with the settings, config and record of every run."""
    runs = results.runs
    content: dict[Any, Any] = {
        run["run_id"]: {"run": {key: value for key, value in run.items() if value == value and value != ""}}
        for run in runs.to_dict("records")
    }
    for run_id, record in results.records.items():
        content.setdefault(run_id, {"run": {}})["record"] = record
    return embedded("data", content)


def embedded(name: str, content: Any) -> str:
    """Return a script element of this id with JSON that HTML cannot end, compressed where it is long."""
    text = _json(content)
    if len(text) > _PLAIN_BYTES:
        packed = base64.b64encode(gzip.compress(text.encode(), compresslevel=3, mtime=0)).decode()
        return f'<script type="text/plain" id="{name}" data-packed="gzip">{packed}</script>'
    # "</script>" or "<!--" inside a string would end or change the element.
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="{name}">{safe}</script>'
