"""How every figure looks and how it reaches the disk.

Series differ in colour (Okabe and Ito's palette, safe for colour-blind readers), in marker and in line style, so that
they stay apart when printed in grey.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from lamm_cl.reports.place import write_out

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#8B5A2B",
    "#6A3D9A",
    "#7F7F7F",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
LINES = (
    "-",
    "--",
    "-.",
    ":",
    (0, (5, 1, 1, 1, 1, 1)),
    (0, (8, 2)),
    (0, (1, 1)),
    (0, (3, 1, 1, 1)),
    (0, (6, 3)),
    "-",
)
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--", "**", "||")
HEAT = "cividis"
_RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica", "sans-serif"],
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
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
}


@dataclass(frozen=True)
class Series:
    """The look of one series in every figure of a report."""

    colour: str
    marker: str
    line: Any
    hatch: str


def series(index: int) -> Series:
    """Return the look of series number `index`; after ten the colours come again with another marker."""
    turn, place = divmod(index, len(COLOURS))
    return Series(
        COLOURS[place],
        MARKERS[(place + 3 * turn) % len(MARKERS)],
        LINES[(place + turn) % len(LINES)],
        HATCHES[(place + turn) % len(HATCHES)],
    )


@contextmanager
def styled() -> Iterator[None]:
    """Draw with the project's settings and leave the caller's alone."""
    with matplotlib.rc_context(_RC):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches, that no window system knows about."""
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write `figure` to `path`: SVG or PNG by its ending, both where it has none of these endings.

    Each file appears whole or not at all. Returns the paths written.
    """
    target = Path(path)
    if target.suffix.lower() in (".svg", ".png", ".pdf"):
        targets: tuple[Path, ...] = (target,)
    else:
        targets = (target.with_name(target.name + ".svg"), target.with_name(target.name + ".png"))
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


def legend_below(figure: Figure, axis: Any) -> None:
    """Put one legend for all panels below them, as wide as the figure allows."""
    handles, names = axis.get_legend_handles_labels()
    if not names:
        return
    longest = max(map(len, names))
    across = max(1, int(figure.get_figwidth() / (0.075 * longest + 0.65)))
    figure.legend(handles, names, loc="outside lower center", ncols=min(across, len(names)), handlelength=3.2)


def keep_in_percent(axis: Any) -> None:
    """Cut the y axis to 0..100, leaving room for markers: an interval may go beyond, an accuracy may not."""
    low, high = axis.get_ylim()
    axis.set_ylim(max(low, -1.5), min(high, 101.5))


def message_figure(text: str) -> Figure:
    """Return a figure that says why there is nothing to draw."""
    with styled():
        figure = new_figure(4.5, 1.2)
        figure.text(0.5, 0.5, text, ha="center", va="center", wrap=True)
    return figure
