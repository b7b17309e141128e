"""The report as one HTML file that needs nothing else and asks for nothing.

Every number leads to its runs, and each run to its config and record; the script shows that data on demand.
"""

import base64
import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from operator import itemgetter
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from matplotlib.collections import QuadMesh
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from lamm_cl import __version__
from lamm_cl.files import finite
from lamm_cl.reports.figures.gallery import Picture, pictures
from lamm_cl.reports.figures.style import render
from lamm_cl.reports.names import anchor, number_word
from lamm_cl.reports.report import Report
from lamm_cl.reports.results import Results, error_of
from lamm_cl.reports.tables.collect import TITLES
from lamm_cl.reports.tables.extra import pivot_tables
from lamm_cl.reports.tables.model import Column, Row, Table
from lamm_cl.reports.tables.render import full_heading, notes, render_csv, render_latex, texts_of

_OPEN_FIGURES = 12  # of more, the first four: the page must load and print in seconds
_MOST_POINTS = 400  # more than that nobody listens to
_MOST_CHOICES = 60
_LONG = 40  # characters; longer texts may wrap
_MOST_ROWS = 40  # of a table whose sections are not folded
_PLAIN_BYTES = 8_000_000  # beyond that the data travels compressed
_RUN_COLUMNS = ("run_id", "protocol", "dataset", "method", "dialect", "backbone", "shots", "seed", "status")
_NUMERIC = ("shots", "seed")


def render_html(report: Report) -> str:
    """Return the whole page. Every text that comes from results is escaped by the template."""
    every = [*pivot_tables(report.results.rows), *report.tables]
    tables = [*map(table_view, every), *runs_view(report.results)]
    figures = [inline_figure(picture) for picture in pictures(report.results)]
    downloads = {
        f"table-{anchor(table.name)}": {"csv": render_csv(table), "tex": render_latex(table, report.title)}
        for table in every
    }
    template = Environment(autoescape=True).from_string(_file("page.html"))
    return template.render(
        title=report.title,
        summary=report.summary,
        problems=[list(_linked(problem, report)) for problem in report.problems],
        contents=[("summary", "Summary"), *((one["id"], one["title"]) for one in (*tables, *figures))],
        tables=tables,
        figures=figures,
        open_figures=len(figures) if len(figures) <= _OPEN_FIGURES else 4,
        version=__version__,
        style=Markup(_file("style.css")),
        script=Markup(_file("script.js")),
        runs=Markup(embedded_runs(report.results)),
        files=Markup(embedded("files", downloads)),
    )


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _linked(text: str, report: Report) -> Iterator[tuple[str, str]]:
    """Yield the parts of a sentence, each with the address of the run that it names."""
    for part in re.split(r"([^\s,;:()]+)", text):
        run_id = part.removesuffix(".")
        yield part, runs_link(run_id) if run_id in report.results.records else ""


def inline_figure(picture: Picture) -> dict[str, Any]:
    """Return what the page shows of a figure: drawing, title, caption and numbers."""
    name, drawn = f"figure-{anchor(picture.name)}", picture.draw()
    svg = Markup(inline_svg(render(drawn, "svg").decode(), name, picture.title))
    points = list(points_of(drawn))
    shown = {"svg": svg, "points": points if len(points) <= _MOST_POINTS else []}
    return {"id": name, "title": picture.title, "caption": picture.caption, **shown}


def points_of(figure: Figure) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield the numbers that a figure draws: panel, series, horizontal and vertical place, value where it is colour."""
    for axis in figure.axes:
        if axis.get_label() == "<colorbar>" or not axis.get_visible():
            continue
        ticks = (zip(one.get_majorticklocs(), one.get_ticklabels(), strict=False) for one in (axis.xaxis, axis.yaxis))
        across, down = ({float(at): text.get_text() for at, text in one} for one in ticks)
        panel = " ".join(axis.get_title().split()) or axis.get_xlabel()
        for container in axis.containers:
            if isinstance(container, ErrorbarContainer) and (line := container.lines[0]) is not None:
                for x, y in zip(np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float), strict=True):
                    yield panel, str(container.get_label()), _at(x, across), _at(y, down), ""
        for mesh in axis.collections:
            if isinstance(mesh, QuadMesh) and (values := mesh.get_array()) is not None:
                left = np.asarray(mesh.get_coordinates())[0, 0, 0] + 0.5
                named = " ".join(str(mesh.get_label()).split())
                part = panel if named.startswith("_") else named  # methods side by side, or the only one
                for (i, j), value in np.ndenumerate(np.ma.filled(values, np.nan)):
                    if value == value:
                        x = across.get(left + j, str(j + 1))
                        yield part, axis.get_ylabel(), x, down.get(i, str(i)), f"{value:.2f}"


def _at(value: float, names: dict[float, str]) -> str:
    near = round(value)
    named = names.get(float(near), "") if abs(value - near) < 0.3 else ""
    return named if named and not named.replace("\N{MINUS SIGN}", "").replace(".", "").isdigit() else f"{value:.4g}"


def inline_svg(svg: str, name: str, title: str) -> str:
    """Return matplotlib's SVG fit for standing inside a page: no prologue, no global style, ids of its own."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\b(id="|xlink:href="#|href="#|url\(#)', rf"\g<1>{name}-", body)
    body = body.replace("*{stroke-linejoin", f"#{name}-svg *{{stroke-linejoin")
    width = re.search(r'<svg[^>]* width="([\d.]+)pt"', body)
    limit = f"max-width:{float(width[1]) * 4 / 3:.0f}px" if width else ""
    head, _, rest = body.partition(">")
    head = re.sub(r' (width|height)="[\d.]+pt"', "", head)
    label = Markup.escape(title)
    return f'{head} id="{name}-svg" role="img" aria-label="{label}" style="{limit}">{rest.strip()}'


