"""Data sets that come as arrays of pixels: written out as one file per picture, so that they are read like all others.

The files are PGM and PPM: a line of header, then the pixels. So every machine writes the same bytes and content
fingerprints agree, which PNG's do not when two machines compress differently. Nothing is unpickled: of CIFAR-100 the
binary version is taken.
"""

import errno
import gzip
import re
import shutil
import struct
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from lamm_cl.data.download.network import DownloadError

MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CIFAR_SIDE, CIFAR_LABELS = 32, 2  # pixels a side; label bytes: coarse, fine
Count = Callable[[int, int | None], None]  # bytes so far, bytes in all


class Picture(NamedTuple):
    """One picture: its class folder and its file."""

    folder: str
    suffix: str
    content: bytes


Reader = Callable[[Sequence[Path], str], Iterator[Picture]]  # files, part -> pictures


def write_pictures(read: Reader, files: Sequence[Path], target: Path, report: Count = lambda done, total: None) -> int:
    """Write all pictures of `files` as `target/{train,test}/CLASS/NUMBER.EXT`, numbered as in the arrays.

    They go to a hidden folder first; `target`'s parts appear when all are written.

    Args:
        read: `read_mnist` or `read_cifar`.
        files: what that reads.
        target: the folder.
        report: called now and then.

    Returns:
        The number of pictures.

    Raises:
        DownloadError: a file is damaged or the disk is full; nothing is left then.
    """
    target.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".pictures-", dir=target))
    count = done = 0
    try:
        for part in ("train", "test"):
            for number, picture in enumerate(read(files, part)):
                place = scratch / part / picture.folder
                place.mkdir(parents=True, exist_ok=True)
                (place / f"{number:05d}{picture.suffix}").write_bytes(picture.content)
                count, done = count + 1, done + len(picture.content)
                if count % 1000 == 0:
                    report(done, None)
        for part in ("train", "test"):
            if not (target / part).exists():
                (scratch / part).rename(target / part)
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, struct.error) as error:
        raise DownloadError(f"{files[0].parent}: a file is not whole: {error}. Remove it and fetch it again.") from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else str(error.strerror or error)
        raise DownloadError(f"{target}: pictures cannot be written: {reason}. Nothing was left there.") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return count


def read_mnist(files: Sequence[Path], part: str) -> Iterator[Picture]:
    """Give MNIST's pictures of a part, from the four gzip files in the order of `MNIST_FILES`; folders are the digits.

    Raises:
        DownloadError: a file is none of MNIST's, or images and labels differ in number.
    """
    images, labels = files[:2] if part == "train" else files[2:]
    with gzip.open(images) as pixels, gzip.open(labels) as classes:
        kind, n, height, width = struct.unpack(">IIII", _exactly(pixels, 16, images))
        other, m = struct.unpack(">II", _exactly(classes, 8, labels))
        if (kind, other) != (2051, 2049) or n != m:
            raise DownloadError(f"{images} and {labels.name}: are not MNIST's images and labels. Fetch them again.")
        header = f"P5\n{width} {height}\n255\n".encode()
        for _ in range(n):
            content = header + _exactly(pixels, width * height, images)
            yield Picture(str(_exactly(classes, 1, labels)[0]), ".pgm", content)


def read_cifar(files: Sequence[Path], part: str) -> Iterator[Picture]:
    """Give CIFAR-100's pictures of a part, from the archive of its binary version; folders are the fine classes.

    Raises:
        DownloadError: the archive lacks a file or holds another thing.
    """
    (archive,) = files
    size = CIFAR_SIDE * CIFAR_SIDE
    header = f"P6\n{CIFAR_SIDE} {CIFAR_SIDE}\n255\n".encode()
    with tarfile.open(archive, "r:*") as tar:
        with _member(tar, "cifar-100-binary/fine_label_names.txt", archive) as file:
            names = file.read(1 << 16).decode("ascii", "replace").split()
        if not names or not all(re.fullmatch(r"[a-z_]+", name) for name in names):
            raise DownloadError(f"{archive}: its class names are not CIFAR-100's. Remove it and fetch it again.")
        with _member(tar, f"cifar-100-binary/{part}.bin", archive) as file:
            while label := file.read(CIFAR_LABELS):
                planes = _exactly(file, 3 * size, archive)
                if len(label) < CIFAR_LABELS or label[1] >= len(names):
                    raise DownloadError(f"{archive}: holds a label that is no class. Remove it and fetch it again.")
                pixels = bytearray(3 * size)
                for colour in range(3):  # planes of red, green and blue become pixels
                    pixels[colour::3] = planes[colour * size : (colour + 1) * size]
                yield Picture(names[label[1]], ".ppm", header + pixels)


def _member(tar: tarfile.TarFile, name: str, archive: Path) -> IO[bytes]:
    try:
        file = tar.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise DownloadError(f"{archive}: holds no {name}. Remove it and fetch it again.")
    return file


def _exactly(file: "IO[bytes] | gzip.GzipFile", n: int, path: Path) -> bytes:
    found = file.read(n)
    if len(found) < n:
        raise DownloadError(f"{path}: ends too early. Remove it and fetch it again.")
    return found
