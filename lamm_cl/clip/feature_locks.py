"""Files by which processes share the work of computing features: locks and claims. Needs no torch.

A lock ends with the process that took it, however that ends; a child that was forked meanwhile does not keep it.
"""

import contextlib
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from weakref import WeakSet

from lamm_cl.clip.trust import make_folder, open_unlinked

if sys.platform != "win32":
    import fcntl

PATIENCE_SECONDS = 900.0


class Held:
    """An open file that is locked until `close`, or until this process ends.

    Args:
        file: where; its folder is made if need be.
        flags: how `os.open` opens it.
    """

    def __init__(self, file: Path, flags: int) -> None:
        self.handle = create(file, flags)
        _HELD.add(self)

    def lock(self) -> bool:
        """Take the lock unless another process has it; True when it is taken."""
        return _flock(self.handle)

    def close(self) -> None:
        """Let the lock go. Does nothing in a child of the process that took it."""
        if self.handle >= 0:
            handle, self.handle = self.handle, -1
            with contextlib.suppress(OSError):
                os.close(handle)


_HELD: "WeakSet[Held]" = WeakSet()


def _close_in_child() -> None:
    """A forked child has the parent's open files, and a lock lives until the last of them is closed."""
    for held in list(_HELD):
        held.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


class Claim:
    """A small locked file that names what this process is computing.

    Args:
        folder: where.
        keys: content keys of the images.
    """

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self.file = folder / f"{secrets.token_hex(8)}.claim"
        self._held = Held(self.file, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            while not self._held.lock():  # somebody looks whether it is locked, for less than a moment
                time.sleep(0.001)
            write_all(self._held.handle, json.dumps(list(keys)).encode())
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Tell the others that this is done, or given up."""
        if self._held.handle >= 0:
            with contextlib.suppress(OSError):
                self.file.unlink(missing_ok=True)
            self._held.close()


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Keep other processes from looking and claiming for a moment.

    Raises:
        TimeoutError: another process has the lock and does not let it go: it was stopped, or hangs.
    """
    held = Held(file, os.O_RDWR | os.O_CREAT)
    try:
        started, pause = time.monotonic(), 0.001
        while not held.lock():
            if time.monotonic() - started > PATIENCE_SECONDS:
                raise TimeoutError(f"another process keeps {file} locked")
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        yield
    finally:
        held.close()


def wait(claim: Path) -> bool:
    """Wait until the process behind a claim has finished or died; False when it takes too long."""
    started, pause = time.monotonic(), 0.01
    while time.monotonic() - started < PATIENCE_SECONDS:
        if not is_held(claim):
            return True
        time.sleep(pause)
        pause = min(2 * pause, 0.25)
    return False


def is_held(file: Path) -> bool:
    """Whether a living process, this one counted, has a file locked; False where there is no such file, or a link."""
    if file.is_symlink():
        return False
    with contextlib.suppress(FileNotFoundError), os.fdopen(open_unlinked(file, os.O_RDWR), "r+b") as opened:
        return not _flock(opened.fileno())
    return False


def named_by(claim: Path) -> frozenset[str]:
    """Return the keys that a claim names; none where it is not one of ours."""
    try:
        return frozenset(map(str, json.loads(claim.read_bytes())))
    except (OSError, ValueError, TypeError):
        return frozenset()


def create(file: Path, flags: int) -> int:
    """Open a file for writing in a folder that another process may be clearing away; follows no link."""
    for _ in range(3):
        make_folder(file.parent)
        with contextlib.suppress(FileNotFoundError):
            return open_unlinked(file, flags)
    raise FileNotFoundError(f"the folder of {file} is being deleted again and again")


def write_all(handle: int, data: bytes) -> None:
    """Write all of `data`: the system may take less at once."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _flock(handle: int) -> bool:
    """Lock an open file unless another has it locked."""
    if sys.platform == "win32":  # no such locks there: processes may compute the same thing twice
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
