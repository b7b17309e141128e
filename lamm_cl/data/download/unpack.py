"""From an archive, arrays of pixels or videos to image files.

Nothing lands outside the target, nothing is left half-unpacked, and nothing is unpickled.
"""

import gzip
import posixpath
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from lamm_cl.data.download.network import DownloadError, reason_of
from lamm_cl.data.exporting import Count, export
from lamm_cl.errors import UsageError

CIFAR_SIDE, CIFAR_LABELS = 32, 2  # pixels a side; label bytes: coarse, fine
Rows = Iterator[tuple[Any, str]]  # pixels (H, W) or (H, W, 3), class folder
Reader = Callable[[Sequence[Path], str], Rows]  # files, part
Grab = Callable[[Path, Path], None]


def unpack(archive: Path, folder: Path, moves: Mapping[str, str]) -> None:
    """Unpack parts of an archive, a tar (any compression) or zip file, into `folder`.

    `moves` is from a path in the archive to a path in `folder`; `a/b.tar.gz!c` is `c` in the inner archive
    `a/b.tar.gz`. What is wanted goes to a hidden folder beside the target first and is renamed into place at the end,
    so a target that is there is whole, and stays as it is. The rest is not unpacked.

    Raises:
        DownloadError: the archive is damaged, has a member that points outside, or lacks what `moves` names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".unpack-", dir=folder))
    try:
        _extract(archive, scratch, [source.partition("!")[0] for source in moves])
        for source, target in moves.items():
            found, place = _found(archive, scratch, source), folder / target
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                found.rename(place)
    except OSError as error:
        why = reason_of(error)
        raise DownloadError(f"{archive}: cannot be unpacked into {folder}: {why}. Nothing was left there.") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _found(archive: Path, scratch: Path, source: str) -> Path:
    """Return where a part of the archive lies in `scratch`; what is in an archive inside it is unpacked there first."""
    outer, _, inner = source.partition("!")
    if inner:
        nested = scratch / outer
        if not nested.is_file():
            raise DownloadError(f"{archive}: holds no {outer}")
        scratch = nested.with_name(nested.name + ".unpacked")
        _extract(nested, scratch, [inner])
    found = scratch / (inner or outer)
    if not found.exists():
        raise DownloadError(f"{archive}: holds no {inner or outer}")
    return found


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
                        source = tar.extractfile(member) if member.isfile() else None
                        if source is None:
                            raise _refused(archive, member.name)
                        _write(source, place)
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


def write_pictures(read: Reader, files: Sequence[Path], target: Path, report: Count = lambda done, total: None) -> int:
    """Write all pictures that `read` finds, numbered as in the arrays, or none; returns how many (see `export`)."""
    try:
        return export({part: read(files, part) for part in ("train", "test")}, target, report)
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, AssertionError, IndexError, KeyError) as error:
        why = str(error) or "it ends too early"
        raise DownloadError(f"{files[0].parent}: a file is not whole: {why}. Remove it and fetch it again.") from None
    except UsageError as error:
        raise DownloadError(str(error)) from None
    except OSError as error:
        why = reason_of(error)
        raise DownloadError(f"{target}: pictures cannot be written: {why}. Nothing was left there.") from None


def read_mnist(files: Sequence[Path], part: str) -> Rows:
    """Give MNIST's pictures of a part, from four gzip files: train, then test, images, then labels."""
    from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

    found = []
    for file in files[:2] if part == "train" else files[2:]:
        with tempfile.TemporaryDirectory() as scratch:
            plain = Path(scratch, "plain")
            plain.write_bytes(gzip.decompress(file.read_bytes()))
            found.append(read_sn3_pascalvincent_tensor(str(plain)).numpy())
    images, labels = found
    if (images.ndim, labels.ndim) != (3, 1) or len(images) != len(labels):
        raise DownloadError(f"{files[0].parent}: these are not MNIST's images and labels. Fetch them again.")
    for image, label in zip(images, labels, strict=True):
        yield image, str(label)


def read_cifar(files: Sequence[Path], part: str) -> Rows:
    """Give CIFAR-100's pictures of a part, from its binary version, no pickle; folders are the fine classes."""
    import numpy as np

    (archive,) = files
    row = CIFAR_LABELS + 3 * CIFAR_SIDE * CIFAR_SIDE
    with tarfile.open(archive, "r:*") as tar:
        names = _cifar_file(tar, "cifar-100-binary/fine_label_names.txt", archive).decode("ascii", "replace").split()
        if not names or not all(re.fullmatch(r"[a-z_]+", name) for name in names):
            raise DownloadError(f"{archive}: its class names are not CIFAR-100's. Remove it and fetch it again.")
        content = _cifar_file(tar, f"cifar-100-binary/{part}.bin", archive)
    if len(content) % row:
        raise DownloadError(f"{archive}: ends too early. Remove it and fetch it again.")
    values = np.frombuffer(content, np.uint8).reshape(-1, row)
    labels, planes = values[:, 1], values[:, CIFAR_LABELS:].reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE)
    if labels.max(initial=0) >= len(names):
        raise DownloadError(f"{archive}: holds a label that is no class. Remove it and fetch it again.")
    for label, image in zip(labels, planes.transpose(0, 2, 3, 1), strict=True):
        yield image, names[label]


def _cifar_file(tar: tarfile.TarFile, name: str, archive: Path) -> bytes:
    file = tar.extractfile(name) if name in tar.getnames() else None
    if file is None:
        raise DownloadError(f"{archive}: holds no {name}. Remove it and fetch it again.")
    return file.read()


def middle_frames(videos: Path, target: Path, grab: Grab | None = None) -> int:
    """Write the middle frame of every video as a JPEG, in folders that are called as CoOp calls them.

    `ApplyEyeMakeup/v_x.avi` becomes `Apply_Eye_Makeup/v_x.jpg`. Frames are gathered in a hidden folder that a later
    call continues; the target appears when all are there. How CoOp's frames were compressed is not known, so
    pixels differ a little from those of its archive.
    """
    found = sorted(videos.glob("*/*.avi"))
    if not found:
        raise DownloadError(f"{videos}: holds no video such as ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi")
    gathered = target.with_name(f".{target.name}.part")
    for video in found:
        frame = gathered / action_folder(video.parent.name) / f"{video.stem}.jpg"
        if frame.exists():
            continue
        frame.parent.mkdir(parents=True, exist_ok=True)
        half = frame.with_name(f".{frame.name}.part.jpg")
        (grab or _ffmpeg)(video, half)
        half.replace(frame)
    gathered.replace(target)
    return len(found)


def action_folder(action: str) -> str:
    """Return CoOp's folder name of an action: `ApplyEyeMakeup` is `Apply_Eye_Makeup`."""
    return "_".join(re.findall(r"[A-Z][^A-Z]*", action)) or action


def _ffmpeg(video: Path, frame: Path) -> None:
    if not shutil.which("ffmpeg") or not shutil.which("ffprobe"):
        raise DownloadError("ffmpeg and ffprobe are needed to take frames from videos: install ffmpeg")
    ask = "ffprobe -v error -count_packets -select_streams v:0 -show_entries stream=nb_read_packets -of csv=p=0"
    middle = int(_run(*ask.split(), str(video)).strip().strip(",") or 0) // 2
    choose = rf"select=eq(n\,{middle})"
    _run("ffmpeg", "-v", "error", "-y", "-i", str(video), "-vf", choose, "-frames:v", "1", "-q:v", "2", str(frame))
    if not frame.is_file():
        raise DownloadError(f"{video}: ffmpeg found no frame {middle}")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DownloadError(f"{command[0]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout
