"""`lamm-cl report`: the tables of one or several experiments' directories."""

import contextlib
import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

FORMATS = ("text", "markdown", "latex", "csv", "html")
WIDTHS = ("column", "page")


def report(
    directories: Annotated[
        list[Path], typer.Argument(help="What `lamm-cl run --out` wrote, one or several.", metavar="DIR")
    ],
    form: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}.")] = "text",
    compare: Annotated[
        str | None, typer.Option(metavar="NAME", help="Published table beside it; see `lamm-cl list published`.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="PATH", help="Write to this file [standard output].")] = None,
    figures: Annotated[Path | None, typer.Option(metavar="DIR", help="Also draw the figures: SVG, PNG, PDF.")] = None,
    width: Annotated[
        str | None, typer.Option(help="Draw them for a paper: column (3.3 inches) or page (6.9). [as wide as each is]")
    ] = None,
) -> int:
    """Print tables in the shape of the papers'; says what is missing and shows the rest.

    Several experiments stand in the same tables: as one where their settings agree, else side by side.

    HTML goes to DIR/report.html when no --out is given and standard output is a terminal.
    """
    from lamm_cl.errors import unknown
    from lamm_cl.reports import published
    from lamm_cl.reports.place import check_place

    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    if width not in (None, *WIDTHS):
        raise unknown("width", width or "", WIDTHS)
    if compare is not None:
        published.numbers(compare)
    for directory in directories:
        if out is not None:
            check_place(out, directory)
        if figures is not None:
            check_place(figures, directory, wants_directory=True)

    with _no_collector():
        _write(directories, form, compare, out, figures, width)
    return 0


def _write(
    directories: list[Path],
    form: str,
    compare: str | None,
    out: Path | None,
    figures: Path | None,
    width: str | None,
) -> None:
    from lamm_cl.errors import UsageError
    from lamm_cl.reports.names import spelled_out
    from lamm_cl.reports.output import render, show
    from lamm_cl.reports.place import write_out
    from lamm_cl.reports.report import make_report
    from lamm_cl.reports.results import read_results

    made = make_report(read_results(*directories), compare)
    if out is None and form == "html" and sys.stdout.isatty():
        out = directories[0] / "report.html"
    try:
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


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Let nobody look for garbage cycles: with the records of ten thousand runs in memory it takes seconds."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
