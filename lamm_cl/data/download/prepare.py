"""Bringing a data set to the disk: fetch what may be fetched, say exactly what is left to do by hand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lamm_cl.data.catalogue import Entry, find
from lamm_cl.data.download.archive import unpack
from lamm_cl.data.download.arrays import write_pictures
from lamm_cl.data.download.frames import Grab, middle_frames
from lamm_cl.data.download.network import DownloadError, Fetch, address, fetch
from lamm_cl.data.download.sources import SOURCES, Arrays, ByHand, Source
from lamm_cl.data.download.transfer import Report, download
from lamm_cl.data.download.whole import look
from lamm_cl.data.items import PARTS
from lamm_cl.data.split_file import read_split
from lamm_cl.errors import UsageError


@dataclass
class Outcome:
    """What happened to one data set: each list holds one line per file, or per thing that is damaged or odd."""

    name: str
    present: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.by_hand or self.failed or self.damaged)


@dataclass(frozen=True)
class Tools:
    """What `prepare` works with; tests and users replace any of them."""

    fetch: Fetch = fetch
    report: Report = lambda name, done, total: None
    grab: Grab | None = None
    pause: Callable[[float], None] | None = None


def prepare(name: str, root: Path, tools: Tools | None = None) -> Outcome:
    """Fetch one data set into `root`, in CoOp's layout.

    What is there already is left as it is. A failure of one file does not keep the others from being fetched. When
    every file is there by name, the lists are read and the images asked for.

    Args:
        name: a name of the catalogue.
        root: the folder of the data sets.
        tools: network, progress, video reader.

    Raises:
        UsageError: the data set is not in the catalogue, or `root` cannot be written.
    """
    entry, tools = find(name), tools or Tools()
    outcome = Outcome(entry.name)
    if entry.embedded:
        outcome.present.append(f"{entry.title} needs no file")
        return outcome
    folder = root / entry.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made: {error.strerror}. Give another --root.") from None
    for source in SOURCES[entry.name]:
        if all((folder / made).exists() for made in source.makes):
            outcome.present.append(", ".join(source.makes))
        elif isinstance(source, ByHand):
            outcome.by_hand.append(source.text.format(folder=folder))
        elif isinstance(source, Arrays):
            _write(source, folder, tools, outcome)
        else:
            _bring(entry, source, folder, tools, outcome)
    if outcome.complete:
        outcome.damaged, outcome.notes = look(entry, root)
    return outcome


def _write(arrays: Arrays, folder: Path, tools: Tools, outcome: Outcome) -> None:
    what = ", ".join(arrays.makes)
    files = [folder / source.file for source in arrays.files]
    for source in arrays.files:
        try:
            _fetch(source, folder, tools)
        except DownloadError as error:
            outcome.failed.append(_failure(source.file, error, source, folder))
    if outcome.failed:
        return
    try:
        count = write_pictures(arrays.read, files, folder / "images", lambda *done: tools.report(what, *done))
    except DownloadError as error:
        outcome.failed.append(f"{what}: {error}")
        return
    outcome.fetched.append(f"{what}: {count:,} pictures")
    for file in files:
        file.unlink()


def _bring(entry: Entry, source: Source, folder: Path, tools: Tools, outcome: Outcome) -> None:
    what = ", ".join(source.makes)
    videos = folder / "UCF-101"
    try:
        if entry.name == "ucf101" and source.moves and videos.is_dir():
            count = middle_frames(videos, folder / entry.images, tools.grab)
            outcome.fetched.append(f"{what}: {count:,} middle frames taken from {videos}")
            return
        _transfer(entry, source, folder, tools)
        outcome.fetched.append(what)
    except DownloadError as error:
        outcome.failed.append(_failure(what, error, source, folder))


def _failure(what: str, error: DownloadError, source: Source, folder: Path) -> str:
    hint = source.by_hand.format(folder=folder)
    return (
        f"{what}: {error}. By hand: fetch {address(source.url)} as {folder / source.file}"
        f"{f' (md5 {source.md5})' if source.md5 else ''}{'; ' + hint if hint else ''}, and run this command again."
    )


def _transfer(entry: Entry, source: Source, folder: Path, tools: Tools) -> None:
    target = _fetch(source, folder, tools)
    if source.moves:
        unpack(target, folder, source.moves)
        target.unlink()
    elif source.file == entry.split_file:
        _check_split(entry, target, folder)


def _fetch(source: Source, folder: Path, tools: Tools) -> Path:
    target = folder / source.file
    if not target.exists():  # else: put there by hand, or by an earlier try
        pause = {} if tools.pause is None else {"pause": tools.pause}
        download(source.url, target, tools.fetch, source.md5, tools.report, **pause)
    return target


def _check_split(entry: Entry, target: Path, folder: Path) -> None:
    """Refuse a split file that does not list what the papers' does: Drive answers some requests with a web page."""
    try:
        sizes = tuple(len(items) for items in (read_split(target, str(folder))[part] for part in PARTS))
        problem = "" if sizes == entry.sizes else f"lists {sizes} images, not {entry.sizes}"
    except UsageError as error:
        problem = str(error)
    if problem:
        target.unlink()
        raise DownloadError(f"what came is not the papers' split ({problem}) and was removed")
