"""One view's cached features on disk: files that are written whole, checked before use, and computed once.

A file is safetensors with one tensor `features` (n, d), memory-mapped. Its metadata names the images, what the
features depend on, and a check sum over all of it: what is damaged, or was made for something else, is deleted and
computed again. Processes that want the same images share the work: each claims some in a small file that it keeps
locked, and waits for the others' files instead of computing what they claimed.
"""

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lamm_cl.clip import feature_locks
from lamm_cl.clip.cache_folder import SEGMENT, list_files
from lamm_cl.clip.feature_locks import Claim, create, is_held, locked, named_by

State = tuple[int, int, int] | None  # number, size and time of change of a file


@dataclass(frozen=True)
class Segment:
    """Features of some images in one view.

    Attributes:
        rows: (n, d).
        index: row of each image, by its content key.
        file: where they are kept, or None for memory.
    """

    rows: Tensor
    index: dict[str, int]
    file: Path | None = None


class ViewFolder:
    """The files of one view.

    Args:
        folder: where they are.
        scope: digest of what the features depend on besides image and view.
        view: name of the view.
        width: number d of features.
        dtype: their type.

    Attributes:
        spoiled: files that were changed by others while they were mapped: what was read from them counts no more.
    """

    def __init__(self, folder: Path, scope: str, view: str, width: int, dtype: torch.dtype) -> None:
        self.folder, self.scope, self.view = folder, scope, view
        self.width, self.dtype = width, dtype
        self.spoiled: set[Path] = set()
        self._open: dict[Path, Segment] = {}
        self._states: dict[Path, State] = {}

    def segments(self) -> list[Segment]:
        """Return what is there and sound; delete what is not.

        A file that has changed since it was checked is mapped anew and checked again, and `spoiled` names it: the
        pages of what was mapped before hold other numbers, or none, which would kill the process.
        """
        if self.folder.is_symlink() or self.folder.parent.is_symlink():
            return []  # what lies there is none of ours, to read or to delete
        files = [file for file in list_files(self.folder) if file.suffix == SEGMENT and not file.is_symlink()]
        self._open = {file: segment for file, segment in self._open.items() if file in files}
        for file in files:
            if file in self._open and _state(file) != self._states[file]:
                self.spoiled.add(file)
                del self._open[file]
            if file not in self._open:
                self._map(file)
        return list(self._open.values())

    def _map(self, file: Path) -> Segment | None:
        """Read a file and keep it open; its state is noted first, so that a change meanwhile is seen later."""
        state = _state(file)
        segment = self._read(file)
        if segment is not None and state is not None:
            self._open[file], self._states[file] = segment, state
        return segment

    @property
    def used(self) -> bool:
        """Whether any of its files is open."""
        return bool(self._open)

    def touch(self) -> None:
        """Note that the view is used now, so that it is deleted late."""
        for file in self._open:
            with contextlib.suppress(OSError):
                if _state(file) == self._states[file]:  # else somebody changed it, which must be seen
                    now = time.time_ns()  # finer than the system's own clock of files: no other change looks the same
                    os.utime(file, ns=(now, now))
                    self._states[file] = _state(file)

    def write(self, keys: Sequence[str], rows: Tensor) -> Segment | None:
        """Write the features `rows` (n, d) of the images `keys`, whole or not at all.

        Returns:
            What can be read back: None when another process has cleared the cache in between.
        """
        from safetensors.torch import save

        rows = rows.contiguous()
        metadata = {"keys": json.dumps(list(keys)), "scope": self.scope, "view": self.view}
        content = save({"features": rows}, metadata | {"sum": _sum(metadata, rows)})
        name = secrets.token_hex(8)
        temporary = self.folder / f"{name}.tmp"
        try:
            with os.fdopen(create(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            file = self.folder / f"{len(keys)}-{name}{SEGMENT}"
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
        # What was written is read back: mapped from the file instead of held in memory, and checked once.
        return self._map(file)

    def merge(self, at_least: int = 5) -> None:
        """Put many small files into one."""
        with locked(self.folder / "lock"):
            many = self.segments()
            if len(many) < at_least:
                return
            whole = {key: segment.rows[row] for segment in many for key, row in segment.index.items()}
            if self.write(list(whole), torch.stack(list(whole.values()))) is None:
                return
            for segment in many:
                assert segment.file is not None
                segment.file.unlink(missing_ok=True)
                self._open.pop(segment.file, None)

    def share(
        self, missing: Sequence[str], limit: int, ignored: Set[Path]
    ) -> tuple[Claim | None, list[str], list[Path]]:
        """Divide the work among processes.

        Args:
            missing: images without features, by content key.
            limit: how many to claim at most.
            ignored: claims of others that count no more.

        Returns:
            This process's claim and what it covers, or (None, []) when there is nothing left to claim; and the
            claims of others, to wait for.
        """
        with locked(self.folder / "lock"):
            claims = {file: keys for file, keys in self._claims().items() if file not in ignored}
            taken = frozenset().union(*claims.values())
            for segment in self.segments():
                taken |= segment.index.keys()
            mine = [key for key in missing if key not in taken][:limit]
            claim = Claim(self.folder, mine) if mine else None
            return claim, mine, list(claims)

    def _claims(self) -> dict[Path, frozenset[str]]:
        """Return what living processes are computing; remove what dead ones left."""
        found = {}
        for file in list_files(self.folder):
            if file.suffix == ".claim":
                if is_held(file):
                    found[file] = named_by(file)
                else:
                    file.unlink(missing_ok=True)
            elif file.suffix == ".tmp" and self._stale(file):
                file.unlink(missing_ok=True)
        return found

    @staticmethod
    def _stale(file: Path) -> bool:
        """Whether a half-written file is so old that its process must be dead."""
        with contextlib.suppress(OSError):
            return time.time() - file.stat().st_mtime > feature_locks.PATIENCE_SECONDS
        return False

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
        own = (self.scope, self.view, (len(index), self.width), self.dtype)
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
