import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lamm_cl import locks
from lamm_cl.locks import Lock

HOLD = """
import sys, time
from pathlib import Path
from lamm_cl.locks import Lock
lock = Lock(Path(sys.argv[1]))
assert lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
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
        lock = Lock(tmp_path / "lock")
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
    lock = Lock(path)
    assert not lock.acquire()
    assert lock.acquire()
    lock.release()


def test_many_threads_never_hold_together(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            with Lock(tmp_path / "lock"):
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
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


@pytest.mark.usefixtures("_no_flock")
def test_an_abandoned_lease_is_taken_over_and_a_kept_one_is_not(tmp_path: Path, monkeypatch) -> None:
    """The holder that renews its lease is on another machine, so that nobody can ask whether its process lives."""
    monkeypatch.setattr(locks, "_LEASE_SECONDS", 0.6)
    kept, lost = Lock(tmp_path / "lock"), Lock(tmp_path / "lost")
    assert kept.acquire()
    assert lost.acquire()
    for lock, stopped in ((kept, False), (lost, True)):
        lease = tmp_path / f"{lock.path.name}.lease"
        if stopped:
            lock._held._stop_heartbeat()
        lease.write_text(lease.read_text().replace(socket.gethostname(), "elsewhere"))
    assert not Lock(tmp_path / "lock").acquire(2.0)
    taken = Lock(tmp_path / "lost")
    assert taken.acquire(10.0)


@pytest.mark.usefixtures("_no_flock")
def test_the_lease_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    code = HOLD.replace("import sys", "import errno, fcntl, os, sys") + "\n"
    refuse = "def refuse(*_): raise OSError(errno.ENOSYS, 'Function not implemented')\nfcntl.flock = refuse\n"
    code = code.replace("assert", refuse + "assert", 1).replace("time.sleep(60)", "os.kill(os.getpid(), 9)")
    holder = subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")], capture_output=True, text=True)
    assert holder.stdout == "held\n"
    assert (tmp_path / "lock.lease").exists()
    lock = Lock(tmp_path / "lock")
    assert lock.acquire()
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_an_error_names_the_lock(tmp_path: Path, monkeypatch) -> None:
    def stale(*_: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    held = Lock(tmp_path / "held")
    assert held.acquire()
    with monkeypatch.context() as network:
        network.setattr(fcntl, "flock", stale)
        with pytest.raises(OSError, match="Stale file handle") as caught:
            Lock(tmp_path / "lock").acquire()
        assert caught.value.filename == str(tmp_path / "lock")
        with pytest.raises(OSError, match="Stale file handle") as caught:
            held.release()
        assert caught.value.filename == str(tmp_path / "held")


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="lock"):
        Lock(tmp_path / "lock").acquire()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_keeps_no_lock(tmp_path: Path) -> None:
    """A lock lives until the last open file is closed: a child that outlives the holder must not keep it."""
    (born, tell_born), (end, tell_end) = os.pipe(), os.pipe()
    holder = os.fork()
    if holder == 0:
        lock = Lock(tmp_path / "lock")
        lock.acquire()
        if os.fork() == 0:
            os.write(tell_born, b"x")
            os.read(end, 1)
        os._exit(0)
    os.read(born, 1)
    os.waitpid(holder, 0)
    try:
        taken = Lock(tmp_path / "lock")
        assert taken.acquire()
    finally:
        os.write(tell_end, b"x")
        for pipe in (born, tell_born, end, tell_end):
            os.close(pipe)
