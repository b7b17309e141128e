"""A whole report as text, Markdown, LaTeX, CSV, JSON or HTML, and where it goes: never over an experiment's own."""

import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from lamm_cl.errors import UsageError
from lamm_cl.files import mode_of, write_out
from lamm_cl.reports.names import anchor, spelled_out
from lamm_cl.reports.report import Report
from lamm_cl.reports.tables import latex_document, render_csv, render_markdown, render_rich, render_text
from lamm_cl.reports.tables.model import Cell
from lamm_cl.reports.tables.render import exact, markdown_escape, notes

_MOST_RICH_ROWS = 400  # laying out more takes a console longer than a reader waits


def render(report: Report, form: str) -> str:
    """Return the report in one of the formats text, markdown, latex, csv, json, html."""
    if form == "html":
        from lamm_cl.reports.html import render_html

        return str(spelled_out(render_html(report)))
    forms = {"text": _text, "markdown": _markdown, "latex": _latex, "csv": _csv, "json": _json}
    return str(spelled_out(forms[form](report)))


def show(report: Report, form: str) -> None:
    """Print the report: with colours and bold in a terminal, as it would be written to a file elsewhere."""
    for problem in report.problems if form == "csv" else ():  # they must not stand between the rows, nor be lost
        print(problem, file=sys.stderr)
    if form != "text" or not sys.stdout.isatty():
        sys.stdout.write(render(report, form))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(_head(report)))
    for table in report.tables:
        console.print()
        made = render_rich(table) if len(table.rows) <= _MOST_RICH_ROWS else None
        if made is None or console.measure(made).minimum > console.width:
            sys.stdout.write(render_text(table))
        else:
            console.print(made)


def _head(report: Report) -> str:
    missing = ["", "What is missing:", *(f"  - {problem}" for problem in report.problems)] if report.problems else []
    return "\n".join([report.title, *report.summary, *missing])


def _text(report: Report) -> str:
    return "\n".join([_head(report) + "\n", *map(render_text, report.tables)])


def _markdown(report: Report) -> str:
    lines = [f"# {markdown_escape(report.title)}", "", *map(markdown_escape, report.summary)]
    if report.problems:
        lines += ["", "## What is missing", "", *(f"- {markdown_escape(problem)}" for problem in report.problems)]
    return "\n\n".join(["\n".join(lines), *(render_markdown(table).rstrip("\n") for table in report.tables)]) + "\n"


def _latex(report: Report) -> str:
    lines = [report.title, *report.summary, *(f"Missing: {problem}" for problem in report.problems)]
    comments = "".join(f"% {' '.join(line.split())}\n" for line in lines)
    return comments + latex_document(list(report.tables), report.title)


def _csv(report: Report) -> str:
    """Return all tables in one CSV, a row per table row; `table` says which, columns of other tables are empty.

    What is to be known of the data stands in the last column.
    """
    parts = [exact(one).assign(table=one.name, data_notes="; ".join(one.data_notes)) for one in report.tables]
    whole = pd.concat([pd.DataFrame(columns=["table", "data_notes"]), *parts])
    said = whole.pop("data_notes")
    whole = whole.assign(data_notes=said) if said.any() else whole
    return whole.to_csv(index=False, lineterminator="\n")


def write_tables(report: Report, directory: Path) -> Iterator[Path]:
    """Write each table as a CSV file of its own into `directory`, which is made where absent; yields the files."""
    directory.mkdir(parents=True, exist_ok=True)
    for table in report.tables:
        path = directory / f"{anchor(table.name, '_')}.csv"
        write_out(path, spelled_out(render_csv(table)).encode())
        yield path


def _json(report: Report) -> str:
    """Return everything that the tables hold, unrounded; what was not measured is null."""
    tables = [
        {
            "name": table.name,
            "title": table.title,
            "columns": [{key: getattr(one, key) for key in ("key", "title", "group", "unit")} for one in table.columns],
            "rows": [dict(zip(table.places, map(_json_cell, row.cells), strict=True)) for row in table.rows],
            "notes": notes(table),
        }
        for table in report.tables
    ]
    content = {"title": report.title, "summary": report.summary, "problems": report.problems, "tables": tables}
    return json.dumps(spelled_out(content), indent=1, allow_nan=False) + "\n"


def _json_cell(cell: Cell) -> Any:
    if cell.text is not None or cell.value is None:
        return cell.text
    found = {"mean": cell.value, "std": cell.std, "seeds": cell.seeds or None, "mark": cell.mark or None}
    return {**{key: value for key, value in found.items() if value is not None}, "runs": cell.run_ids}


def check_place(path: Path, experiment: Path, wants_directory: bool = False) -> None:
    """Refuse a path that cannot be written, or that is an experiment's own, before any work is done.

    Raises:
        UsageError: `path` is of the other kind, or belongs to this experiment or another one.
    """
    wanted, other = ("directory", "file") if wants_directory else ("file", "directory")
    mode = mode_of(path)
    if mode and stat.S_ISDIR(mode) != wants_directory:
        raise UsageError(f"{path} is a {other}. Give the name of a {wanted}.")
    place = Path(os.path.realpath(path))
    others = (parent for parent in place.parents if mode_of(parent / "experiment.json"))
    for home in (Path(os.path.realpath(experiment)), *others):
        own = [home / "runs.csv", home / "experiment.json"]
        if place in own or Path(os.path.realpath(home / "runs")) in (place, *place.parents):
            raise UsageError(f"{path} belongs to the results of the experiment in {home}. Choose another path.")
