"""`lamm-cl run`: do an experiment, or what is left of it."""

import sys
from pathlib import Path
from typing import Annotated

import typer


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
    from lamm_cl.errors import UsageError
    from lamm_cl.experiments.config import read_config

    if as_json and dry_run:
        raise UsageError("--json says how runs ended, and --dry-run does none: leave one of them out")
    experiment = read_config(config, assignments or ())
    if available:
        from lamm_cl.experiments.datasets import only_available

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
