"""Tables with sortable columns and a filter; every number leads to its runs, and each run to its config and record."""

import base64
import gzip
import json
from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import quote

from lamm_cl.files import finite
from lamm_cl.reports.results import Results, error_of
from lamm_cl.reports.tables.collect import TITLES
from lamm_cl.reports.tables.model import Cell, Column, Table
from lamm_cl.reports.tables.render import heading, notes, plain

_MOST_CHOICES = 30
_LONG = 40  # characters; longer texts may wrap
_PLAIN_BYTES = 8_000_000  # beyond that the data travels compressed
_RUN_COLUMNS = ("run_id", "protocol", "dataset", "method", "dialect", "backbone", "shots", "seed", "status")
_NUMERIC = ("shots", "seed")


def anchor(name: str) -> str:
    """Return `name` as an id."""
    return "".join(one if one.isalnum() or one in "-_" else "-" for one in name)


def runs_link(*run_ids: str) -> str:
    """Return the address that opens these runs."""
    return "#runs=" + ",".join(quote(run_id, safe="") for run_id in run_ids)


def table_section(table: Table) -> str:
    """Return one table with its controls and notes."""
    name = f"table-{anchor(table.name)}"
    below = "".join(f"<p>{escape(note)}</p>" for note in notes(table))
    title = table.title.partition(":")[0]
    return "\n".join(
        [
            f'<section id="{name}" aria-labelledby="{name}-title">',
            f'<h2 id="{name}-title">{escape(title)}</h2>',
            _controls(table, name),
            f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(title)}, table">',
            f"<table><caption><span>{escape(table.title)}</span></caption>",
            _head(table),
            "<tbody>",
            *_body(table),
            "</tbody></table></div>",
            f'<div class="notes">{below}</div>',
            "</section>",
        ]
    )


def controls(name: str, choices: dict[int, tuple[str, list[str]]]) -> str:
    """Return the filter of a table: a text field, and a choice for each of some columns by number."""
    parts = [
        f'<div class="controls" data-for="{name}" hidden>',
        f'<label>Filter <input type="search" autocomplete="off" aria-describedby="{name}-count"></label>',
    ]
    for place, (title, values) in choices.items():
        options = "".join(f"<option>{escape(value)}</option>" for value in values)
        select = f'<select data-column="{place}"><option value="">all</option>{options}</select>'
        parts.append(f"<label>{escape(title)} {select}</label>")
    parts.append(f'<span class="count" id="{name}-count" role="status"></span></div>')
    return "\n".join(parts)


def _controls(table: Table, name: str) -> str:
    choices = {}
    for place, column in enumerate(table.columns):
        values = list(dict.fromkeys(cell.text or "" for cell in table.column(column.key)))
        if not column.numeric and 1 < len(values) <= _MOST_CHOICES and "" not in values:
            choices[place] = (column.title, values)
    return controls(name, choices)


def _head(table: Table) -> str:
    cells = "".join(sortable(_heading(column), column.numeric) for column in table.columns)
    return f"<thead><tr>{cells}</tr></thead>"


def _heading(column: Column) -> str:
    title = f"{column.group} {heading(column)}" if column.group else heading(column)
    return title + (" [%]" if column.unit == "%" else "")


def sortable(title: str, numeric: bool) -> str:
    """Return a column heading that sorts when pressed."""
    kind = ' class="number"' if numeric else ""
    arrow = '<span class="arrow" aria-hidden="true"></span>'
    # The arrow stands on the side where the text is ragged.
    label = arrow + escape(title) if numeric else escape(title) + arrow
    return f'<th scope="col"{kind} aria-sort="none"><button type="button">{label}</button></th>'


def _body(table: Table) -> list[str]:
    rows = []
    row_header = next((place for place, column in enumerate(table.columns) if column.key == "method"), 0)
    before = None
    for row in table.rows:
        start = ' class="start"' if before is not None and row.section != before else ""
        before = row.section
        cells = [
            _cell(cell, column, table.seeds, place == row_header)
            for place, (cell, column) in enumerate(zip(row.cells, table.columns, strict=True))
        ]
        rows.append(f"<tr{start}>{''.join(cells)}</tr>")
    return rows


