"""`lamm-cl report`: the tables of one or several experiments' directories."""

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamm_cl.errors import UsageError, check_known

if TYPE_CHECKING:
    from lamm_cl.reports.report import Report

FORMATS = ("text", "markdown", "latex", "csv", "json", "html")
WIDTHS = ("column", "page")


def report(
    directories: Annotated[
        list[Path], typer.Argument(help="What `lamm-cl run --out` wrote, one or several.", metavar="DIR")
    ],
    form: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}.")] = "text",
    compare: Annotated[
        str | None, typer.Option(metavar="NAME", help="Published table beside it; see `lamm-cl list published`.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Paired differences to this method or experiment on the same seeds."),
    ] = None,
    methods: Annotated[str, typer.Option(metavar="A,B", help="Only these methods.")] = "",
    seeds: Annotated[str, typer.Option(metavar="1,2", help="Only these seeds.")] = "",
    datasets: Annotated[str, typer.Option(metavar="A,B", help="Only these data sets.")] = "",
    out: Annotated[Path | None, typer.Option(metavar="PATH", help="Write to this file [standard output].")] = None,
    tables: Annotated[Path | None, typer.Option(metavar="DIR", help="Also write each table as a CSV file.")] = None,
    figures: Annotated[Path | None, typer.Option(metavar="DIR", help="Also draw the figures: SVG, PNG, PDF.")] = None,
    width: Annotated[
        str | None, typer.Option(help="Draw them for a paper: column (3.3 inches) or page (6.9). [as wide as each is]")
    ] = None,
) -> None:
    """Print tables in the shape of the papers'; says what is missing and shows the rest.

    Several experiments stand in the same tables: as one where their settings agree, else side by side.

    HTML goes to DIR/report.html when no --out is given and standard output is a terminal.
    """
    from lamm_cl.reports import published
    from lamm_cl.reports.output import check_place
    from lamm_cl.reports.report import make_report
    from lamm_cl.reports.results import read_results

    check_known("format", [form], FORMATS)
    check_known("width", [] if width is None else [width], WIDTHS)
    if compare is not None:
        published.numbers(compare)
    for directory in directories:
        for place in filter(None, (out, figures, tables)):
            check_place(place, directory, wants_directory=place is not out)

    gc.disable()  # to look for cycles among the records of ten thousand runs takes seconds
    try:
        results = read_results(*directories).only(*map(_names, (methods, seeds, datasets)))
        _write(make_report(results, compare, against), form, out, tables, figures, width)
    finally:
        gc.enable()


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _write(
    made: "Report", form: str, out: Path | None, tables: Path | None, figures: Path | None, width: str | None
) -> None:
    from lamm_cl.files import write_out
    from lamm_cl.reports.names import spelled_out
    from lamm_cl.reports.output import render, show, write_tables

    if out is None and form == "html" and sys.stdout.isatty():
        out = made.results.directory / "report.html"
    try:
        for path in write_tables(made, tables) if tables is not None else ():
            typer.echo(path, err=True)
        if figures is not None:
            from lamm_cl.reports.figures.gallery import write_figures

            for path in write_figures(made.results, figures, width):
                typer.echo(path, err=True)
        if out is not None:
            write_out(out, render(made, form).encode())
            typer.echo(spelled_out(str(out)))
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or out}: {error.strerror}. Choose another path.") from error
    if out is None:
        show(made, form)
