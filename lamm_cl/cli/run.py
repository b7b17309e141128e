"""`lamm-cl run`, `work` and `quickstart`: do an experiment, or what is left of it."""

import sys
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from lamm_cl.errors import UsageError


def run(
    config: Annotated[Path, typer.Argument(help="The experiment, a YAML file.", metavar="CONFIG.yaml")],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the config, e.g. methods.lamm.lr=0.01."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the results [runs/EXPERIMENT].")] = None,
    executor: Annotated[str, typer.Option(help="Where runs go: local or slurm.")] = "local",
    jobs: Annotated[int | None, typer.Option(help="Worker processes [one a core], or jobs on the cluster.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:N or auto [as the config says].")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show runs and costs, do nothing.")] = False,
    available: Annotated[bool, typer.Option("--available", help="Leave out data sets that are not there.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it although the grid is large.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say how it ended, nothing before.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Say how it ended as one JSON object; all else goes to stderr.")
    ] = False,
) -> int:
    """Run an experiment: skips what is done, tries again what failed, and can be stopped and repeated at any time."""
    from lamm_cl.experiments.config import read_config

    if as_json and dry_run:
        raise UsageError("--json says how runs ended, and --dry-run does none: leave one of them out")
    experiment = read_config(config, assignments or ())
    if available:
        from lamm_cl.experiments.grid import only_available

        experiment, missing = only_available(experiment)
        for state in missing:
            typer.echo(f"left out: {state.name}: {state.note}", err=as_json)
    # After the config's check: a wrong one is answered before the machinery is imported.
    from rich.console import Console

    from lamm_cl.experiments.plan import Request
    from lamm_cl.experiments.run import run_experiment

    request = Request(out, executor, jobs, device, yes, dry_run, ["lamm-cl", *sys.argv[1:]])
    progress = Console(stderr=as_json, quiet=quiet and not dry_run)
    return run_experiment(experiment, request, progress, end=Console(), as_json=as_json)


def work(
    directory: Annotated[Path, typer.Argument(help="What `lamm-cl run` writes to.", metavar="DIR")],
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N [the kind that the grid is for].")] = None,
) -> int:
    """Join a grid: do the runs that nobody has, until none is left to claim. Any number of these may work at once."""
    from lamm_cl.experiments.spec import Grid
    from lamm_cl.records import ExperimentDirectory

    Grid.read(ExperimentDirectory(directory))  # a wrong directory is answered before the machinery is imported
    from rich.console import Console

    from lamm_cl.experiments.run import join

    return join(directory, device, Console())


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
    request = Request(out=out, device=device, jobs=jobs, command=["lamm-cl", *sys.argv[1:]])
    code = run_experiment(config, request, Console())
    if code in (0, 1):  # not when the user has stopped it
        _show_results(out)
    return code


def _show_results(out: Path) -> None:
    """Print the table of the paper's form, and draw the accuracy matrix beside `runs.csv`."""
    from lamm_cl.reports.figures import accuracy_matrix, save
    from lamm_cl.reports.results import read_results
    from lamm_cl.reports.tables import PROTOCOLS, render_text

    rows = read_results(out).frame
    if rows["value"].notna().any():
        typer.echo()
        typer.echo(render_text(PROTOCOLS["class_incremental"].table(rows)))
        save(accuracy_matrix(rows), out / "accuracy_matrix")
        typer.echo(f"Figure of the accuracy matrix: {out / 'accuracy_matrix.png'} (and .svg)")
    typer.echo(f"More: lamm-cl report {out}")
