"""Where a report goes: through links, into devices and pipes, never over what the experiment itself wrote."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from lamm_cl.errors import UsageError
from lamm_cl.files import write_atomic

_TABLE, _IDENTITY, _RUNS = "runs.csv", "experiment.json", "runs"


def check_place(path: Path, experiment: Path, wants_directory: bool = False) -> None:
    """Refuse a path that cannot be written, or that is an experiment's own, before any work is done.

    Args:
        path: A file, or the directory of several.
        experiment: The directory that is reported on.
        wants_directory: Whether `path` must be a directory.

    Raises:
        UsageError: `path` is of the other kind, or belongs to this experiment or another one.
    """
    wanted, other = ("directory", "file") if wants_directory else ("file", "directory")
    mode = _mode(path)
    if mode and stat.S_ISDIR(mode) != wants_directory:
        raise UsageError(f"{path} is a {other}. Give the name of a {wanted}.")
    place = Path(os.path.realpath(path))
    for home in _homes(place, experiment):
        own = [home / _TABLE, home / _IDENTITY]
        if place in own or Path(os.path.realpath(home / _RUNS)) in (place, *place.parents):
            raise UsageError(f"{path} belongs to the results of the experiment in {home}. Choose another path.")


def _homes(place: Path, experiment: Path) -> Iterator[Path]:
    yield Path(os.path.realpath(experiment))
    yield from (parent for parent in place.parents if _mode(parent / _IDENTITY))


def _mode(path: Path) -> int:
    """Return what kind of thing a path leads to, 0 where nothing is known of it."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def write_out(path: Path, data: bytes) -> None:
    """Write `data` to `path`, or to what it links to, whole or not at all; a device or a pipe is written to as it is.

    Raises:
        OSError: It cannot be written.
    """
    # Asked before links are followed by name: /dev/stdout leads to a pipe, which has none.
    mode, target = _mode(path), Path(os.path.realpath(path))
    if (mode and not stat.S_ISREG(mode)) or target.is_symlink():  # what is a link even then leads to itself
        with path.open("wb") as stream:
            stream.write(data)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, data)
