"""`lamm-cl predict`: the classes of pictures, by a saved model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lamm_cl.errors import UsageError, check_known
from lamm_cl.experiments import imports

FORMATS = ("text", "csv", "json")


def predict(
    model: Annotated[Path, typer.Argument(help="What save_learner, or a run with `save: prompts`, wrote.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Pictures, or folders of them.")],
    top: Annotated[int, typer.Option(help="Classes an image.")] = 1,
    form: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}.")] = "text",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:N or mps.")] = None,
    imported: Annotated[
        list[str] | None, typer.Option("--import", metavar="FILE.py", help="Import a file or module first.")
    ] = None,
) -> None:
    """Print the class of each picture and its probability; the model comes from the file alone."""
    check_known("format", [form], FORMATS)
    if top < 1:
        raise UsageError(f"--top {top}: at least 1 class an image.")
    paths = _pictures(images)
    imports.load([imports.find(one, Path()) for one in imported or ()])
    from lamm_cl.data.images import open_rgb
    from lamm_cl.methods.learner import BATCH
    from lamm_cl.methods.learner import predict as guess
    from lamm_cl.methods.storage import load_model

    learner = load_model(model, device=device)
    found: list[list[Any]] = []
    for start in range(0, len(paths), BATCH):
        found += guess(learner, [open_rgb(str(path)) for path in paths[start : start + BATCH]], top)
    guesses = [[(one.class_name, one.probability) for one in row] for row in found]
    typer.echo(_shown(list(zip(map(str, paths), guesses, strict=True)), form), nl=False)


def _pictures(given: list[Path]) -> list[Path]:
    """Return the files, those of a folder in the order of their names."""
    from lamm_cl.data.folders import SUFFIXES

    paths: list[Path] = []
    for one in given:
        if one.is_dir():
            inside = sorted(path for path in one.rglob("*") if path.suffix.lower() in SUFFIXES)
            if not inside:
                raise UsageError(f"{one} holds no picture: none of its files ends in {', '.join(sorted(SUFFIXES))}.")
            paths += inside
        elif one.is_file():
            paths.append(one)
        else:
            raise UsageError(f"there is no file {one}.")
    return paths


def _shown(rows: list[tuple[str, list[tuple[str, float]]]], form: str) -> str:
    import csv
    import io
    import json

    from lamm_cl.data.own_data import is_formula

    def as_cell(text: str) -> str:
        """Return what no spreadsheet runs."""
        return f"'{text}" if is_formula(text) else text

    width = max(len(image) for image, _ in rows)
    listed, text = [], io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    if form == "csv":
        table.writerow(("image", "rank", "class", "probability"))
    for image, guesses in rows:
        if form == "json":
            listed.append({"image": image, "classes": [{"class": name, "probability": p} for name, p in guesses]})
        elif form == "csv":
            table.writerows((as_cell(image), rank, as_cell(name), p) for rank, (name, p) in enumerate(guesses, 1))
        else:
            text.write(f"{image.ljust(width)}  {'  '.join(f'{name} {100 * p:.1f}%' for name, p in guesses)}\n")
    return json.dumps(listed, indent=1, ensure_ascii=False) + "\n" if form == "json" else text.getvalue()
