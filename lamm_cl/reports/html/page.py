"""The page: what the template is filled with, and the data that the script shows on demand."""

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from matplotlib.collections import QuadMesh
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from lamm_cl import __version__
from lamm_cl.reports.figures.gallery import Picture, pictures
from lamm_cl.reports.figures.style import render
from lamm_cl.reports.html.tables import anchor, embedded, embedded_runs, runs_link, runs_view, table_view
from lamm_cl.reports.report import Report
from lamm_cl.reports.tables.across import pivot_tables
from lamm_cl.reports.tables.render import render_csv, render_latex

_OPEN_FIGURES = 12  # of more, the first four: the page must load and print in seconds
_MOST_POINTS = 400  # more than that nobody listens to


def render_html(report: Report) -> str:
    """Return the whole page. Every text that comes from results is escaped by the template."""
    every = [*pivot_tables(report.results.rows), *report.tables]
    tables = [table_view(table) for table in every]
    figures = [inline_figure(picture) for picture in pictures(report.results)]
    runs = runs_view(report.results)
    tables += [runs] if runs else []
    downloads = {
        f"table-{anchor(table.name)}": {"csv": render_csv(table), "tex": render_latex(table, report.title)}
        for table in every
    }
    contents = [(one["id"], one["title"]) for one in (*tables, *figures)]
    template = Environment(autoescape=True).from_string(_file("page.html"))
    return template.render(
        title=report.title,
        summary=report.summary,
        problems=[list(_linked(problem, report)) for problem in report.problems],
        contents=[("summary", "Summary"), *contents],
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
    known = report.results.records
    for part in re.split(r"([^\s,;:()]+)", text):
        yield part, runs_link(part.removesuffix(".")) if part.removesuffix(".") in known else ""


def inline_figure(picture: Picture) -> dict[str, Any]:
    """Return what the page shows of a figure: drawing, title, caption and numbers."""
    name, drawn = f"figure-{anchor(picture.name)}", picture.draw()
    svg = inline_svg(render(drawn, "svg").decode(), name, picture.title)
    shown = {"id": name, "title": picture.title, "caption": picture.caption}
    points = list(points_of(drawn))
    return {**shown, "svg": Markup(svg), "points": points if len(points) <= _MOST_POINTS else []}


def points_of(figure: Figure) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield the numbers that a figure draws: panel, series, horizontal and vertical place, value where it is colour."""
    for axis in figure.axes:
        if axis.get_label() == "<colorbar>" or not axis.get_visible():
            continue
        across, down = (
            {
                float(at): text.get_text()
                for at, text in zip(one.get_majorticklocs(), one.get_ticklabels(), strict=False)
            }
            for one in (axis.xaxis, axis.yaxis)
        )
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
