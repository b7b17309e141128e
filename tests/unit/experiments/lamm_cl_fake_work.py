"""A stand-in for training: quick, without torch, and able to go wrong in every way that the tests want.

Worker processes import it by this name, so the folder must be on the path.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lamm_cl.errors import UsageError
from lamm_cl.experiments.spec import Cost, Environment, RunSpec
from lamm_cl.experiments.work import CHECKPOINT, Job, Result
from lamm_cl.files import write_json


@dataclass
class FakeWork:
    """Counts what it does in `diary` and misbehaves as `tricks` says for a method label."""

    diary: Path
    seconds: float = 0.0
    steps: int = 3
    tricks: Mapping[str, str] = field(default_factory=dict)
    refuse: str = ""
    weights: str = "0123"
    check_seconds: float = 0.0

    def check(self, specs: Sequence[RunSpec], environment: Environment, device: str) -> dict[str, str]:
        if self.check_seconds:
            self.note("check")
            time.sleep(self.check_seconds)
        if self.refuse:
            raise UsageError(self.refuse)
        return {"weights.tiny": self.weights}

    def measure(self, specs: Sequence[RunSpec], environment: Environment, device: str) -> list[Cost]:
        return [Cost(self.seconds or 60.0, 500.0, {"digits": 899}, 0.01, 256) for _ in specs]

    def note(self, what: str) -> None:
        with self.diary.open("a") as stream:
            stream.write(f"{what} {os.getpid()}\n")

    def execute(self, job: Job) -> Result:
        spec = job.spec
        self.note(f"start {spec.run_id}")
        first = self._trick(job)
        saved = job.directory / CHECKPOINT
        state = json.loads(saved.read_text()) if saved.exists() else {"step": 0, "value": first}
        for step in range(state["step"], self.steps):
            time.sleep(self.seconds / self.steps)
            text = f"{state['value']} {step} {spec.run_id}"
            state = {"step": step + 1, "value": int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32}
            write_json(saved, state)
            job.progress((step + 1) / self.steps, f"step {step + 1}")
        self.note(f"end {spec.run_id}")
        rows = [
            (1, "digits", space, "accuracy", state["value"] / part, 899)
            for part, space in enumerate(("own", "seen", "all"), 1)
        ]
        return Result([*rows, (1, "", "", "seconds", time.monotonic(), None)], {"data": [{"name": spec.dataset}]})

    def _trick(self, job: Job) -> float:
        spec = job.spec
        trick = self.tricks.get(spec.label, "")
        times = self.diary.read_text().count(f"start {spec.run_id}")
        if trick == "fail" or (trick == "fail once" and times == 1):
            raise ValueError("the loss became NaN in step 3 (term kd)\nmore about it")
        if trick == "die" or (trick == "die once" and times == 1):
            print("about to die", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if trick == "helper":
            helper = multiprocessing.get_context("fork").Process(target=self.note, args=("helper",), daemon=True)
            helper.start()
            helper.join()
        if trick == "exit":
            os._exit(3)
        if trick == "die when recorded":
            threading.Thread(target=_die_when_there, args=(job.directory / "record.json",), daemon=True).start()
        if trick == "delete another" and times == 1:
            other = next(path for path in job.directory.parent.iterdir() if (path / "record.json").exists())
            shutil.rmtree(other)
        if trick == "full disk":
            raise OSError(28, "No space left on device")
        if trick == "device assert" or (trick == "device assert once" and times == 1):
            raise RuntimeError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA")
        if trick == "gpu memory" and times <= 2:
            raise type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})("CUDA out of memory. Tried")
        return 0.5


def _die_when_there(record: Path) -> None:
    while not record.exists():
        time.sleep(0.0001)
    os.kill(os.getpid(), signal.SIGKILL)
