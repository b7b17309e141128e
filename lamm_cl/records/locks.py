"""Locks between processes that end with their holder, however it ends."""

import contextlib
import errno
import fcntl
import os
import threading
import time
from pathlib import Path
from types import TracebackType

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class FileLock:
    """An exclusive lock on a path, between processes and, over NFS, between machines.

    The operating system releases it when the holder dies, also by `kill -9`, so that the next command never waits
    for a dead one. File systems without such locks get a lease instead: a file made exclusively whose time stamp
    the holder renews, and which counts as abandoned after `stale_after` seconds without renewal.

    Args:
        path: The lock file; it exists while the lock is held and is removed on release.
        stale_after: Seconds after which an unrenewed lease may be taken over.
    """

    def __init__(self, path: Path, stale_after: float = 60.0) -> None:
        self.path = path
        self._stale_after = stale_after
        self._handle: int | None = None
        self._lease: _Lease | None = None

    def acquire(self, wait: bool = False) -> bool:
        """Take the lock; with `wait`, for as long as it takes. Returns whether it is held now."""
        while not self._try():
            if not wait:
                return False
            time.sleep(0.02)
        return True

    def _try(self) -> bool:
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder may have removed the file between our open and our lock: then we hold nothing.
            if _same_file(handle, self.path):
                self._handle, handle = handle, -1
                return True
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                self._lease = _Lease.take(self.path.with_name(self.path.name + ".lease"), self._stale_after)
                return self._lease is not None
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
        finally:
            if handle >= 0:
                os.close(handle)
        return False

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._lease is not None:
            self._lease.end()
            self._lease = None
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> "FileLock":
        self.acquire(wait=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _same_file(handle: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(handle)
    return (here.st_ino, here.st_dev) == (there.st_ino, there.st_dev)


class _Lease:
    """A file made exclusively, kept fresh by a thread that ends with the process."""

    def __init__(self, path: Path, stale_after: float) -> None:
        self._path = path
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, args=(stale_after / 6,), daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, path: Path, stale_after: float) -> "_Lease | None":
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > stale_after:
                # Renaming is atomic: of several that find the same stale lease, one gets it.
                abandoned = path.with_name(f"{path.name}.{os.getpid()}.old")
                path.rename(abandoned)
                abandoned.unlink()
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            return None
        return cls(path, stale_after)

    def _renew(self, every: float) -> None:
        while not self._ended.wait(every):
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)
