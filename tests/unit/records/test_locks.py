import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lamm_cl.records.locks import FileLock

HOLD = """
import sys, time
from pathlib import Path
from lamm_cl.records.locks import FileLock
assert FileLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()
    assert [entry.name for entry in tmp_path.iterdir()] == []


def test_a_killed_holder_frees_the_lock_at_once(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == "held\n"
        lock = FileLock(tmp_path / "lock")
        assert not lock.acquire()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert lock.acquire()
        lock.release()


def test_a_lock_on_a_removed_file_is_no_lock(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "lock"
    taken = fcntl.flock

    def removed_meanwhile(handle: int, how: int) -> None:
        taken(handle, how)
        path.unlink()
        monkeypatch.setattr(fcntl, "flock", taken)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    lock = FileLock(path)
    assert not lock.acquire()
    assert lock.acquire()
    lock.release()


def test_many_threads_never_hold_together(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            with FileLock(tmp_path / "lock"):
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 80


@pytest.fixture
def _no_flock(monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("_no_flock")
def test_a_lease_where_the_file_system_has_no_locks(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


@pytest.mark.usefixtures("_no_flock")
def test_an_abandoned_lease_is_taken_over_and_a_kept_one_is_not(tmp_path: Path) -> None:
    lease = tmp_path / "lock.lease"
    lease.touch()
    lock = FileLock(tmp_path / "lock", stale_after=0.6)
    assert not lock.acquire()
    os.utime(lease, (1, 1))
    assert lock.acquire()
    os.utime(lease, (1, 1))
    deadline = time.monotonic() + 10
    while lease.stat().st_mtime < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not FileLock(tmp_path / "lock", stale_after=0.6).acquire()
    lock.release()
    assert not lease.exists()
