"""One view's cached features: files that are written whole and checked before use, and rows that memory alone has.

A file is safetensors with one tensor `features` (n, width), memory-mapped. Its metadata names the images, what the
features depend on, and a check sum over all of it: what is damaged, or was made for something else, is deleted and
computed again. Who holds the view's lock computes what is missing and writes it; others wait for its files.
"""

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lamm_cl.clip.cache_folder import SEGMENT, list_files, make_folder, open_unlinked, refuse_link, though_cleared
from lamm_cl.locks import Lock

State = tuple[int, int, int] | None  # number, size and time of change of a file


@dataclass(frozen=True)
class Segment:
    """Features of some images in one view.

    Attributes:
        rows: (n, width).
        index: row of each image, by its content key.
        file: where they are kept, or None for memory.
    """

    rows: Tensor
    index: dict[str, int]
    file: Path | None = None


class View:
    """The features of one view.

    Args:
        folder: of its files, which need not exist yet; None for memory only.
        scope: digest of what the features depend on besides image and view.
        name: of the view.
        width: of features.
        dtype: their type.
    """

    def __init__(self, folder: Path | None, scope: str, name: str, width: int, dtype: torch.dtype) -> None:
        self.folder, self.scope, self.name = folder, scope, name
        self.width, self.dtype = width, dtype
        self._kept: list[Segment] = []
        self._open: dict[Path, Segment] = {}
        self._states: dict[Path, State] = {}
        self._lock: Lock | None = None

    # -- what is known ---------------------------------------------------------------------------------------------

    def missing(self, keys: Iterable[str]) -> list[str]:
        """List the keys that have no features, in their order."""
        indices = [segment.index for segment in self._segments()]
        return [key for key in keys if not any(key in index for index in indices)]

    def gather(self, keys: Sequence[str]) -> Tensor:
        """Return the features (n, width) of images that all have some."""
        out = torch.empty(len(keys), self.width, dtype=self.dtype)
        for segment in self._segments():
            found = [(i, segment.index[key]) for i, key in enumerate(keys) if key in segment.index]
            if found:
                target, row = (torch.tensor(part) for part in zip(*found, strict=True))
                out[target] = segment.rows[row]
        return out

    def _segments(self) -> list[Segment]:
        return [*self._open.values(), *self._kept]

    @property
    def files(self) -> int:
        """Number of files that are open."""
        return len(self._open)

    @property
    def kept_bytes(self) -> int:
        """Size of what memory alone has."""
        return sum(segment.rows.nbytes for segment in self._kept)

    def close(self) -> None:
        """Let the files go; they are opened again when they are wanted."""
        self._open.clear()

    def forget(self) -> None:
        """Drop what memory alone has."""
        self._kept.clear()

    # -- files -----------------------------------------------------------------------------------------------------

    def refresh(self, keep_deleted: bool = False) -> None:
        """Open what is there and sound; delete what is not.

        A file that has changed since it was checked is mapped anew and checked again: the pages of what was mapped
        before hold other numbers, or none, which would kill the process.

        Args:
            keep_deleted: what is open stays good though another process clear the cache meanwhile.
        """
        if self.folder is None or self.folder.is_symlink() or self.folder.parent.is_symlink():
            return  # behind a link lies none of ours, to read or to delete
        files = [file for file in list_files(self.folder) if file.suffix == SEGMENT and not file.is_symlink()]
        for file in list(self._open):
            state = _state(file)
            if state != self._states[file] and not (state is None and keep_deleted):
                del self._open[file]
        for file in files:
            if file not in self._open:
                self._map(file)

    def _map(self, file: Path) -> bool:
        """Read a file and keep it open; its state is noted first, so that a change meanwhile is seen later."""
        state = _state(file)
        segment = self._read(file)
        if segment is None or state is None:
            return False
        self._open[file], self._states[file] = segment, state
        return True

    def touch(self) -> None:
        """Note that the view is used now, so that it is deleted late."""
        for file in self._open:
            with contextlib.suppress(OSError):
                if _state(file) == self._states[file]:  # else somebody changed it, which must be seen
                    now = time.time_ns()  # finer than the system's own clock of files: no other change looks the same
                    os.utime(file, ns=(now, now))
                    self._states[file] = _state(file)

    def acquire(self, seconds: float) -> bool:
        """Take the view's lock, waiting at most `seconds`; what dead processes left half written is removed.

        Raises:
            OSError: There is no place for it.
        """
        assert self.folder is not None
        folder, self._lock = self.folder, Lock(self.folder / "lock")

        def acquire(lock: Lock = self._lock) -> bool:
            make_folder(folder)
            for one in (folder, folder.parent):
                refuse_link(one)
            return lock.acquire(seconds)

        if not though_cleared(acquire):
            return False
        for file in list_files(folder):
            if file.suffix == ".tmp":
                file.unlink(missing_ok=True)
        return True

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._lock is not None:
            with contextlib.suppress(OSError):  # what is written is there; the lock ends with the process
                self._lock.release()

    def keep(self, keys: Sequence[str], rows: Tensor) -> None:
        """Keep the features `rows` (n, width) of the images `keys` in memory."""
        self._kept.append(Segment(rows, {key: row for row, key in enumerate(keys)}))

    def write(self, keys: Sequence[str], rows: Tensor) -> None:
        """Write features to a file, whole or not at all, and read them from there; under the lock.

        Where another process clears the cache in between they stay in memory.
        """
        from safetensors.torch import save

        assert self.folder is not None
        rows = rows.contiguous()
        metadata = {"keys": json.dumps(list(keys)), "scope": self.scope, "view": self.name}
        content = save({"features": rows}, metadata | {"sum": _sum(metadata, rows)})
        name = secrets.token_hex(8)
        temporary = self.folder / f"{name}.tmp"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(open_unlinked(temporary, flags), "wb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            file = self.folder / f"{len(keys)}-{name}{SEGMENT}"
            temporary.replace(file)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        # What was written is read back: mapped from the file instead of held in memory, and checked once.
        if not self._map(file):
            self.keep(keys, rows)

    def merge(self, at_least: int = 5) -> None:
        """Put many small files into one; under the lock."""
        self.refresh()
        many = list(self._open.values())
        if len(many) < at_least:
            return
        whole = {key: segment.rows[row] for segment in many for key, row in segment.index.items()}
        self.write(list(whole), torch.stack(list(whole.values())))
        for segment in many:
            assert segment.file is not None
            segment.file.unlink(missing_ok=True)
            self._open.pop(segment.file, None)

    def _read(self, file: Path) -> Segment | None:
        """Map a file; None, and the file deleted, when it is damaged or was made for something else.

        Where it can't be mapped though it is sound (too many open files), it is read into memory.
        """
        with contextlib.suppress(Exception):  # whose fault it was is found out below
            return self._checked(file, *_mapped(file))
        try:
            return self._checked(file, *_parsed(file.read_bytes()))
        except (OSError, MemoryError):  # says nothing about the file
            return None
        except Exception:  # whatever is wrong with it, it can be computed again
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
            return None

    def _checked(self, file: Path, metadata: dict[str, str], rows: Tensor) -> Segment:
        """Return a file's content if it is what was written for this view; else raise."""
        keys = json.loads(metadata["keys"])
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise ValueError("names of no images")
        index = {key: row for row, key in enumerate(keys)}
        own = (self.scope, self.name, (len(index), self.width), self.dtype)
        if (metadata["scope"], metadata["view"], tuple(rows.shape), rows.dtype) != own:
            raise ValueError("made for something else")
        if metadata["sum"] != _sum(metadata, rows):
            raise ValueError("damaged")
        return Segment(rows, index, file)


def _mapped(file: Path) -> tuple[dict[str, str], Tensor]:
    """Return a file's metadata and its features, mapped."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return dict(opened.metadata() or {}), opened.get_tensor("features")


def _parsed(content: bytes) -> tuple[dict[str, str], Tensor]:
    """Return the metadata and the features of a file that was read whole."""
    from safetensors.torch import load

    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header["__metadata__"], load(content)["features"]


def _state(file: Path) -> State:
    """Return what changes whenever a file's content does; None where there is none."""
    with contextlib.suppress(OSError):
        found = file.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None


def _sum(metadata: dict[str, str], rows: Tensor) -> str:
    """Return a check sum over a file's names, what they depend on, and the numbers."""
    digest = hashlib.sha256(json.dumps([metadata[key] for key in ("keys", "scope", "view")]).encode())
    digest.update(rows.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
