"""Unpacking archives that were fetched: nothing may land outside the target, nothing is left half-unpacked."""

import errno
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lamm_cl.data.download.network import DownloadError


def unpack(archive: Path, folder: Path, moves: dict[str, str]) -> list[Path]:
    """Unpack parts of an archive into `folder`.

    Everything goes to a hidden folder beside the target first and is renamed into place at the end, so a target that is
    there is whole.

    Args:
        archive: a tar (any compression) or zip file.
        folder: where things go.
        moves: from a path in the archive to a path in `folder`; a path `x/*` moves all that `x` holds. An archive
            inside the archive is named with a `!`: `a/b.tar.gz!c` is `c` inside `a/b.tar.gz`.

    Returns:
        What is in place now. A target that existed stays as it is.

    Raises:
        DownloadError: the archive is damaged, has a member that points outside, or lacks what `moves` names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".unpack-", dir=folder))
    try:
        _extract(archive, scratch)
        placed = []
        for source, target in moves.items():
            for found, place in _targets(archive, scratch, source, folder / target):
                if not place.exists():
                    place.parent.mkdir(parents=True, exist_ok=True)
                    found.rename(place)
                placed.append(place)
        return placed
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else str(error.strerror or error)
        raise DownloadError(f"{archive}: cannot be unpacked into {folder}: {reason}. Nothing was left there.") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _targets(archive: Path, scratch: Path, source: str, target: Path) -> Iterator[tuple[Path, Path]]:
    outer, _, inner = source.partition("!")
    if inner:
        nested = scratch / outer
        if not nested.is_file():
            raise DownloadError(f"{archive}: holds no {outer}")
        scratch = nested.with_name(nested.name + ".unpacked")
        scratch.mkdir(exist_ok=True)
        _extract(nested, scratch)
        source = inner
    whole = source.endswith("/*")
    found = scratch / source.removesuffix("/*")
    if not found.exists():
        raise DownloadError(f"{archive}: holds no {source}")
    if whole:
        yield from ((child, target / child.name) for child in sorted(found.iterdir()))
    else:
        yield found, target


def _extract(archive: Path, folder: Path) -> None:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                for info in opened.infolist():
                    _zip_member(archive, opened, info, folder)
        else:
            with tarfile.open(archive, "r:*") as tar:
                for member in tar:
                    _tar_member(archive, tar, member, folder)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(f"{archive}: is no whole archive: {error}. Remove it and fetch it again.") from None


def _zip_member(archive: Path, opened: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path) -> None:
    kind = info.external_attr >> 28
    if kind not in (0, 4, 8):  # no Unix mode, folder, regular file
        raise DownloadError(f"{archive}: {info.filename!r} is neither a file nor a folder: refused")
    place = _place(archive, info.filename, folder)
    if info.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        with opened.open(info) as source:
            _write(source, place)


def _tar_member(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    place = _place(archive, member.name, folder)
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
        return
    source = tar.extractfile(member) if member.isreg() else None
    if source is None:
        raise DownloadError(f"{archive}: {member.name!r} is neither a file nor a folder: refused")
    with source:
        _write(source, place)


def _place(archive: Path, name: str, folder: Path) -> Path:
    plain = name.replace("\\", "/")
    if plain.startswith("/") or ".." in plain.split("/") or ":" in plain[:2] or "\0" in plain:
        raise DownloadError(f"{archive}: {name!r} points outside the archive: refused, nothing was unpacked")
    return folder / plain


def _write(source: IO[bytes], place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
