"""A grid on a SLURM cluster: an array of jobs, each of which is `lamm-cl work` on the experiment's directory."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from lamm_cl.errors import UsageError
from lamm_cl.experiments.config import Slurm
from lamm_cl.experiments.follow import Follower, GaveUp
from lamm_cl.experiments.progress import counted
from lamm_cl.files import parse_json, read_bytes, write_json
from lamm_cl.records import ExperimentDirectory

_SUBMISSIONS = 2
_SAVE_SECONDS = 90
_SHORT_MINUTES = 3  # SLURM may send the signal a minute early: a shorter job would hear of its end when it begins
WORK = (sys.executable, "-m", "lamm_cl", "work")

JOB = """#!/bin/sh
# `lamm-cl work` saves its run and ends with 75 when the time is nearly up: then the job is queued again.
srun --ntasks=1 --cpus-per-task={cpus} {command}
code=$?
if [ $code -eq 75 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {requeues} ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $code
"""


def script(wanted: Slurm, directory: Path, device: str) -> str:
    """Return what a job does; the directory lies on a file system that all nodes see."""
    command = shlex.join([*WORK, str(directory.absolute()), "--device", device])
    return JOB.format(cpus=wanted.cpus, command=command, requeues=wanted.requeues)


def options(wanted: Slurm, name: str, count: int, logs: Path) -> list[str]:
    """Return what `sbatch` is asked for: so many jobs of a name, and the folder of what they print."""
    chosen: dict[str, Any] = {
        "job-name": name,
        "array": f"0-{count - 1}",
        "time": wanted.time,
        "ntasks": 1,
        "cpus-per-task": wanted.cpus,
        "mem": None if wanted.memory_gb is None else f"{round(wanted.memory_gb * 1024)}M",
        "gpus-per-node": wanted.gpus or None,
        **wanted.model_dump(include={"partition", "account", "qos", "constraint"}),
        "signal": f"USR1@{_SAVE_SECONDS}" if wanted.time >= _SHORT_MINUTES else None,
        "output": logs / "%A_%a.log",
        "open-mode": "append",
        "requeue": True,  # a preempted job is queued again and goes on from the checkpoints
        **wanted.extra,
    }
    given = {str(key).replace("_", "-"): value for key, value in chosen.items() if value not in (None, False)}
    return [f"--{key}" if value is True else f"--{key}={value}" for key, value in given.items()]


class SlurmJobs:
    """The jobs of one experiment, so many at one time: submitted, looked for, and submitted again when lost."""

    look_every = 2.0
    names = None
    stopping = False

    def __init__(self, wanted: Slurm, home: ExperimentDirectory, name: str, device: str, most: int) -> None:
        self._wanted, self._name, self._device, self._most = wanted, name, device, most
        self._folder = home.path.absolute() / "slurm"
        self._number: str | None = None  # of the array; None before the first look
        self._fruitless = 0
        self._came = (-1, 0.0)

    def tend(self, follower: Follower) -> None:
        """Submit jobs when there are none; raises `GaveUp` where those before them brought nothing."""
        if self._number is None:
            known = parse_json(read_bytes(self._folder / "jobs.json") or b"") or {}
            number = str(known.get("job", ""))
            self._number = number if number.isdigit() and _queued(number) else ""
            if self._number:
                follower.display.note(f"waiting for the SLURM jobs of an earlier command: {number}")
        if self._number and _queued(self._number):
            return
        follower.look()
        count = follower.free(self._most)
        if not count:
            return  # all is done, or others do it
        came = follower.come_so_far()
        self._fruitless = 0 if came > self._came else self._fruitless + 1
        self._came = came
        if self._fruitless >= _SUBMISSIONS:
            raise GaveUp(f"the jobs ended without a result: {self._last_words()}")
        self._submit(follower, count)

    def ask_to_stop(self) -> str:
        """Leave the jobs alone."""
        return f" The jobs go on: `scancel {self._number}` ends them, they stay resumable." if self._number else ""

    def _submit(self, follower: Follower, count: int) -> None:
        self._folder.mkdir(exist_ok=True)
        wanted = self._wanted
        text = script(wanted, self._folder.parent, self._device)
        command = ["sbatch", "--parsable", *options(wanted, self._name, count, self._folder)]
        asked = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        number = re.search(r"\d+", asked.stdout)
        if asked.returncode or number is None:
            raise UsageError(f"SLURM refused the jobs: {' '.join((asked.stderr or asked.stdout).split())[-300:]}")
        self._number = number[0]
        write_json(self._folder / "jobs.json", {"job": self._number})
        asked_for = f"{counted(count, 'SLURM job')} for {counted(len(follower.left), 'run')}"
        follower.display.note(f"{asked_for}: {self._number}; logs in {self._folder}")

    def _last_words(self) -> str:
        for log in sorted(self._folder.glob(f"{self._number}_*.log")):
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            said = [line for line in lines if not line.startswith("srun:")] or lines
            if said:
                return f"{said[-1][:300]} ({log})"
        return f"no word from them; see {self._folder}"


def need_slurm() -> None:
    """Raise UsageError where there is no SLURM."""
    if shutil.which("sbatch") is None:
        raise UsageError("--executor slurm: there is no `sbatch` on this machine; use it on a cluster's login node.")


def _queued(number: str) -> bool:
    """Whether SLURM still has one of an array's jobs queued, running or finishing."""
    command = ["squeue", "--noheader", f"--jobs={number}", "--format=%T"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    # squeue refuses numbers that it has forgotten, which is as good as an empty answer; when it can't be reached
    # the jobs may well be there.
    return bool(asked.stdout.strip()) or (asked.returncode != 0 and "Invalid job id" not in asked.stderr)
