"""`lamm-cl predict`: what a saved model makes of images."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

FORMATS = ("text", "csv", "json")
BATCH = 32


def predict(
    model: Annotated[Path, typer.Argument(help="A saved learner, such as OUT/runs/RUN/learned.safetensors.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", metavar="IMAGES...")],
    form: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}.")] = "text",
    top: Annotated[int, typer.Option(help="Classes an image, the most probable first.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    imported: Annotated[
        list[str] | None, typer.Option("--import", metavar="FILE.py", help="Import a file or module first.")
    ] = None,
) -> None:
    """Print the class of images and its probability among all classes that the model knows."""
    from lamm_cl.errors import UsageError, unknown

    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    if top < 1:
        raise UsageError(f"--top {top}: at least 1")
    files = found_images(images)
    if imported:
        from lamm_cl.experiments import imports

        imports.load([imports.find(one, Path()) for one in imported])
    from lamm_cl.clip.load import check_device
    from lamm_cl.methods.storage import load_model

    check_device(device)
    learner = load_model(model, device=device)
    typer.echo(_shown(_rows(learner, files, top), form), nl=False)


def found_images(places: Sequence[Path]) -> list[Path]:
    """Return the files that are named, and those in the folders that are named, in order.

    Raises:
        UsageError: for a place that is not there, or a folder without images.
    """
    from lamm_cl.data.folders import SUFFIXES
    from lamm_cl.errors import UsageError

    files: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = sorted(file for file in place.rglob("*") if file.suffix.lower() in SUFFIXES)
            if not inside:
                raise UsageError(f"{place} holds no images ({', '.join(sorted(SUFFIXES))}).")
            files += inside
        elif place.exists():
            files.append(place)
        else:
            raise UsageError(f"there is no image {place}.")
    return files


def _rows(learner: Any, files: Sequence[Path], top: int) -> list[dict[str, Any]]:
    """Return the `top` classes of each image; a class that the learner cannot score yet is none of them."""
    import torch

    from lamm_cl.data.images import open_rgb

    rows = []
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        pictures = torch.stack([learner.backbone.preprocess(open_rgb(str(file))) for file in batch])
        with torch.no_grad():
            chances = learner(pictures.to(learner.backbone.device)).double().softmax(dim=-1)
        values, ids = chances.topk(min(top, chances.shape[1]), dim=-1)
        rows += [
            {"image": str(file), "rank": rank, "class": learner.class_names[class_id], "probability": chance}
            for file, found, some in zip(batch, values.tolist(), ids.tolist(), strict=True)
            for rank, (chance, class_id) in enumerate(zip(found, some, strict=True), 1)
            if chance > 0 or rank == 1
        ]
    return rows


def _shown(rows: Sequence[dict[str, Any]], form: str) -> str:
    if form == "json":
        return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    if form == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _as_text(value) for key, value in row.items()} for row in rows)
        return text.getvalue()
    width = max(len(row["image"]) for row in rows)
    return "".join(f"{row['image']:<{width}}  {row['probability']:7.2%}  {row['class']}\n" for row in rows)


def _as_text(value: Any) -> Any:
    """Return a cell that no spreadsheet runs."""
    from lamm_cl.data.own_names import is_formula

    return f"'{value}" if isinstance(value, str) and is_formula(value) else value
