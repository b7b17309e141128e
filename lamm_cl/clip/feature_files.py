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
from typing import Any

import torch
from torch import Tensor

from lamm_cl.clip.cache_folder import SEGMENT, list_files, make_view, refuse_links, stat_of
from lamm_cl.clip.feature_key import digest, scope_of
from lamm_cl.files import remove_leftovers, write_atomic
from lamm_cl.locks import Lock

MANY = 5  # files of a view that are merged
State = tuple[int, int, int] | None  # number, size and time of change of a file


@dataclass
class Segment:
    """Features (n, width) of some images in one view, and the row of each image by its content key."""

    rows: Tensor
    index: dict[str, int]
    state: State = None  # of their file when they were checked


class View:
    """The features of one view; `about` says what they depend on besides image and view, `scope` is a digest of it.

    Those in `files` of the folder, which need not exist yet, are open: a file that is taken out is opened again when it
    is wanted. Those in `kept` memory alone has; without a folder, these are all.
    """

    def __init__(
        self, directory: Path | None, about: dict[str, Any], name: str, width: int, dtype: torch.dtype
    ) -> None:
        self.about, self.scope, self.name = about, scope_of(about), name
        self.folder = None if directory is None else directory / self.scope[:16] / digest(name)[:16]
        self.width, self.dtype = width, dtype
        self.kept: list[Segment] = []
        self.files: dict[Path, Segment] = {}
        self._lock: Lock | None = None

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
        return [*self.files.values(), *self.kept]

    @property
    def kept_bytes(self) -> int:
        """Size of what memory alone has."""
        return sum(segment.rows.nbytes for segment in self.kept)

    def refresh(self, keep_deleted: bool = False) -> None:
        """Open what is there and sound; delete what is not.

        A file that has changed since it was checked is mapped anew and checked again: the pages of what was mapped
        before hold other numbers, or none, which would kill the process. With `keep_deleted`, what is open stays good
        though another process clear the cache meanwhile.
        """
        if self.folder is None or self.folder.is_symlink() or self.folder.parent.is_symlink():
            return  # behind a link lies none of ours, to read or to delete
        files = [file for file in list_files(self.folder) if file.suffix == SEGMENT and not file.is_symlink()]
        for file in list(self.files):
            state = _state(file)
            if state != self.files[file].state and not (state is None and keep_deleted):
                del self.files[file]
        for file in files:
            if file not in self.files:
                self._map(file)

    def _map(self, file: Path) -> bool:
        """Read a file and keep it open; its state is noted first, so that a change meanwhile is seen later."""
        state = _state(file)
        segment = self._read(file)
        if segment is None or state is None:
            return False
        segment.state = state
        self.files[file] = segment
        return True

    def touch(self) -> None:
        """Note that the view is used now, so that it is deleted late."""
        for file, segment in self.files.items():
            with contextlib.suppress(OSError):
                if _state(file) == segment.state:  # else somebody changed it, which must be seen
                    now = time.time_ns()  # finer than the system's own clock of files: no other change looks the same
                    os.utime(file, ns=(now, now))
                    segment.state = _state(file)

    def acquire(self, seconds: float) -> bool:
        """Take the view's lock, waiting at most `seconds`, and open what is there then.

        What dead processes left half written is removed.

        Raises:
            OSError: There is no place for it.
        """
        assert self.folder is not None
        self._lock = Lock(self.folder / "lock")
        for more in range(20, -1, -1):
            try:
                make_view(self.folder, self.about)
                taken = self._lock.acquire(seconds)
                break
            except (FileNotFoundError, FileExistsError):  # another process clears the cache meanwhile: made again
                if not more:
                    raise
                time.sleep(0.005)
        if taken:
            remove_leftovers(self.folder)
        self.refresh(keep_deleted=True)
        return taken

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._lock is not None:
            with contextlib.suppress(OSError):  # what is written is there; the lock ends with the process
                self._lock.release()

    def keep(self, keys: Sequence[str], rows: Tensor) -> None:
        """Keep the features `rows` (n, width) of the images `keys` in memory."""
        self.kept.append(Segment(rows, {key: row for row, key in enumerate(keys)}))

    def write(self, keys: Sequence[str], rows: Tensor) -> None:
        """Write features to a file, whole or not at all, and read them from there; under the lock.

        Where another process clears the cache in between they stay in memory.
        """
        from safetensors.torch import save

        assert self.folder is not None
        rows = rows.contiguous()
        metadata = {"keys": json.dumps(list(keys)), "scope": self.scope, "view": self.name}
        content = save({"features": rows}, metadata | {"sum": _sum(metadata, rows)})
        file = self.folder / f"{len(keys)}-{secrets.token_hex(8)}{SEGMENT}"
        refuse_links(self.folder, self.folder.parent)
        write_atomic(file, content)
        # What was written is read back: mapped from the file instead of held in memory, and checked once.
        if not self._map(file):
            self.keep(keys, rows)

    def merge(self) -> None:
        """Put many small files into one; under the lock."""
        self.refresh()
        many = dict(self.files)
        if len(many) < MANY:
            return
        whole = {key: segment.rows[row] for segment in many.values() for key, row in segment.index.items()}
        self.write(list(whole), torch.stack(list(whole.values())))
        for file in many:
            file.unlink(missing_ok=True)
            self.files.pop(file, None)

    def _read(self, file: Path) -> Segment | None:
        """Map a file; None, and the file deleted, when it is damaged or was made for something else.

        Where it can't be mapped though it is sound (too many open files), it is read into memory.
        """
        with contextlib.suppress(Exception):  # whose fault it was is found out below
            return self._checked(*_mapped(file))
        try:
            return self._checked(*_parsed(file.read_bytes()))
        except (OSError, MemoryError):  # says nothing about the file
            return None
        except Exception:  # whatever is wrong with it, it can be computed again
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
            return None

    def _checked(self, metadata: dict[str, str], rows: Tensor) -> Segment:
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
        return Segment(rows, index)


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
    found = stat_of(file)
    return None if found is None else (found.st_ino, found.st_size, found.st_mtime_ns)


def _sum(metadata: dict[str, str], rows: Tensor) -> str:
    """Return a check sum over a file's names, what they depend on, and the numbers."""
    digest = hashlib.sha256(json.dumps([metadata[key] for key in ("keys", "scope", "view")]).encode())
    digest.update(rows.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
