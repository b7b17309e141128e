"""`lamm-cl work`: join a grid from anywhere that sees its directory."""

from pathlib import Path
from typing import Annotated

import typer


def work(
    directory: Annotated[Path, typer.Argument(help="What `lamm-cl run` writes to.", metavar="DIR")],
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N [the kind that the grid is for].")] = None,
) -> int:
    """Join a grid: do the runs that nobody has, until none is left to claim. Any number of these may work at once."""
    from lamm_cl.experiments.grid_file import Grid
    from lamm_cl.records import ExperimentDirectory

    Grid.read(ExperimentDirectory(directory))  # a wrong directory is answered before the machinery is imported
    from rich.console import Console

    from lamm_cl.experiments.join import join

    return join(directory, device, Console())
