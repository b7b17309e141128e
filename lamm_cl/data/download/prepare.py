"""Bringing a data set to the disk: fetch what may be fetched, say exactly what is left to do by hand."""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lamm_cl.data.catalogue import Entry, Source, find
from lamm_cl.data.download.network import DownloadError, Fetch, Report, address, download, fetch, md5_of
from lamm_cl.data.download.unpack import READERS, middle_frames, unpack
from lamm_cl.data.exporting import export
from lamm_cl.data.imagenet import check_class_names, flat_images, sort_images, what_to_do
from lamm_cl.data.images import show, some
from lamm_cl.data.load import check_split
from lamm_cl.data.misplaced import find_misplaced
from lamm_cl.data.status import Status, state_of
from lamm_cl.errors import UsageError

_AGAIN = "and run this command again: it fetches what is gone, or says how"


@dataclass
class Outcome:
    """What happened to one data set: each list holds one line per file, or per thing that is damaged or odd."""

    name: str
    present: list[str] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    optional: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.by_hand or self.failed or self.damaged)


class Tools(NamedTuple):
    """What `prepare` works with."""

    fetch: Fetch = fetch
    report: Report = lambda name, done, total: None  # called as bytes arrive
    local: Path | None = None  # a folder with files that need not be fetched, directly in it or in CoOp's folders
    fix: bool = False  # link or move what lies elsewhere into place


def prepare(name: str, root: Path, tools: Tools | None = None) -> Outcome:
    """Fetch one data set of the catalogue into `root`, in CoOp's layout.

    What is there already is left as it is. A failure of one file does not keep the others from being fetched. When
    every file is there by name, the lists are read and the images asked for. A UsageError says that there is no such
    data set, or that `root` cannot be written.
    """
    entry, tools = find(name), tools or Tools()
    if entry.embedded:
        return Outcome(entry.name, [f"{entry.title} needs no file"])
    outcome, folder = Outcome(entry.name), root / entry.folder
    elsewhere = _put_in_place(entry, root, tools.fix, outcome)
    for source in entry.files:
        makes = [folder / made for made in source.makes]
        if source.beside and (folder / source.beside).is_file():
            makes = [folder / source.beside]
        if all(map(Path.exists, makes)):
            outcome.present.append(", ".join(source.makes))
        elif entry.reader == "subset" and state_of(entry.name, root).dataset is not None:
            outcome.present.append(str(folder))  # one folder deeper, or as the makers divide it
        elif any(made.is_relative_to(place) for made in makes for place in elsewhere):
            continue  # said above
        elif source.optional:
            outcome.optional.append(f"{source.file}, for {source.optional}: {address(source.url)}")
        elif source.text and not (folder / source.file).is_file() and not any(_copies(source, entry, tools)):
            outcome.by_hand.append(source.text.format(folder=folder))
        else:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"{folder}: cannot be made: {error.strerror}. Give another --root.") from None
            _bring(entry, source, folder, tools, outcome)
    outcome.by_hand = list(dict.fromkeys(outcome.by_hand))  # of two archives, say
    if outcome.complete:
        state = state_of(entry.name, root, sizes=True)
        outcome.damaged += _damage(entry, folder, state)
        outcome.notes += state.dataset.notes if state.dataset else ()
    return outcome


def _put_in_place(entry: Entry, root: Path, fix: bool, outcome: Outcome) -> list[Path]:
    """Put what lies elsewhere into place, or say how; returns the places where something is still wanted."""
    found = list(find_misplaced(entry, root))
    outcome.by_hand += [f"{one}: run this command with --fix, which puts it there" for one in found if not fix]
    try:
        while fix and found:
            outcome.fixed.append(found[0].put())
            found = list(find_misplaced(entry, root))
        flat = entry.name == "imagenet" and flat_images(root / entry.folder / "images" / "val")
        if flat and fix:
            outcome.fixed.append(f"sorted {sort_images(root / entry.folder):,} validation images into class folders")
        elif flat:
            outcome.by_hand.append(what_to_do(root / entry.folder))
    except UsageError as error:
        outcome.failed.append(str(error))
    return [one.wanted for one in found]


