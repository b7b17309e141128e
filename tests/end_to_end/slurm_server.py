"""A real SLURM of one node, for tests: started without systemd, with everything it writes in one directory.

Needs Debian's `slurm-wlm` and `munge`, and root. Nothing in /etc is read or written.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

CONFIG = """
ClusterName=test
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={at}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmctldPidFile={at}/slurmctld.pid
SlurmdPidFile={at}/slurmd.pid
SlurmdSpoolDir={at}/spool
StateSaveLocation={at}/state
SlurmctldLogFile={at}/slurmctld.log
SlurmdLogFile={at}/slurmd.log
MpiDefault=none
ReturnToService=2
KillWait=2
MinJobAge=300
NodeName={host} CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
"""


def why_not() -> str | None:
    """Say why SLURM cannot be started here, None when it can."""
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if shutil.which(name) is None]
    if missing:
        return f"SLURM is not installed ({', '.join(missing)} missing; Debian: apt-get install slurm-wlm munge)"
    if os.getuid() != 0:
        return "starting SLURM needs root"
    return None


@contextlib.contextmanager
def slurm(at: Path) -> Iterator[dict[str, str]]:
    """Start SLURM with its files in `at`; yields the environment variables that point commands to it."""
    for name in ("state", "spool"):
        (at / name).mkdir(parents=True, exist_ok=True)
    at.chmod(0o755)
    config = at / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    config.write_text(CONFIG.format(at=at, host=host, ports=_free_ports(2), cpus=os.cpu_count()))
    environment = {**os.environ, "SLURM_CONF": str(config)}
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(_munge(at))
        for daemon in ("slurmctld", "slurmd"):
            with (at / f"{daemon}.out").open("wb") as out:
                started.append(subprocess.Popen([daemon, "-D"], env=environment, stdout=out, stderr=out))
        _await(lambda: "idle" in _ask(["sinfo", "-h", "-o", "%T"], environment), "SLURM to be idle", at)
        yield {"SLURM_CONF": str(config)}
        _ask(["scancel", "--user=root"], environment)
        _await(lambda: not _ask(["squeue", "-h"], environment).strip(), "the queue to be empty", at)
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _munge(at: Path) -> "subprocess.Popen[bytes]":
    key = at / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    socket_ = at / "munge.socket"
    names = {"key-file": key, "pid-file": at / "munge.pid", "log-file": at / "munge.log", "seed-file": at / "seed"}
    options = [f"--{name}={path}" for name, path in names.items()]
    with (at / "munge.out").open("wb") as out:
        process = subprocess.Popen(
            ["munged", "--foreground", "--force", f"--socket={socket_}", *options], stdout=out, stderr=out
        )
    _await(socket_.exists, "munge", at)
    return process


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


def _ask(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def _await(ready: "object", what: str, at: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():  # type: ignore[operator]
        if time.monotonic() > deadline:
            logs = "\n".join(f"{log}: {log.read_text(errors='replace')[-1500:]}" for log in sorted(at.glob("*.log")))
            raise TimeoutError(f"waited in vain for {what}\n{logs}")
        time.sleep(0.2)
