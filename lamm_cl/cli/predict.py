"""`lamm-cl predict`: the classes of pictures, by a saved model."""

from pathlib import Path
from typing import Annotated

import typer

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
    from lamm_cl.errors import UsageError, unknown

    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    if top < 1:
        raise UsageError(f"--top {top}: at least 1 class an image.")
    paths = _pictures(images)
    if imported:
        from lamm_cl.experiments import imports

        imports.load([imports.find(one, Path()) for one in imported])

    from lamm_cl.data.images import open_rgb
    from lamm_cl.methods.learner import BATCH
    from lamm_cl.methods.learner import predict as guess
    from lamm_cl.methods.storage import load_model

    learner = load_model(model, device=device)
    rows: list[tuple[str, list[tuple[str, float]]]] = []
    for start in range(0, len(paths), BATCH):
        some = paths[start : start + BATCH]
        found = guess(learner, [open_rgb(str(path)) for path in some], top)
        rows += [
            (str(path), [(one.class_name, one.probability) for one in row])
            for path, row in zip(some, found, strict=True)
        ]
    typer.echo(_shown(rows, form), nl=False)


def _pictures(given: list[Path]) -> list[Path]:
    """Return the files, those of a folder in the order of their names."""
    from lamm_cl.data.folders import SUFFIXES
    from lamm_cl.errors import UsageError

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

    if form == "json":
        listed = [
            {"image": image, "classes": [{"class": name, "probability": value} for name, value in guesses]}
            for image, guesses in rows
        ]
        return json.dumps(listed, indent=1, ensure_ascii=False) + "\n"
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("image", "rank", "class", "probability"))
        for image, guesses in rows:
            rows_of = enumerate(guesses, 1)
            writer.writerows((as_cell(image), rank, as_cell(name), value) for rank, (name, value) in rows_of)
        return text.getvalue()
    width = max(len(image) for image, _ in rows)
    lines = [
        f"{image.ljust(width)}  " + "  ".join(f"{name} {100 * value:.1f}%" for name, value in guesses)
        for image, guesses in rows
    ]
    return "\n".join(lines) + "\n"
