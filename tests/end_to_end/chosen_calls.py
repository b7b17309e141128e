"""Kills, or makes fail, a command at each call on its files in turn: python chosen_calls.py FOLDER STEP ACTION...

Each time a forked process does a grid of one run: the directory, the grid, the record, the checkpoint, the table. At
the k-th call it is killed, or the call fails with the error of that name. Then another does it in peace, and must end
in the table of one that was never disturbed. Prints what went wrong as JSON, and how many calls there were.
"""

import errno
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
from lamm_cl.experiments.work import tidy
from lamm_cl.experiments.worker import Worker

CALLS = ("open", "os.rename", "os.remove", "os.mkdir", "os.listdir", "os.scandir", "fcntl.flock")
DONE, STOPPED, WRONG_USE, CRASHED = range(4)
CONFIG = "protocol: few_shot\ndatasets: [digits]\nmethods: [coop]\nseeds: [1]\ncache: false\n"


def place_of(call: str, arguments: tuple[Any, ...]) -> str:
    if call == "fcntl.flock":
        return str(Path(f"/proc/self/fd/{arguments[0]}").readlink())
    return os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else ""


def disturb(out: Path, action: str, number: int) -> None:
    """Make the call of that number the last one, or one that fails."""
    count = 0

    def hook(call: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if call not in CALLS or not place_of(call, arguments).startswith(str(out)):
            return
        count += 1
        if count != number:
            return
        os.write(3, b"x")  # the call was reached
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        code = getattr(errno, action)
        named = [] if call == "fcntl.flock" else [place_of(call, arguments)]  # as the system does
        raise OSError(code, os.strerror(code), *named)

    sys.addaudithook(hook)


def command(config: Path, out: Path) -> int:
    """Do what `lamm-cl run` does, in one process."""
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
        return DONE if ended is None else STOPPED
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


def values(out: Path) -> list[str]:
    return [line for line in (out / "runs.csv").read_text().splitlines() if ",seconds," not in line]


def main() -> None:
    folder, step, *actions = Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
    files._PAUSES = (0.0, 0.0)
    config = folder / "try.yaml"
    config.write_text(CONFIG)
    (folder / "diary").touch()
    assert forked(partial(command, config, folder / "plain"))[0] == DONE
    expected, wrong, calls = values(folder / "plain"), [], {}
    for action in actions:
        number = 1
        while True:
            out = folder / f"{action}{number}"

            def disturbed(out: Path = out, action: str = action, number: int = number) -> int:
                disturb(out, action, number)
                return command(config, out)

            code, hit, said = forked(disturbed)
            if not hit:
                break
            after = forked(partial(command, config, out))
            left = [path.name for path in out.rglob("*") if path.suffix in (".tmp", ".safetensors")]
            if code == CRASHED or after[0] != DONE or values(out) != expected or left:
                wrong.append([action, number, code, said[-2000:], after[0], after[2][-2000:], left])
            number += step
        calls[action] = number
    print(json.dumps({"wrong": wrong, "calls": calls}))


if __name__ == "__main__":
    main()
