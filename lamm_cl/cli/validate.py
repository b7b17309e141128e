"""`lamm-cl validate`: check config files without running them."""

from pathlib import Path
from typing import Annotated

import typer

_CHECKED_ONE_BY_ONE = 20_000


def validate(
    configs: Annotated[list[Path] | None, typer.Argument(help="Config files.", metavar="CONFIG.yaml ...")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the configs before the check.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of configs, for editors.")] = False,
) -> int:
    """Check config files: every error of every file, with line and nearest match."""
    from lamm_cl.errors import UsageError

    if schema:
        import json

        from lamm_cl.experiments.schema import config_schema

        typer.echo(json.dumps(config_schema(), indent=1))
        return 0
    if not configs:
        raise UsageError("name at least one config file, e.g. lamm-cl validate configs/quickstart.yaml.")
    from lamm_cl.experiments.config import read_config
    from lamm_cl.experiments.datasets import notes
    from lamm_cl.experiments.grid import grid, grid_size

    wrong = 0
    for path in configs:
        try:
            config = read_config(path, assignments or ())
            runs = grid_size(config)
            if runs <= _CHECKED_ONE_BY_ONE:
                grid(config)
        except UsageError as error:
            wrong += 1
            typer.echo(f"error: {error}", err=True)
        else:
            typer.echo(f"{path}: {config.experiment}, {runs} run{'s' * (runs != 1)}{_large(runs, config.max_runs)}")
            for note in notes(config, quick=True):
                typer.echo(f"  note: {note}")
    return 2 if wrong else 0


def _large(runs: int, most: int) -> str:
    return f" (more than {most}: doing them takes --yes)" if runs > most else ""
