"""`lamm-cl list`: what configs may name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lamm_cl.errors import check_known
from lamm_cl.experiments import imports

KINDS = ("methods", "datasets", "protocols", "backbones", "published")


def listing(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.", metavar="WHAT")],
    options: Annotated[bool, typer.Option("--options", help="Also show what can be set, with defaults.")] = False,
    parts: Annotated[bool, typer.Option("--parts", help="Show what methods are made of, and what composes.")] = False,
    imported: Annotated[
        list[str] | None, typer.Option("--import", metavar="FILE.py", help="Import a file or module first.")
    ] = None,
) -> None:
    """List methods, data sets, protocols, backbones, or published tables."""
    check_known("kind", [kind], KINDS)
    imports.load([imports.find(one, Path()) for one in imported or ()])
    if parts and kind == "methods":
        _parts()
        return
    lists = (_methods, _datasets, _protocols, _backbones, _published)
    lists[KINDS.index(kind)](options)


def show(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns, numbers to the right; on a terminal and in a pipe alike, nothing is cut off."""
    columns = list(zip(header, *([str(cell) for cell in row] for row in rows), strict=True))
    for number, (name, *cells) in enumerate(columns):
        right = all(cell[:1].isdigit() or cell == "-" for cell in cells)
        width = max(map(len, (name, *cells)))
        columns[number] = tuple(cell.rjust(width) if right else cell.ljust(width) for cell in (name, *cells))
    for row in zip(*columns, strict=True):
        typer.echo("  ".join(row).rstrip())


def _methods(options: bool) -> None:
    from lamm_cl.methods.parts import SLOTS
    from lamm_cl.methods.registry import METHODS, SUFFIXES

    rows = [(method.name, *method.row.values(), method.paper) for method in METHODS.values()]
    show(("method", *SLOTS, "paper"), rows)
    typer.echo("\nOn top of a method X (`lamm-cl list methods --parts` says of which, and why of others not):")
    show(("", ""), [(f"X{suffix.name}", suffix.adds) for suffix in SUFFIXES.values()])
    if options:
        from lamm_cl.experiments.names import method_options

        for name in METHODS:
            _options(f"methods.{name}", method_options(name))
    else:
        typer.echo("`lamm-cl list methods --options` shows what can be set.")


def _parts() -> None:
    """Show each part with the methods that have it, and each suffix with the methods that can have it."""
    from lamm_cl.methods.parts import SLOTS
    from lamm_cl.methods.registry import METHODS, SUFFIXES

    users: dict[tuple[str, str], dict[str, None]] = {}
    for method in METHODS.values():
        for part in method.parts:
            users.setdefault((part.slot, part.name), {})[method.name] = None
    order = {slot: place for place, slot in enumerate(SLOTS)}
    rows = [(*part, ", ".join(names)) for part, names in sorted(users.items(), key=lambda item: order[item[0][0]])]
    show(("slot", "part", "methods"), rows)
    typer.echo()
    fits = {name: [suffix.unfit(method) or "yes" for suffix in SUFFIXES.values()] for name, method in METHODS.items()}
    show(("method", *(f"X{name}" for name in SUFFIXES)), [(name, *found) for name, found in fits.items()])
    typer.echo("\nSuffixes may follow each other, as in coop+kg+lamm.")


def _options(where: str, model: type) -> None:
    from lamm_cl.methods.recipe import Recipe

    rows = []
    for name, info in model.model_fields.items():  # type: ignore[attr-defined]
        none = "recipe's" if name in Recipe.model_fields else "-"
        rows.append((f"{where}.{name}", none if info.default is None else info.default, info.description or ""))
    typer.echo()
    show(("option", "default", "meaning"), rows)


def _datasets(options: bool) -> None:
    from lamm_cl.data.catalogue import CATALOGUE

    rows = []
    for entry in CATALOGUE.values():
        sizes = (f"{size:,}" if size else "-" for size in entry.sizes)
        licence = ("synthetic; " if entry.synthetic else "") + entry.licence
        rows.append((entry.name, entry.classes, *sizes, "embedded" if entry.embedded else entry.folder, licence))
    show(("data set", "classes", "train", "val", "test", "where", "licence"), rows)
    typer.echo("\n`lamm-cl data status --root DIR` says which of them are there. Your own data: see configs/README.md.")


def _protocols(options: bool) -> None:
    from lamm_cl.streams.protocols import PROTOCOLS

    together = {one.name: "all in one run" if one.at_least > 1 else "one a run" for one in PROTOCOLS.values()}
    rows = [(one.name, one.title, together[one.name], one.source) for one in PROTOCOLS.values()]
    show(("protocol", "what it does", "data sets", "source"), rows)
    if options:
        from lamm_cl.experiments.names import protocol_options

        for name in PROTOCOLS:
            _options(f"protocol.{name}", protocol_options(name))


def _backbones(options: bool) -> None:
    from lamm_cl.clip.families import table

    rows = [("tiny", "-", "yes", "yes", "yes", "embedded, 32 pixels, for digits and glyphs")]
    for entry in table():
        marks = ("yes" if entry[key] else "no" for key in ("text_methods", "vision_prompts", "exact_engine"))
        rows.append((entry["name"], entry["family"], *marks, ", ".join(entry["pretrained"]) or "-"))
    show(("backbone", "family", "text methods", "vision prompts", "exact engine", "pretrained"), rows)
    typer.echo("\nFamilies: lamm_cl/clip/README.md. A weights file of one's own: pretrained: PATH.")


def _published(options: bool) -> None:
    from lamm_cl.reports.published import names, standings

    rows = [(name, title, standings(name), citation) for name, title, citation in names()]
    show(("table", "what it holds", "numbers", "from"), rows)
    typer.echo("\n`lamm-cl report DIR --compare TABLE` puts it beside measured numbers.")
