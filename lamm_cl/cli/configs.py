"""`lamm-cl init` and `validate`: write a config for pictures of one's own, and check configs without running them."""

import re
from pathlib import Path
from typing import Annotated

import typer

from lamm_cl.errors import UsageError

TEXT = """\
# An experiment on pictures of your own. Check it with `lamm-cl validate {name}`, see what it costs with
# `lamm-cl run {name} --dry-run`, do it with `lamm-cl run {name}`, read it with `lamm-cl report runs/{title}`.
# configs/README.md explains every key; `lamm-cl list methods` (datasets, protocols, backbones) what may be named.

experiment: {title}

# Some classes first, the others later. few_shot: all at once. `lamm-cl list protocols --options` has the options.
protocol: {{name: class_incremental, steps: 2}}

# One folder a class, named as the class is called: {folder}/red apple/1.jpg. Without folders train, val and test it is
# split here, the same way every time. A table of paths and classes is read as well: csv: table.csv.
datasets:
  - {{name: {title}, folder: {quoted}}}

# What is compared. zero_shot learns nothing: it says what the backbone knows already.
methods:
  zero_shot:
  coop: {{epochs: 10}}
  lamm: {{epochs: 10}}

# tiny is embedded, and knows digits, letters and shapes only. For photographs:
# backbone: {{name: ViT-B-16-quickgelu, pretrained: openai}}
backbone: tiny

shots: 4            # training images a class; a list is a grid; full for all of them
seeds: [1, 2, 3]    # one run each: which images are drawn, and in which order they train

# Keeps what each run has learned, for `lamm-cl predict` and lamm_cl.load_model.
save: prompts
"""


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures, with one folder a class.", metavar="FOLDER")],
    out: Annotated[Path, typer.Option(help="Config to write.")] = Path("experiment.yaml"),
) -> None:
    """Write a commented config for your own pictures, which runs as it is."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder. Give one that holds one folder of pictures a class.")
    if out.exists():
        raise UsageError(f"{out} exists: give another place with --out.")
    title = re.sub(r"[^A-Za-z0-9_]+", "_", folder.resolve().name).strip("_") or "mine"
    place = str(folder if out.parent == Path() or folder.is_absolute() else folder.resolve())
    quoted = "'" + place.replace("'", "''") + "'"
    try:
        out.write_text(TEXT.format(name=out, title=title, folder=folder, quoted=quoted), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror or error}.") from None
    typer.echo(f"{out}: check it with `lamm-cl validate {out}`, then `lamm-cl run {out}`.")


_CHECKED_ONE_BY_ONE = 20_000


def validate(
    configs: Annotated[list[Path] | None, typer.Argument(help="Config files.", metavar="CONFIG.yaml ...")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the configs before the check.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of configs, for editors.")] = False,
) -> int:
    """Check config files: every error of every file, with line and nearest match."""
    if schema:
        import json

        from lamm_cl.experiments.config import config_schema

        typer.echo(json.dumps(config_schema(), indent=1))
        return 0
    if not configs:
        raise UsageError("name at least one config file, e.g. lamm-cl validate configs/quickstart.yaml.")
    from lamm_cl.experiments.config import read_config
    from lamm_cl.experiments.grid import grid, grid_size, notes

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
            large = f" (more than {config.max_runs}: doing them takes --yes)" if runs > config.max_runs else ""
            typer.echo(f"{path}: {config.experiment}, {runs} run{'s' * (runs != 1)}{large}")
            for note in notes(config, quick=True):
                typer.echo(f"  note: {note}")
    return 2 if wrong else 0