def runs_link(*run_ids: str) -> str:
    """Return the address that opens these runs."""
    return "#runs=" + ",".join(quote(run_id, safe="") for run_id in run_ids)


def table_view(table: Table) -> dict[str, Any]:
    """Return one table with its columns, sections, filters and notes."""
    sections = table.sections()
    words = [place for place, column in enumerate(table.columns) if not column.numeric]
    header = table.places.get("method", 0)
    others = [place for place in words if place != header]
    same = [k for k in others if all(len({row.cells[k].text for row in rows}) == 1 for rows in sections)]
    titles = [", ".join(f"{table.columns[k].title} {rows[0].cells[k].text}" for k in same) for rows in sections]
    fold = len(table.rows) > _MOST_ROWS and len(sections) > 1
    if not fold:
        same = []
    columns = [{"title": _heading(one), "numeric": one.numeric, "best": one.best} for one in table.columns]
    for k, one in enumerate(columns):
        one |= {"sec": k in same, "first": k == header}
    lines = [[_row(table, row, header, same) for row in rows] for rows in sections]
    choices = _choices((k, table.columns[k].title, [row.cells[k].text or "" for row in table.rows]) for k in words)
    return {
        "id": f"table-{anchor(table.name)}",
        "title": table.title.partition(":")[0],
        "caption": table.title,
        "columns": columns,
        "sections": list(zip(titles, lines, strict=True)),
        "choices": choices,
        "fold": fold,
        "files": True,
        "notes": notes(table),
    }


def _choices(columns: Iterable[tuple[int, str, list[str]]]) -> list[dict[str, Any]]:
    """Return the filters of columns (place, title, values): those with several values, and not too many."""
    found = [(place, title, list(dict.fromkeys(values))) for place, title, values in columns]
    fit = [one for one in found if 1 < len(one[2]) <= _MOST_CHOICES and "" not in one[2]]
    return [{"title": title, "place": place, "of": values} for place, title, values in fit]


def _heading(column: Column) -> str:
    return full_heading(column, " ") + (" [%]" if column.unit == "%" else "")


def _row(table: Table, row: Row, header: int, same: Sequence[int]) -> dict[str, Any]:
    shown = []
    for k, (cell, column, text) in enumerate(zip(row.cells, table.columns, texts_of(table, row), strict=True)):
        number = column.numeric and cell.value is not None
        kinds = {"number": column.numeric, "words": len(text) > _LONG, "sec": k in same, "first": k == header}
        one = {"kind": " ".join(kind for kind, there in kinds.items() if there), "text": text, "best": cell.best}
        tag, value = "th" if k == header and not column.numeric else "td", repr(cell.value) if number else None
        href = runs_link(*cell.run_ids) if number and cell.run_ids else ""
        shown.append({**one, "tag": tag, "value": value, "href": href})
    return {"kind": "free" if row.cells[header].text == "zero_shot" else "", "cells": shown}


# -- runs --------------------------------------------------------------------------------------------------------


def runs_view(results: Results) -> Iterator[dict[str, Any]]:
    """Yield the table of all runs, where there are any, each linked to its record, by protocol and data set."""
    runs = results.runs
    if runs.empty:
        return
    columns = [runs[key].map(number_word).tolist() for key in _RUN_COLUMNS]
    found = enumerate(zip(_RUN_COLUMNS, columns, strict=True))
    choices = _choices((place, TITLES[key], sorted(values)) for place, (key, values) in found if key != "run_id")
    lines = sorted(zip(*columns, strict=True), key=itemgetter(1, 2))
    sections = [
        (", ".join(place), [_line(values, results.records.get(values[0])) for values in group])
        for place, group in groupby(lines, key=itemgetter(1, 2))
    ]
    heads = [{"title": TITLES[key], "numeric": key in _NUMERIC, "first": key == "run_id"} for key in _RUN_COLUMNS]
    yield {
        "id": "runs",
        "title": "Runs",
        "caption": "Every run, with its config and its record",
        "columns": [*heads, {"title": "Error"}],
        "sections": sections,
        "choices": choices,
        "fold": len(lines) > _MOST_ROWS,
    }


def _line(values: tuple[str, ...], record: Mapping[str, Any] | None) -> dict[str, Any]:
    run_id, *rest = values
    first = {"tag": "th", "text": run_id, "kind": "first", "value": None, "href": runs_link(run_id)}
    cells = []
    for key, value in zip(_RUN_COLUMNS[1:], rest, strict=True):
        number = key in _NUMERIC and value != ""
        cells.append({"tag": "td", "text": value or "-", "kind": "number" * number, "value": value if number else None})
    failed = rest[-1] == "failed"
    error = error_of(record) if failed and record else ""
    last = {"tag": "td", "text": error, "kind": "words" * bool(error), "value": None}
    return {"kind": "failed" if failed else "", "cells": [first, *cells, last]}


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
    try:
        text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    except ValueError:  # a number that JSON has no word for
        text = json.dumps(finite(content), allow_nan=False, separators=(",", ":"))
    if len(text) > _PLAIN_BYTES:
        packed = base64.b64encode(gzip.compress(text.encode(), compresslevel=3, mtime=0)).decode()
        return f'<script type="text/plain" id="{name}" data-packed="gzip">{packed}</script>'
    # "</script>" or "<!--" inside a string would end or change the element.
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="{name}">{safe}</script>'
