"""How every figure looks and how it reaches the disk.

Series differ in colour (Okabe and Ito's palette, safe for colour-blind readers), in marker and in line style, so that
they stay apart when printed in grey. No look comes twice in a figure: charts give more series a panel each.
"""

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lamm_cl.files import write_out

HEAT = "cividis"
# Width in inches and font size in points: a column and a page of the usual two-column styles.
SIZES: dict[str, tuple[float | None, float]] = {"column": (3.3, 7.0), "page": (6.9, 8.0)}
_FREE: tuple[float | None, float] = (None, 9.0)
_size: ContextVar[tuple[float | None, float]] = ContextVar("size", default=_FREE)
_RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica", "sans-serif"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titley": 1.0,  # where it is anyhow, without asking all tick labels
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "savefig.dpi": 160,
    "figure.dpi": 100,
    # Text stays text: small files, searchable, read aloud; ids do not change from one run to the next.
    # A dollar sign in a name is a dollar sign.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lamm_cl",
    "hatch.linewidth": 0.7,
    "pdf.fonttype": 42,
}

_LOOKS: tuple[tuple[str, str, Any], ...] = (  # colour, marker, line
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", "--"),
    ("#009E73", "^", "-."),
    ("#CC79A7", "D", ":"),
    ("#000000", "v", (0, (5, 1, 1, 1, 1, 1))),
    ("#E69F00", "P", (0, (8, 2))),
    ("#56B4E9", "X", (0, (1, 1))),
    ("#8B5A2B", "<", (0, (3, 1, 1, 1))),
    ("#6A3D9A", ">", (0, (6, 3))),
    ("#7F7F7F", "h", "-"),
)
COLOURS = tuple(colour for colour, _, _ in _LOOKS)


def series(index: int) -> dict[str, Any]:
    """Return the look of series number `index`, below ten, in every figure: what matplotlib's artists take."""
    return dict(zip(("color", "marker", "linestyle"), _LOOKS[index], strict=True))


@contextmanager
def fitted(width: str | None) -> Iterator[None]:
    """Draw figures as wide as a paper's "column" or "page", with its font size; None: as wide as they need to be."""
    before = _size.set(SIZES[width] if width else _FREE)
    try:
        yield
    finally:
        _size.reset(before)


@contextmanager
def styled() -> Iterator[None]:
    """Draw with the project's settings and leave the caller's alone."""
    font = _size.get()[1]
    with matplotlib.rc_context({**_RC, "font.size": font, "axes.titlesize": font + 1}):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches, that no window system knows about."""
    limit = _size.get()[0]
    return Figure(figsize=(width if limit is None else limit, height), layout="constrained")


def fit(width: float, spare: float = 0.0) -> int:
    """Return how many panels of this width in inches stand side by side, when `spare` inches are left to the rest."""
    limit = _size.get()[0]
    return 99 if limit is None else max(1, int((limit - spare) / width))


def panels(count: int, width: float, height: float, sharey: bool = False) -> tuple[Figure, list[Axes], int]:
    """Return a figure with `count` panels of about this size in inches, these in reading order, how many in a line."""
    across = min(count, 4, fit(0.65 * width))
    down = math.ceil(count / across)
    figure = new_figure(max(width * across + 0.4, 4.2), height * down + 1)  # title and legend take an inch
    axes = list(figure.subplots(down, across, squeeze=False, sharey=sharey).flat)
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count], across


def save(figure: Figure, path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write `figure` to `path`: SVG, PNG or PDF by its ending, all three where it has none of these endings.

    Each file appears whole or not at all. Returns the paths written.
    """
    target, endings = Path(path), (".svg", ".png", ".pdf")
    alone = target.suffix.lower() in endings
    targets = (target,) if alone else tuple(target.with_name(target.name + ending) for ending in endings)
    for one in targets:
        write_out(one, render(figure, one.suffix[1:].lower()))
    return targets


def render(figure: Figure, kind: str) -> bytes:
    """Return `figure` as the bytes of an "svg", "png" or "pdf" file, the same for the same figure."""
    stream = io.BytesIO()
    metadata: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {"Software": None})
    with styled():
        figure.savefig(stream, format=kind, metadata=metadata)
    return stream.getvalue()


def finished(figure: Figure, title: str, axis: Axes | None = None) -> Figure:
    """Put the title above all panels, and below them one legend for all, that of `axis`, as wide as they are."""
    handles, names = axis.get_legend_handles_labels() if axis else ((), ())
    if names:
        across = max(1, int(figure.get_figwidth() / (0.0083 * _size.get()[1] * max(map(len, names)) + 0.65)))
        figure.legend(handles, names, loc="outside lower center", ncols=min(across, len(names)), handlelength=3.2)
    figure.suptitle(title, fontsize="small", wrap=True)
    return figure


def keep_in_percent(axis: Any) -> None:
    """Cut the y axis to 0..100, leaving room for markers: an interval may go beyond, an accuracy may not."""
    low, high = axis.get_ylim()
    axis.set_ylim(max(low, -1.5), min(high, 101.5))


def message_figure() -> Figure:
    """Return a figure that says that there is nothing to draw."""
    with styled():
        figure = new_figure(4.5, 1.2)
        figure.text(0.5, 0.5, "Nothing of this has been measured yet.", ha="center", va="center", wrap=True)
    return figure
