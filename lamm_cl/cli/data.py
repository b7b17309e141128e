"""`lamm-cl data`: what is on disk, whether it is whole, and how to get the rest."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from lamm_cl.data.download.prepare import Outcome
    from lamm_cl.data.verify import Verification

app = typer.Typer(no_args_is_help=True, help="Show, check and fetch data sets.")

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Data sets; see `lamm-cl list datasets`.")]
Root = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of the data sets; default: $LAMM_CL_DATA, else ./data.")
]


@app.command("status")
def status_command(names: Names = None, root: Root = None) -> None:
    """Show what is there, what is missing and how large it is."""
    from rich.table import Table

    from lamm_cl.data.load import data_root
    from lamm_cl.data.status import status

    folder = data_root(root)
    rows = status(folder, _resolve(names))
    table = Table(title=f"Data sets in {escape(str(folder))}", title_justify="left")
    for column in ("Name", "State", "Split"):
        table.add_column(column, no_wrap=True)
    for column in ("Classes", "Images", "Size"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        images = f"{row.images:,} / {row.expected:,}" if row.expected else "-"
        size = _bytes(row.size) if row.size else "-"
        name = row.entry.name + (" (synthetic)" if row.entry.synthetic else "")
        classes = f"{row.classes} / {row.entry.classes}" if row.classes else f"- / {row.entry.classes}"
        table.add_row(name, row.state, row.split or "-", classes, images, size)
    console = _console()
    console.print(table)
    for row in rows:
        if row.note and row.state != "absent":
            console.print(f"{row.entry.name}: {row.note}", markup=False)
    absent = [row.entry.name for row in rows if row.state == "absent"]
    if absent:
        console.print(f"`lamm-cl data prepare NAME --root {folder}` fetches what is absent.", markup=False)


@app.command("verify")
def verify_command(names: Names = None, root: Root = None) -> None:
    """Open every image of the named data sets (default: all that are there); exit 1 when one is not whole."""
    from lamm_cl.data.catalogue import CATALOGUE
    from lamm_cl.data.load import data_root, load_dataset
    from lamm_cl.data.status import is_absent
    from lamm_cl.errors import UsageError

    folder = data_root(root)
    absent = {name for name, entry in CATALOGUE.items() if is_absent(entry, folder)}
    chosen = _resolve(names) or [name for name, entry in CATALOGUE.items() if not entry.embedded and name not in absent]
    if not chosen:
        raise UsageError(f"{folder} holds none of the catalogue's data sets. Name one, or give another --root.")
    for name in chosen:
        if name in absent:
            load_dataset(name, folder)  # says so, before the others are opened
    console = _console()
    whole = [_verify(console, name, folder) for name in chosen]
    if not all(whole):
        raise typer.Exit(1)


def _verify(console: Console, name: str, folder: Path) -> bool:
    """Verify one data set and say what was found; one that cannot be read at all does not stop the others."""
    from rich.progress import Progress

    from lamm_cl.data.load import load_dataset
    from lamm_cl.data.verify import verify
    from lamm_cl.errors import UsageError

    try:
        dataset = load_dataset(name, folder)
        with Progress(console=_console(stderr=True), transient=True) as bar:
            task = bar.add_task(dataset.name, total=len(dataset.items))
            found = verify(dataset, partial(_advance, bar, task))
    except UsageError as error:
        console.print(f"{name}: {error}", markup=False)
        return False
    return _tell_verified(console, found)


@app.command("prepare")
def prepare_command(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Data sets; see `lamm-cl list datasets`.")],
    root: Root = None,
) -> None:
    """Fetch data sets; say exactly what is damaged or by hand. Exit 1 when something failed or is left to do."""
    from lamm_cl.data.download.prepare import Tools, prepare
    from lamm_cl.data.load import data_root

    folder = data_root(root)
    console = _console()
    complete = True
    for name in _resolve(names) or []:
        with _Meter() as meter:
            outcome = prepare(name, folder, Tools(report=meter))
        _tell_prepared(console, outcome)
        complete = complete and outcome.complete
    if not complete:
        raise typer.Exit(1)


def _advance(bar: "Progress", task: "TaskID", done: int, total: int) -> None:
    bar.update(task, completed=done, total=total)


class _Meter:
    """Shows one progress bar per file that is being fetched."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=_console(stderr=True))
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "_Meter":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, name: str, done: int, total: int | None) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(escape(name), total=total)
        self._bar.update(self._tasks[name], completed=done, total=total)


def _resolve(names: list[str] | None) -> list[str] | None:
    """Return catalogue names, all checked before any work starts; None when none were given."""
    from lamm_cl.data.catalogue import find

    return list(dict.fromkeys(find(name).name for name in names)) if names else None


def _tell_verified(console: Console, found: "Verification") -> bool:
    for note in found.warnings:
        console.print(f"note: {note}", markup=False)
    for problem in found.problems[:20]:
        console.print(f"  {problem}", markup=False)
    if len(found.problems) > 20:
        console.print(f"  ... and {len(found.problems) - 20:,} more", markup=False)
    verdict = "whole" if found.content else f"{len(found.problems):,} of {found.images:,} images are not usable"
    console.print(f"{found.name}: {found.images:,} images, {verdict}", markup=False)
    console.print(f"  split fingerprint   {found.fingerprint}", markup=False)
    if found.content:
        console.print(f"  content fingerprint {found.content}", markup=False)
    return found.content is not None


def _tell_prepared(console: Console, outcome: "Outcome") -> None:
    console.print(f"{outcome.name}:", markup=False)
    groups = {
        "there": outcome.present,
        "fetched": outcome.fetched,
        "by hand": outcome.by_hand,
        "failed": outcome.failed,
        "damaged": outcome.damaged,
        "note": outcome.notes,
    }
    for word, lines in groups.items():
        for line in lines:
            console.print(f"  {word}: {line}", markup=False)


def _console(stderr: bool = False) -> Console:
    # Piped output keeps whole lines: a path that is broken in two cannot be copied.
    console = Console(stderr=stderr, soft_wrap=True)
    return console if console.is_terminal else Console(stderr=stderr, soft_wrap=True, width=160)


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return ""