def _cell(cell: Cell, column: Column, usual_seeds: int, header: bool) -> str:
    text = escape(plain(cell, column, usual_seeds))
    if not column.numeric:
        long = ' class="words"' if len(text) > _LONG else ""
        return f'<th scope="row">{text}</th>' if header else f"<td{long}>{text}</td>"
    if cell.value is None:
        return f'<td class="number">{text}</td>'
    inner = f"<strong>{text}</strong>" if cell.best else text
    if cell.run_ids:
        inner = f'<a href="{runs_link(*cell.run_ids)}">{inner}</a>'
    return f'<td class="number" data-value="{cell.value!r}">{inner}</td>'


# -- runs --------------------------------------------------------------------------------------------------------


def runs_section(results: Results) -> str:
    """Return the table of all runs, each linked to its record."""
    runs = results.runs
    if runs.empty:
        return ""
    choices = {}
    for place, key in enumerate(_RUN_COLUMNS):
        values = sorted(map(_word, runs[key].unique()))
        if 1 < len(values) <= 30 and key not in ("run_id", "seed") and "" not in values:
            choices[place] = (TITLES[key], values)
    heads = "".join(sortable(TITLES[key], key in _NUMERIC) for key in _RUN_COLUMNS) + sortable("Error", False)
    columns = [runs[key].map(_word).tolist() for key in _RUN_COLUMNS]
    lines = [_line(values, results.records.get(values[0])) for values in zip(*columns, strict=True)]
    return "\n".join(
        [
            '<section id="runs" aria-labelledby="runs-title">\n<h2 id="runs-title">Runs</h2>',
            controls("runs", choices),
            '<div class="scroll tall" role="region" tabindex="0" aria-label="Runs, table">',
            "<table><caption><span>Every run, with its config and its record</span></caption>",
            f"<thead><tr>{heads}</tr></thead>\n<tbody>",
            *lines,
            "</tbody></table></div>\n</section>",
        ]
    )


def _word(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:g}"
    return str(value)


def _line(values: tuple[str, ...], record: Mapping[str, Any] | None) -> str:
    run_id, *rest = values
    cells = [f'<th scope="row"><a href="{runs_link(run_id)}">{escape(run_id)}</a></th>']
    for key, value in zip(_RUN_COLUMNS[1:], rest, strict=True):
        kind = f' class="number" data-value="{escape(value)}"' if key in _NUMERIC and value else ""
        cells.append(f"<td{kind}>{escape(value) or '-'}</td>")
    failed = rest[-1] == "failed"
    cells.append(f'<td class="words">{escape(error_of(record))}</td>' if failed and record else "<td></td>")
    start = '<tr class="failed">' if failed else "<tr>"
    return f"{start}{''.join(cells)}</tr>"


def _json(content: Any) -> str:
    try:
        return json.dumps(content, allow_nan=False, separators=(",", ":"))
    except ValueError:  # a number that JSON has no word for
        return json.dumps(finite(content), allow_nan=False, separators=(",", ":"))


def embedded_runs(results: Results) -> str:
    """Return a script element with the settings, config and record of every run, as JSON that HTML cannot end."""
    runs = results.runs
    content: dict[Any, Any] = {
        run["run_id"]: {"run": {key: value for key, value in run.items() if value == value and value != ""}}
        for run in runs.to_dict("records")
    }
    for run_id, record in results.records.items():
        content.setdefault(run_id, {"run": {}})["record"] = record
    text = _json(content)
    if len(text) > _PLAIN_BYTES:
        packed = base64.b64encode(gzip.compress(text.encode(), compresslevel=3, mtime=0)).decode()
        return f'<script type="text/plain" id="data" data-packed="gzip">{packed}</script>'
    # "</script>" or "<!--" inside a string would end or change the element.
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="data">{safe}</script>'
