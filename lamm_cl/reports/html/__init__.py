"""The report as one HTML file that needs nothing else and asks for nothing.

Every number leads to its runs, and each run to its config and record; the script shows that data on demand.
"""

import base64
import gzip
import json
import re
from collections.abc import Iterator
from importlib.resources import files
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
from lamm_cl.records.record import FAILED
from lamm_cl.reports.figures.gallery import Picture, pictures
from lamm_cl.reports.figures.style import render
from lamm_cl.reports.names import anchor, number_word
from lamm_cl.reports.report import Report
from lamm_cl.reports.results import Results, error_of
from lamm_cl.reports.tables.collect import TITLES
from lamm_cl.reports.tables.extra import pivot_tables
from lamm_cl.reports.tables.model import MISSING, Cell, Column, Row, Table
from lamm_cl.reports.tables.render import full_heading, notes, render_csv, render_latex, texts_of

_OPEN_FIGURES = 12  # of more, the first four: the page must load and print in seconds
_MOST_POINTS = 400  # more than that nobody listens to
_MOST_CHOICES = 60
_MOST_ROWS = 40  # of a table whose sections are not folded
_RUN_COLUMNS = ("run_id", "protocol", "dataset", "method", "dialect", "backbone", "shots", "seed", "status")


def render_html(report: Report) -> str:
    """Return the whole page. Every text that comes from results is escaped by the template."""
    every = [(f"table-{anchor(one.name)}", one) for one in (*pivot_tables(report.results.rows), *report.tables)]
    tables = [table_view(name, one) for name, one in (*every, ("runs", runs_table(report.results))) if one.rows]
    figures = [inline_figure(picture) for picture in pictures(report.results)]
    downloads = {name: {"csv": render_csv(one), "tex": render_latex(one, report.title)} for name, one in every}
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
        heading=full_heading,
        notes=notes,
        runs_link=runs_link,
        texts_of=texts_of,
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
    svg = Markup(inline_svg(drawn, name, picture.title))
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


def inline_svg(figure: Figure, name: str, title: str) -> str:
    """Return matplotlib's SVG fit for standing inside a page: ids of its own, no wider than it was drawn."""
    body = render(figure, "svg").decode().partition("<svg ")[2]
    body = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    width = f"max-width:{96 * figure.get_figwidth():.0f}px"
    return f'<svg id="{name}-svg" role="img" aria-label="{Markup.escape(title)}" style="{width}" {body}'


def runs_link(*run_ids: str) -> str:
    """Return the address that opens these runs."""
    return "#runs=" + ",".join(quote(run_id, safe="") for run_id in run_ids)


def table_view(name: str, table: Table) -> dict[str, Any]:
    """Return one table with its id, its sections and its filters."""
    sections = table.sections()
    header = table.places.get("run_id", table.places.get("method", 0))
    words = {k: one.title for k, one in enumerate(table.columns) if not one.numeric}
    values = {k: list(dict.fromkeys(row.cells[k].text or "" for row in table.rows)) for k in words}
    same = [k for k in words if k != header and all(len({row.cells[k].text for row in one}) == 1 for one in sections)]
    titles = [", ".join(f"{words[k]} {rows[0].cells[k].text}" for k in same) for rows in sections]
    fold = len(table.rows) > _MOST_ROWS and bool(same)
    fit = [
        k
        for k, one in values.items()
        if 1 < len(one) <= _MOST_CHOICES and "" not in one and k != table.places.get("run_id")
    ]
    return {
        "id": name,
        "title": table.title.partition(":")[0],
        "table": table,
        "sections": list(zip(titles, sections, strict=True)),
        "header": header,
        "same": same if fold else [],
        "choices": [(k, words[k], values[k]) for k in fit],
        "fold": fold,
    }


# -- runs --------------------------------------------------------------------------------------------------------


def runs_table(results: Results) -> Table:
    """Return the table of all runs, each linked to its record, by protocol and data set."""
    rows = []
    for run in results.runs.sort_values(["protocol", "dataset"], kind="stable").to_dict("records"):
        name, *words = (number_word(run[key]) or MISSING for key in _RUN_COLUMNS)
        failed = run["status"] == FAILED and name in results.records
        texts = [*words, error_of(results.records[name]) if failed else ""]
        cells = (Cell(text=name, run_ids=(name,)), *(Cell(text=text) for text in texts))
        rows.append(Row(cells, f"{run['protocol']}/{run['dataset']}"))
    columns = (*(Column(key, TITLES[key]) for key in _RUN_COLUMNS), Column("error", "Error"))
    return Table("runs", "Runs: every run, with its config and its record", columns, tuple(rows))


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
    """Return a script element of this id with JSON, compressed: it is short, and no text in it can end the element."""
    try:
        text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    except ValueError:  # a number that JSON has no word for
        text = json.dumps(finite(content), allow_nan=False, separators=(",", ":"))
    packed = base64.b64encode(gzip.compress(text.encode(), compresslevel=3, mtime=0)).decode()
    return f'<script type="text/plain" id="{name}">{packed}</script>'
