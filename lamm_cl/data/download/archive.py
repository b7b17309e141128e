"""Unpacking archives that were fetched: nothing may land outside the target, nothing is left half-unpacked."""

import errno
import posixpath
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from lamm_cl.data.download.network import DownloadError


def unpack(archive: Path, folder: Path, moves: Mapping[str, str]) -> list[Path]:
    """Unpack parts of an archive into `folder`.

    What is wanted goes to a hidden folder beside the target first and is renamed into place at the end, so a target
    that is there is whole. The rest is not unpacked.

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
        _extract(archive, scratch, [source.partition("!")[0].removesuffix("/*") for source in moves])
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
        source = inner
        _extract(nested, scratch, [source.removesuffix("/*")])
    found = scratch / source.removesuffix("/*")
    if not found.exists():
        raise DownloadError(f"{archive}: holds no {source}")
    if source.endswith("/*"):
        yield from ((child, target / child.name) for child in sorted(found.iterdir()))
    else:
        yield found, target


def _extract(archive: Path, folder: Path, wanted: list[str]) -> None:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                for info in opened.infolist():
                    place = _place(archive, info.filename, folder, wanted)
                    if place and not info.is_dir():
                        if info.external_attr >> 28 not in (0, 8):  # no Unix mode, regular file
                            raise _refused(archive, info.filename)
                        _write(opened.open(info), place)
        else:
            with tarfile.open(archive, "r:*") as tar:
                for member in tar:
                    place = _place(archive, member.name, folder, wanted)
                    if place and not member.isdir():
                        tarfile.data_filter(member, str(folder))
                        source = tar.extractfile(member)
                        if source is None:
                            raise _refused(archive, member.name)
                        _write(source, place)
    except tarfile.FilterError as error:
        raise _refused(archive, error.tarinfo.name) from None
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, KeyError) as error:
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(f"{archive}: is no whole archive: {error}. Remove it and fetch it again.") from None


def _refused(archive: Path, name: str) -> DownloadError:
    return DownloadError(f"{archive}: {name!r} is neither a file nor a folder: refused")


def _place(archive: Path, name: str, folder: Path, wanted: list[str]) -> Path | None:
    """Return where a member goes, None where nobody wants it."""
    plain = name.replace("\\", "/")
    if plain.startswith("/") or ".." in plain.split("/") or ":" in plain[:2] or "\0" in plain:
        raise DownloadError(f"{archive}: {name!r} points outside the archive: refused, nothing was unpacked")
    plain = posixpath.normpath(plain)
    return folder / plain if any(plain == path or plain.startswith(path + "/") for path in wanted) else None


def _write(source: IO[bytes], place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with source, place.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
