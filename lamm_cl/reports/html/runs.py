"""The list of runs and what is embedded of each: its config and its record."""

import base64
import gzip
import json
from collections.abc import Mapping
from html import escape
from typing import Any

from lamm_cl.files import finite
from lamm_cl.reports.html.tables import controls, runs_link, sortable
from lamm_cl.reports.results import Results, error_of

_PLAIN_BYTES = 8_000_000  # beyond that the data travels compressed
_COLUMNS = {
    "run_id": "Run",
    "protocol": "Protocol",
    "dataset": "Data set",
    "method": "Method",
    "dialect": "Dialect",
    "backbone": "Backbone",
    "shots": "Shots",
    "seed": "Seed",
    "status": "Status",
}
_NUMERIC = ("shots", "seed")


def runs_section(results: Results) -> str:
    """Return the table of all runs, each linked to its record."""
    runs = results.runs
    if runs.empty:
        return ""
    choices = {}
    for place, (key, title) in enumerate(_COLUMNS.items()):
        values = sorted(map(_word, runs[key].unique()))
        if 1 < len(values) <= 30 and key not in ("run_id", "seed") and "" not in values:
            choices[place] = (title, values)
    heads = "".join(sortable(title, key in _NUMERIC) for key, title in _COLUMNS.items()) + sortable("Error", False)
    columns = [runs[key].map(_word).tolist() for key in _COLUMNS]
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
    for key, value in zip(list(_COLUMNS)[1:], rest, strict=True):
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
