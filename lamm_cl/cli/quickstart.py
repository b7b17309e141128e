"""`lamm-cl quickstart`: the main job in small, from nothing to a table and a picture."""

import sys
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer


def quickstart(
    out: Annotated[Path, typer.Option(help="Directory of the results.")] = Path("quickstart_results"),
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:N or auto.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Worker processes [one a core].")] = None,
) -> int:
    """Train zero-shot CLIP, CoOp, MaPLe and LAMM on digits 0-4, then 5-9, and print what each of them keeps."""
    from rich.console import Console

    from lamm_cl.experiments.config import read_config
    from lamm_cl.experiments.plan import Request
    from lamm_cl.experiments.run import run_experiment

    with as_file(files("lamm_cl.experiments") / "quickstart.yaml") as path:
        config = read_config(path)
    console = Console()
    request = Request(out=out, device=device, jobs=jobs, command=["lamm-cl", *sys.argv[1:]])
    code = run_experiment(config, request, console)
    if code in (0, 1):  # not when the user has stopped it
        show_results(out)
    return code


def show_results(out: Path) -> None:
    """Print the table of the paper's form, and draw the accuracy matrix beside `runs.csv`."""
    from lamm_cl.reports.figures import accuracy_matrix, save
    from lamm_cl.reports.results import read_results
    from lamm_cl.reports.tables import PROTOCOLS, render_text

    results = read_results(out)
    rows = results.frame
    if rows["value"].notna().any():
        typer.echo()
        typer.echo(render_text(PROTOCOLS["class_incremental"].table(rows)))
        save(accuracy_matrix(rows), out / "accuracy_matrix")
        typer.echo(f"Figure of the accuracy matrix: {out / 'accuracy_matrix.png'} (and .svg)")
    typer.echo(f"More: lamm-cl report {out}")
