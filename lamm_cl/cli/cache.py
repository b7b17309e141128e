"""`lamm-cl cache`: what the cached image features take, and how to get rid of them."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from lamm_cl.cli.listing import show
from lamm_cl.clip.cache_folder import clear, default_folder, limit, status
from lamm_cl.errors import UsageError
from lamm_cl.files import size_in_words

app = typer.Typer(help="Cached image features: what is there, and clear it.", no_args_is_help=True)

Folder = Annotated[
    Path | None,
    typer.Option("--dir", help="Folder of the cache; default: $LAMM_CL_CACHE or ~/.cache/lamm_cl/features."),
]


@app.command("status")
def status_command(
    folder: Folder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show what is cached: per backbone, how many features in how many views, how large, when last used."""
    where = folder or default_folder()
    scopes = status(where)
    total = sum(scope["bytes"] for scope in scopes)
    if as_json:
        typer.echo(json.dumps({"folder": str(where), "bytes": total, "limit": limit(), "scopes": scopes}, indent=1))
        return
    if not scopes:
        typer.echo(f"{where}: nothing is cached.")
        return
    rows = []
    for scope in scopes:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(scope["used"])) if scope["used"] else "-"
        shown = [scope[key] for key in ("backbone", "pretrained", "device", "features", "views")]
        rows.append((*shown, size_in_words(scope["bytes"]), used))
    show(("backbone", "weights", "device", "features", "views", "size", "last used"), rows)
    room = f"{size_in_words(total)} of at most {size_in_words(limit())}"
    typer.echo(f"{where}: {room}; what was used longest ago goes first.")


@app.command("clear")
def delete(
    folder: Folder = None,
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="DAYS", help="Keep what was used in the last DAYS days.")
    ] = 0.0,
) -> None:
    """Delete cached features. Nothing is lost but the time to compute them again."""
    if not older_than >= 0:  # nan is neither, and would keep nothing
        raise UsageError(f"--older-than {older_than}: it must be a number of days, 0 or more, such as 30.")
    where = folder or default_folder()
    images, freed = clear(where, older_than)
    typer.echo(f"{where}: deleted {images} features, {size_in_words(freed)}.")