def _bring(entry: Entry, source: Source, folder: Path, tools: Tools, outcome: Outcome) -> None:
    what, files, failed = ", ".join(source.makes), source.files or (source,), len(outcome.failed)
    given = [file for file in files if (folder / file.file).exists()]  # what a user put there is the user's
    videos = folder / "UCF-101"
    try:
        if entry.name == "ucf101" and source.moves and videos.is_dir():
            count = middle_frames(videos, folder / entry.images)
            outcome.fetched.append(f"{what}: {count:,} middle frames taken from {videos}")
            return
        for file in files:
            try:
                _fetch(entry, file, folder, tools)
            except DownloadError as error:
                name = what if len(files) == 1 else file.file
                outcome.failed.append(f"{name}: {error}. {_instead(file, folder)}")
        if len(outcome.failed) > failed:
            return
        if source.read:
            arrays = [folder / file.file for file in files]
            parts = {part: READERS[source.read](arrays, part) for part in ("train", "test")}
            what = f"{what}: {export(parts, folder / 'images', partial(tools.report, what)):,} pictures"
        elif source.moves:
            unpack(folder / source.file, folder, source.moves)
        outcome.fetched.append(what)
    except UsageError as error:
        outcome.failed.append(f"{what}: {error}")
    except OSError as error:
        full = "the disk is full. Free some space and run the command again: it continues"
        why = full if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or error
        outcome.failed.append(f"{what}: {error.filename or folder}: cannot be written: {why}")
    else:
        for file in files if source.read or source.moves else ():
            if file not in given:
                (folder / file.file).unlink()


def _instead(source: Source, folder: Path) -> str:
    put = f"fetch {address(source.url)} as {folder / source.file}" if source.url else f"put {source.file} into {folder}"
    md5, hint = f" (md5 {source.md5})" if source.md5 else "", source.by_hand.format(folder=folder)
    return f"By hand: {put}{md5}{'; ' + hint if hint else ''}, and run this command again."


def _copies(source: Source, entry: Entry, tools: Tools) -> Iterator[str]:
    """Yield where a file is said to be, besides its own address."""
    if tools.local:
        places = (tools.local / entry.folder / source.file, tools.local / source.file)
        yield from (str(place) for place in places if place.is_file())
    if source.url and (mirror := os.environ.get("LAMM_CL_MIRROR")):
        yield f"{mirror.rstrip('/')}/{entry.folder}/{source.file}"


def _fetch(entry: Entry, source: Source, folder: Path, tools: Tools) -> None:
    """Get a file, whole and checked: the one that lies there, a copy, or what its address gives."""
    target = folder / source.file
    if target.exists():  # put there by hand, or by an earlier try
        if source.md5 and (found := md5_of(target)) != source.md5:
            raise DownloadError(f"{target} is not the archive: expected md5 {source.md5}, got {found}. Remove it")
        return
    checks: dict[str, Callable[[Path], str]] = {
        entry.split_file: partial(check_split, entry),
        "classnames.txt": check_class_names,
    }
    problems: list[str] = []
    for url in dict.fromkeys([*_copies(source, entry, tools), *filter(None, [source.url])]):
        try:
            download(url, target, tools.fetch, source.md5, tools.report)
            if source.file not in checks or not (problem := checks[source.file](target)):
                return
            target.unlink()
            problems.append(f"what came from {address(url)} is not the papers' {source.file} ({problem}): removed")
        except DownloadError as error:
            problems.append(str(error))
    raise DownloadError("; ".join(problems))


def _damage(entry: Entry, folder: Path, state: Status) -> Iterator[str]:
    """Say what is damaged, one sentence each with its cure."""
    split = folder / entry.split_file
    if state.dataset is None:
        named = entry.split_file and str(split) in state.note
        yield f"{state.note} Remove {split if named else 'the file or folder that this names'} {_AGAIN}."
        return
    if state.split == "other":
        yield f"{state.note}. Remove {split} {_AGAIN}."
    if state.missing:
        count = f"{len(state.missing):,} of {state.expected:,} images are missing or empty"
        yield f"{count}: {some(state.missing, 3, show)}. {_cure(entry, folder, state.missing)}"


def _cure(entry: Entry, folder: Path, missing: tuple[str, ...]) -> str:
    """Say how to get images anew: what is removed here is fetched again, by this command or by hand."""
    cures = []
    for source in entry.files:
        places = [str(folder / made) for made in source.makes]
        hit = [place for place in places if any(path.startswith(place + os.sep) for path in missing)]
        if hit and source.text:
            cures.append(f"By hand: {source.text.format(folder=folder)}")
        elif hit:
            cures.append(f"Put them there by hand, or remove {', '.join(hit)} {_AGAIN}.")
    return " ".join(dict.fromkeys(cures)) or "Put them there by hand."
