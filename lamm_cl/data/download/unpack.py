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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from lamm_cl.data.download.network import DownloadError
from lamm_cl.data.imagenet import member_of
from lamm_cl.data.splits import escapes

_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile)
Rows = Iterator[tuple[Any, str]]  # pixels (H, W) or (H, W, 3), class folder


def unpack(archive: Path, folder: Path, moves: Mapping[str, str]) -> None:
    """Unpack parts of an archive, a tar (any compression) or zip file, into `folder`.

    `moves` is from a path in the archive to a path in `folder`; `a/b.tar.gz!c` is `c` in the inner archive
    `a/b.tar.gz`. What is wanted goes to a hidden folder beside the target first and is renamed into place at the end,
    so a target that is there is whole, and stays as it is. The rest is not unpacked.

    Raises:
        DownloadError: the archive is damaged, has a member that points outside, or lacks what `moves` names.
        OSError: the disk is full, or cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".unpack-", dir=folder))
    try:
        _extract(archive, scratch, [source.partition("!")[0] for source in moves])
        for source, target in moves.items():
            outer, _, inner = source.partition("!")
            found, place = scratch / outer, folder / target
            if not found.exists():
                raise DownloadError(f"{archive}: holds no {outer}")
            if inner:
                unpack(found, folder, {inner: target})
            elif not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                found.rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(archive: Path, folder: Path, wanted: list[str]) -> None:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                for info in opened.infolist():
                    file = info.external_attr >> 28 in (0, 8)  # no Unix mode, regular file
                    path = _path(archive, info.filename, file or info.is_dir(), wanted)
                    if path and not info.is_dir():
                        _write(opened.open(info), folder / path)
        else:
            with tarfile.open(archive, "r:*") as tar:
                for member in tar:
                    path = _path(archive, member.name, member.isfile() or member.isdir(), wanted)
                    if path and (source := tar.extractfile(member)):
                        _write(source, folder / path)
    except DownloadError:
        raise
    except (*_DAMAGED, EOFError, ValueError, RuntimeError, KeyError) as error:
        raise DownloadError(f"{archive}: is no whole archive: {error}. Remove it and fetch it again.") from None


def _write(source: IO[bytes], place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with source, place.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def _path(archive: Path, name: str, plain: bool, wanted: list[str]) -> str:
    """Return where a member goes, "" where nobody wants it; `plain` is a file or a folder, and all else is refused."""
    if escapes(name):
        raise DownloadError(f"{archive}: {name!r} points outside the archive: refused, nothing was unpacked")
    path = posixpath.normpath(name.replace("\\", "/"))
    if not any(path == one or path.startswith(one + "/") for one in wanted):
        return ""
    if not plain:
        raise DownloadError(f"{archive}: {name!r} is neither a file nor a folder: refused")
    return path


def read_mnist(files: Sequence[Path], part: str) -> Rows:
    """Give MNIST's pictures of a part, from four gzip files: train, then test, images, then labels."""
    from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

    found = []
    for file in files[:2] if part == "train" else files[2:]:
        with tempfile.TemporaryDirectory() as scratch:
            plain = Path(scratch, "plain")
            plain.write_bytes(gzip.decompress(file.read_bytes()))
            found.append(read_sn3_pascalvincent_tensor(str(plain)).numpy())
    for image, label in zip(*found, strict=True):
        yield image, str(label)


def read_cifar(files: Sequence[Path], part: str) -> Rows:
    """Give CIFAR-100's pictures of a part, from its binary version, no pickle; folders are the fine classes."""
    import numpy as np

    names = member_of(files[0], "cifar-100-binary/fine_label_names.txt").decode().split()
    content = np.frombuffer(member_of(files[0], f"cifar-100-binary/{part}.bin"), np.uint8)
    for row in content.reshape(-1, 2 + 3 * 32 * 32):  # coarse label, fine label, three planes of colour
        yield row[2:].reshape(3, 32, 32).transpose(1, 2, 0), names[row[1]]


READERS = {"cifar": read_cifar, "mnist": read_mnist}  # of archives whose checksums say that they are whole


def middle_frames(videos: Path, target: Path) -> int:
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
        if not frame.exists():
            frame.parent.mkdir(parents=True, exist_ok=True)
            half = frame.with_name(f".{frame.name}.part.jpg")
            _ffmpeg(video, half)
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
