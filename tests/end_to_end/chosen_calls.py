"""Kills, or makes fail, a process at each call on its files in turn: python chosen_calls.py WHAT FOLDER STEP ACTION...

Each time a forked process does a grid of one run (the directory, the grid, the record, the checkpoint, the table), or
fills a feature cache. At the k-th call it is killed, or the call fails with the error of that name. Then another does
it in peace, and must end in what one that was never disturbed has. Prints what went wrong as JSON, and how many calls
there were.
"""

import errno
import hashlib
import io
import json
import os
import signal
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "experiments"))

from lamm_cl_fake_work import FakeWork

from lamm_cl import files
from lamm_cl.errors import UsageError
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.plan import Request, make_plan
from lamm_cl.experiments.signals import Signals
from lamm_cl.experiments.work import Worker, tidy

CALLS = ("open", "os.rename", "os.remove", "os.mkdir", "os.listdir", "os.scandir", "fcntl.flock")
REMOUNT = "read-only"
DONE, STOPPED, WRONG_USE, CRASHED = range(4)
CONFIG = "protocol: few_shot\ndatasets: [digits]\nmethods: [coop]\nseeds: [1]\ncache: false\n"


def place_of(call: str, arguments: tuple[Any, ...]) -> str:
    if call == "fcntl.flock":
        return str(Path(f"/proc/self/fd/{arguments[0]}").readlink())
    return os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else ""


def writes(call: str, arguments: tuple[Any, ...]) -> bool:
    changes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
    return bool(arguments[2] & changes) if call == "open" else call in ("os.rename", "os.remove", "os.mkdir")


def disturb(out: Path, action: str, number: int) -> None:
    """Make the call of that number the last one, or one that fails; or every write from there on."""
    count = 0

    def hook(call: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if call not in CALLS or not place_of(call, arguments).startswith(str(out)):
            return
        count += 1
        if count < number or (count > number and not (action == REMOUNT and writes(call, arguments))):
            return
        os.write(3, b"x")  # the call was reached
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == REMOUNT and not writes(call, arguments):
            return
        code = errno.EROFS if action == REMOUNT else getattr(errno, action)
        named = [] if call == "fcntl.flock" else [place_of(call, arguments)]  # as the system does
        raise OSError(code, os.strerror(code), *named)

    sys.addaudithook(hook)


class Grid:
    """What `lamm-cl run` does, in one process."""

    leaves_no = (".tmp", ".safetensors")

    def __init__(self, folder: Path) -> None:
        self.config = folder / "try.yaml"
        self.config.write_text(CONFIG)
        (folder / "diary").touch()

    def __call__(self, out: Path) -> int:
        return grid(self.config, out)

    @staticmethod
    def result(out: Path) -> object:
        return [line for line in (out / "runs.csv").read_text().splitlines() if ",seconds," not in line]


class Cache:
    """What a run does with the feature cache: two views of twelve pictures, by two stores one after the other."""

    leaves_no = ()  # what killed processes left is swept with the cache

    def __init__(self, folder: Path) -> None:
        import torch

        import lamm_cl

        (folder / "bits").mkdir()
        torch.set_num_threads(1)  # a forked process has no threads
        self.backbone = lamm_cl.load_clip("tiny")
        self.pictures = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(1))

    def __call__(self, out: Path) -> int:
        from lamm_cl.clip.feature_cache import FeatureStore

        try:
            keys = [hashlib.sha256(bytes([n])).hexdigest() for n in range(12)]
            found = hashlib.sha256()
            for _ in range(2):
                store = FeatureStore(self.backbone, out / "cache", batch_size=4)
                for view in ("eval", "train/1"):
                    found.update(store.features(keys, lambda i: self.pictures[i], view).numpy().tobytes())
            (out.parent / "bits" / out.name).write_text(found.hexdigest())
        except UsageError:
            return WRONG_USE
        except BaseException:
            traceback.print_exc()
            return CRASHED
        return DONE

    @staticmethod
    def result(out: Path) -> object:
        return (out.parent / "bits" / out.name).read_text()


def grid(config: Path, out: Path) -> int:
    try:
        plan = make_plan(read_config(config), Request(out=out))
        plan.open({})
        signals = Signals()
        worker = Worker(plan.home, plan.grid, FakeWork(config.with_name("diary"), steps=2), "cpu", signals)
        ended = worker.run()
        try:
            for spec in plan.grid.specs:
                tidy(plan.home, spec.run_id)
            plan.home.rebuild_table()
        except OSError as error:
            return STOPPED if plan.home.explain(error) else CRASHED
        return DONE if ended.status == "done" else STOPPED
    except UsageError:
        return WRONG_USE
    except BaseException:
        traceback.print_exc()
        return CRASHED


def forked(work: Any) -> tuple[int, bool, str]:
    """Return how a forked process ended, whether it reached the call, and what it printed."""
    reached, tell = os.pipe()
    said, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(tell, 3)
        os.dup2(say, 1)
        os.dup2(say, 2)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w"), write_through=True)
        os._exit(work())
    os.close(tell)
    os.close(say)
    with os.fdopen(said) as text, os.fdopen(reached, "rb") as mark:
        words, hit = text.read(), bool(mark.read())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), hit, words


def main() -> None:
    what, folder, step, *actions = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]
    files._PAUSES = (0.0, 0.0)
    work: Any = {"grid": Grid, "cache": Cache}[what](folder)
    said = forked(partial(work, folder / "plain"))
    assert said[0] == DONE, said
    expected, wrong, calls = work.result(folder / "plain"), [], {}
    for action in actions:
        number = 1
        while True:
            out = folder / f"{action}{number}"

            def disturbed(out: Path = out, action: str = action, number: int = number) -> int:
                disturb(out, action, number)
                return int(work(out))

            code, hit, said = forked(disturbed)
            if not hit:
                break
            after = forked(partial(work, out))
            left = [path.name for path in out.rglob("*") if path.suffix in work.leaves_no]
            if code == CRASHED or after[0] != DONE or work.result(out) != expected or left:
                wrong.append([action, number, code, said[-2000:], after[0], after[2][-2000:], left])
            number += step
        calls[action] = number
    print(json.dumps({"wrong": wrong, "calls": calls}))


if __name__ == "__main__":
    main()
