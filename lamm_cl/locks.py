"""Locks between processes and machines, by one policy: they end with their holder, however it ends."""

import contextlib
import errno
from pathlib import Path

import filelock

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_LEASE_SECONDS = 60.0


class Lock:
    """An exclusive lock on a path, between processes and, over NFS, between machines.

    The file exists while the lock is held and is removed on release. The operating system releases it when the holder
    dies, also by `kill -9`, so that nobody waits for a dead one. On file systems without such locks a lease stands for
    it: a file that the holder renews, and that others may take over when it has not changed for a minute by their own
    clock, or at once when its process on this machine is dead.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: filelock.BaseFileLock | None = None

    def acquire(self, seconds: float = 0.0) -> bool:
        """Take the lock, waiting at most `seconds`, for ever below 0. Returns whether it is held now.

        Raises `OSError`, which names the file, where that can't be made or locked.
        """
        try:
            return self._take(filelock.FileLock(self.path, fallback_to_soft=False), seconds)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                lease = self.path.with_name(self.path.name + ".lease")
                return self._take(filelock.SoftFileLease(lease, lease_duration=_LEASE_SECONDS), seconds)
            raise self._named(error) from None

    def _take(self, lock: filelock.BaseFileLock, seconds: float) -> bool:
        try:
            lock.acquire(timeout=seconds, poll_interval=0.02)
        except filelock.Timeout:
            return False
        self._held = lock
        return True

    def release(self) -> None:
        """Give the lock back; harmless when it is not held. Where that fails, the `OSError` names the file."""
        if self._held is None:
            return
        # Before the release: whoever locks a file that is gone meanwhile sees that it holds nothing.
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        held, self._held = self._held, None
        try:
            held.release()
        except OSError as error:
            raise self._named(error) from None

    def _named(self, error: OSError) -> OSError:
        error.filename = error.filename or str(self.path)
        return error

    def __enter__(self) -> "Lock":
        self.acquire(-1)  # for ever
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
