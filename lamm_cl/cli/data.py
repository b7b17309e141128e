"""`lamm-cl data`: what is on disk, whether it is whole, and how to get the rest."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from lamm_cl.errors import UsageError
from lamm_cl.files import size_in_words

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from lamm_cl.data.status import Status

app = typer.Typer(no_args_is_help=True, help="Show, check and fetch data sets.")

_WHAT = "Data sets (see `lamm-cl list datasets`), `all`, or config files, whose data sets are meant."
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help=_WHAT)]
_PLACE = "Folder of the data sets; default: the config's, else $LAMM_CL_DATA, else ./data."
Root = Annotated[Path | None, typer.Option(metavar="DIR", help=_PLACE)]


@app.command("status")
def status_command(
    names: Names = None,
    root: Root = None,
    sizes: Annotated[
        bool, typer.Option("--sizes", help="Also ask for the size of every image, which takes a while.")
    ] = False,
) -> None:
    """Show what is there and what is missing."""
    from rich.console import Console
    from rich.table import Table

    from lamm_cl.data.status import state_of

    targets = _targets(names or ["all", "digits", "glyphs"], root)
    rows = [state_of(spec, folder, sizes) for spec, folder in targets]
    folders = list(dict.fromkeys(str(folder) for _, folder in targets))
    table = Table(title=f"Data sets in {escape(', '.join(folders))}", title_justify="left")
    for column in ("Name", "State", "Split"):
        table.add_column(column, no_wrap=True)
    for column in ("Classes", "Images", *(["Size"] if sizes else [])):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        images = f"{row.images:,} / {row.expected:,}" if row.expected else "-"
        name = row.name + (" (synthetic)" if row.entry and row.entry.synthetic else "")
        classes = " / ".join([str(row.classes or "-"), *([str(row.entry.classes)] if row.entry else [])])
        size = [size_in_words(row.size) if row.size else "-"] if sizes else []
        table.add_row(escape(name), row.state, row.split or "-", classes, images, *size)
    # Piped output keeps whole lines: a path that is broken in two cannot be copied.
    Console(soft_wrap=True, width=None if sys.stdout.isatty() else 160).print(table)
    for row in rows:
        if row.note and (row.state != "absent" or "lies at" in row.note):
            typer.echo(f"{row.name}: {row.note}")
    if any(row.state == "absent" for row in rows):
        typer.echo(f"`lamm-cl data prepare NAME --root {folders[0]}` fetches what is absent.")


@app.command("verify")
def verify_command(names: Names = None, root: Root = None) -> None:
    """Open every image of the named data sets (default: all that are there); exit 1 when one is not whole."""
    from lamm_cl.data.load import load_dataset
    from lamm_cl.data.status import state_of

    targets = _targets(names or ["all"], root)
    states = [state_of(spec, folder) for spec, folder in targets]
    if names is None or names == ["all"]:
        states = [state for state in states if state.state != "absent"]
    else:
        for (spec, folder), state in zip(targets, states, strict=True):
            if state.state == "absent":
                load_dataset(spec, folder)  # says so, before the others are opened
    if not states:
        raise UsageError(f"{targets[0][1]} holds none of the catalogue's data sets. Name one, or give another --root.")
    whole = [_verify(state) for state in states]
    if not all(whole):
        raise typer.Exit(1)


def _verify(state: "Status") -> bool:
    """Verify one data set and say what was found; one that cannot be read at all does not stop the others."""
    from rich.console import Console
    from rich.progress import Progress

    from lamm_cl.data.verify import verify

    if state.dataset is None:
        typer.echo(f"{state.name}: {state.note}")
        return False
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(state.name, total=len(state.dataset.items))
        found = verify(state.dataset, lambda done, total: bar.update(task, completed=done, total=total))
    lines = [f"note: {note}" for note in found.warnings] + [f"  {problem}" for problem in found.problems[:20]]
    if len(found.problems) > 20:
        lines.append(f"  ... and {len(found.problems) - 20:,} more")
    verdict = "whole" if found.content else f"{len(found.problems):,} of {found.images:,} images are not usable"
    lines += [f"{found.name}: {found.images:,} images, {verdict}", f"  split               {state.split}"]
    lines.append(f"  split fingerprint   {found.fingerprint}")
    if found.content:
        lines.append(f"  content fingerprint {found.content}")
    typer.echo("\n".join(lines))
    return found.content is not None


@app.command("prepare")
def prepare_command(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help=_WHAT)],
    root: Root = None,
    local: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Folder with files that need not be fetched.")
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Link or move what lies elsewhere into place.")] = False,
) -> None:
    """Fetch data sets; say exactly what is damaged or by hand. Exit 1 when something failed or is left to do.

    LAMM_CL_MIRROR is an address, or a folder, that is asked before the makers' addresses.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from lamm_cl.data.download.prepare import Tools, prepare
    from lamm_cl.data.load import load_dataset
    from lamm_cl.data.own_data import is_own

    if local is not None and not local.is_dir():
        raise UsageError(f"--from {local} is no folder.")
    complete = True
    for spec, folder in _targets(names, root):
        if is_own(spec):  # a library may fetch it; what else is wrong with it is said
            try:
                dataset = load_dataset(spec, folder)
                typer.echo(f"{dataset.name}:\n  there: {dataset.folder}")
            except UsageError as error:
                typer.echo(str(error))
                complete = False
            continue
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True, width=None if sys.stderr.isatty() else 160)) as bars:
            tools = Tools(report=partial(_show_file, bars, {}), local=local, fix=fix)
            outcome = prepare(spec["name"] if isinstance(spec, dict) else spec, folder, tools)
        typer.echo(f"{outcome.name}:")
        groups = {"there": outcome.present, "put in place": outcome.fixed, "fetched": outcome.fetched}
        groups |= {"by hand": outcome.by_hand, "failed": outcome.failed, "damaged": outcome.damaged}
        groups |= {"optional, not fetched": outcome.optional, "note": outcome.notes}
        for line in (f"  {word}: {line}" for word, lines in groups.items() for line in lines):
            typer.echo(line)
        complete = complete and outcome.complete
    if not complete:
        raise typer.Exit(1)


def _show_file(bars: "Progress", tasks: "dict[str, TaskID]", name: str, done: int, total: int | None) -> None:
    """Show how much of a file has been fetched."""
    if name not in tasks:
        tasks[name] = bars.add_task(escape(name), total=total)
    bars.update(tasks[name], completed=done, total=total)


def _targets(names: list[str], root: Path | None) -> list[tuple[Any, Path]]:
    """Return the data sets that are meant, each once with the folder that it is in; all checked before any work."""
    from lamm_cl.data.catalogue import CATALOGUE, find
    from lamm_cl.data.load import data_root

    found: list[tuple[Any, Path]] = []
    for name in names:
        if name == "all":
            found += [(one, data_root(root)) for one, entry in CATALOGUE.items() if not entry.embedded]
        elif name.lower().endswith((".yaml", ".yml")):
            from lamm_cl.experiments.config import read_config
            from lamm_cl.experiments.grid import data_of, root_of

            config = read_config(name)
            found += [(one, data_root(root) if root else root_of(config)) for one in data_of(config)]
        else:
            found.append((find(name).name, data_root(root)))
    return [one for k, one in enumerate(found) if one not in found[:k]]
