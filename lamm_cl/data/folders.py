"""Listing images in class folders, in an order that no file system decides, leaving nothing out; reading lists."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import itemgetter
from pathlib import Path

from lamm_cl.data.images import show
from lamm_cl.errors import UsageError

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jp2")
)
# No folder is called so, and no name that sorts after "/" is hidden: such names need no second look.
USUAL = frozenset(("JPEG", "jpeg", ".jpg", ".png", ".JPG", ".pgm", ".ppm"))
_ENDING = itemgetter(slice(-4, None))
# What file managers leave behind; a copy of DTD ships with one of each.
JUNK = frozenset(("thumbs.db", "desktop.ini", "ehthumbs.db"))
_FEW, _AT_ONCE = 32, 16


def text_of(path: Path, what: str = "") -> str:
    """Return what a text file holds, or raise a UsageError that names it."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{what}{show(path)} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        wrong = f"is not valid UTF-8 (byte {error.start}). Fetch the file again, or save it as UTF-8."
        raise UsageError(f"{what}{show(path)} {wrong}") from None


def lines_of(path: Path, what: str = "") -> list[str]:
    """Return the lines of a text file that are not blank, without white space around them."""
    return [line.strip() for line in text_of(path, what).splitlines() if line.strip()]


def _shown(folder: str | Path) -> "list[os.DirEntry[str]]":
    """Return what stands in a folder and is not hidden."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise UsageError(f"{show(folder)}: cannot be listed: {error.strerror}.") from None


def class_folders(folder: Path, ignored: Iterable[str] = ()) -> list[str]:
    """Return the names of the folders in `folder`, sorted, hidden and ignored ones left out.

    A folder that does not exist, holds no folder, or holds a broken link, which may have been one, is refused.
    """
    shown = _shown(folder)
    names = [entry.name for entry in shown if _yes(entry.is_dir)]
    for entry in shown:
        if entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110
            raise UsageError(f"{show(entry.path)} is a link to nothing: is a class missing? Mend or remove the link.")
    names = sorted(set(names) - set(ignored))
    if not names:
        raise UsageError(f"{show(folder)}: holds no class folder. Expected one folder of images per class.")
    return names


def images_in(folder: Path, beside: str = "") -> list[str]:
    """Return the paths of all images under a class folder, relative to it, sorted; sub-folders are searched too.

    Files that end on `beside` are known to lie among the images. Any other file that is no image by its name is
    refused, and a folder without an image: a class must not get smaller silently.
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208 - ImageNet has 1.3 million, a Path each would take seconds
    except OSError as error:
        raise UsageError(f"{show(folder)}: cannot be listed: {error.strerror}.") from None
    if names and set(map(_ENDING, names)) <= USUAL and min(names) > "/":
        return sorted(names)
    walked = _walk(str(folder), "", set(map(os.path.realpath, (folder, *folder.absolute().parents))))
    found = sorted(name for name in walked if not beside or not name.endswith(beside))
    if not found:
        raise UsageError(f"class folder {show(folder)} holds no image. Remove the folder or fill it.")
    for relative in found:
        if os.path.splitext(relative)[1].lower() not in SUFFIXES:  # noqa: PTH122 - a Path per image is slow
            raise UsageError(
                f"{show(folder / relative)} stands in a class folder and is not an image by its name. "
                f"Remove it, or give it one of the endings {', '.join(sorted(SUFFIXES))}."
            )
    return found


def stray_note(name: str, folder: Path) -> tuple[str, ...]:
    """Return a note on images that lie beside the class folders, in no class; nothing where there are none."""
    files = sorted(entry.name for entry in _shown(folder) if _yes(entry.is_file))
    stray = [file for file in files if os.path.splitext(file)[1].lower() in SUFFIXES]  # noqa: PTH122
    if not stray:
        return ()
    return (f"{name}: {len(stray)} image(s) beside the class folders are in no class: left out, e.g. {show(stray[0])}",)


def missing_files(paths: Iterable[str]) -> list[str]:
    """Return those of `paths`, in their order, that are no file or an empty one, as broken transfers leave them."""
    wanted = list(paths)
    found = sizes_of(wanted)
    return [path for path in wanted if not found.get(path)]


def sizes_of(paths: Iterable[str], ask: bool = True) -> dict[str, int]:
    """Return the bytes of those of `paths` that are files: the one look at the disk for what is there.

    Folders of which much is wanted are listed, once, and files that the listing lacks are not asked for; any other file
    takes one system call. Folders are asked at the same time: a network disk answers many as fast as one.
    Unless sizes are `ask`ed for, a listing is enough, no file is touched, and each counts as one byte.
    """
    wanted: dict[str, list[str]] = {}
    for path in paths:
        wanted.setdefault(os.path.dirname(path), []).append(path)  # noqa: PTH120 - a Path per image is slow
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        each = map if len(wanted) < _FEW else pool.map
        found = each(partial(_sizes_in, ask=ask), wanted.items())
        return {path: size for sizes in found for path, size in sizes.items()}


def _sizes_in(folder_and_paths: tuple[str, list[str]], ask: bool) -> dict[str, int]:
    folder, paths = folder_and_paths
    if ask and len(paths) < _FEW:
        return {path: size for path in paths if (size := _size(path)) is not None}
    names = {os.path.basename(path): path for path in paths}  # noqa: PTH119
    try:
        with os.scandir(folder or ".") as entries:
            there = [entry for entry in entries if entry.name in names and _yes(entry.is_file)]
    except (OSError, ValueError):
        return {}
    return {names[entry.name]: (_size(entry) or 0) if ask else 1 for entry in there}


def _size(place: "str | os.DirEntry[str]") -> int | None:
    try:
        state = os.stat(place) if isinstance(place, str) else place.stat()  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return state.st_size if stat.S_ISREG(state.st_mode) else None


def _yes(ask: Callable[[], bool]) -> bool:
    """Whether an entry of a folder is of a kind; a link that points at itself, at which asking raises, is of none."""
    try:
        return ask()
    except OSError:
        return False


def _walk(folder: str, prefix: str, above: set[str]) -> Iterator[str]:
    for entry in _shown(folder):
        if entry.name.lower() in JUNK:
            continue
        if not _yes(entry.is_dir):
            yield prefix + entry.name
        elif (real := os.path.realpath(entry.path)) not in above:  # a link back up would never end
            yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {real})
