"""Data sets that come as arrays of pixels: written out as one file per picture, so that they are read like all others.

Nothing is unpickled: of CIFAR-100 the binary version is taken, which torchvision does not read.
"""

import errno
import gzip
import re
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lamm_cl.data.download.network import DownloadError
from lamm_cl.data.exporting import Count, export
from lamm_cl.errors import UsageError

MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CIFAR_SIDE, CIFAR_LABELS = 32, 2  # pixels a side; label bytes: coarse, fine
Rows = Iterator[tuple[Any, str]]  # pixels (H, W) or (H, W, 3), class folder
Reader = Callable[[Sequence[Path], str], Rows]  # files, part


def write_pictures(read: Reader, files: Sequence[Path], target: Path, report: Count = lambda done, total: None) -> int:
    """Write all pictures that `read` finds in `files`, numbered as in the arrays; returns how many (see `export`).

    Raises:
        DownloadError: a file is damaged or the disk is full; nothing is left then.
    """
    try:
        return export({part: read(files, part) for part in ("train", "test")}, target, report)
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, AssertionError, IndexError, KeyError) as error:
        why = str(error) or "it ends too early"
        raise DownloadError(f"{files[0].parent}: a file is not whole: {why}. Remove it and fetch it again.") from None
    except UsageError as error:
        raise DownloadError(str(error)) from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else str(error.strerror or error)
        raise DownloadError(f"{target}: pictures cannot be written: {reason}. Nothing was left there.") from None


def read_mnist(files: Sequence[Path], part: str) -> Rows:
    """Give MNIST's pictures of a part, from the four gzip files in the order of `MNIST_FILES`; folders are the digits.

    Raises:
        DownloadError: a file is none of MNIST's, or images and labels differ in number.
    """
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
    """Give CIFAR-100's pictures of a part, from the archive of its binary version; folders are the fine classes.

    Raises:
        DownloadError: the archive lacks a file or holds another thing.
    """
    import numpy as np

    (archive,) = files
    row = CIFAR_LABELS + 3 * CIFAR_SIDE * CIFAR_SIDE
    with tarfile.open(archive, "r:*") as tar:
        names = _member(tar, "cifar-100-binary/fine_label_names.txt", archive).decode("ascii", "replace").split()
        if not names or not all(re.fullmatch(r"[a-z_]+", name) for name in names):
            raise DownloadError(f"{archive}: its class names are not CIFAR-100's. Remove it and fetch it again.")
        content = _member(tar, f"cifar-100-binary/{part}.bin", archive)
    if len(content) % row:
        raise DownloadError(f"{archive}: ends too early. Remove it and fetch it again.")
    values = np.frombuffer(content, np.uint8).reshape(-1, row)
    labels, planes = values[:, 1], values[:, CIFAR_LABELS:].reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE)
    if labels.max(initial=0) >= len(names):
        raise DownloadError(f"{archive}: holds a label that is no class. Remove it and fetch it again.")
    for label, image in zip(labels, planes.transpose(0, 2, 3, 1), strict=True):
        yield image, names[label]


def _member(tar: tarfile.TarFile, name: str, archive: Path) -> bytes:
    file = tar.extractfile(name) if name in tar.getnames() else None
    if file is None:
        raise DownloadError(f"{archive}: holds no {name}. Remove it and fetch it again.")
    return file.read()
