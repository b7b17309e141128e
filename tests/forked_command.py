"""`lamm-cl` in a process that a fork server makes, which has torch and Avalanche in memory.

The process has its folder, environment, streams and exit code, as one that a user starts, and saves the seconds of
processor time that these imports take. Its workers are forked from it, for the same reason. A real process stays
where a test is about imports, signals, kills or the terminal's encoding.
"""

import gc
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lamm_cl.avalanche_home import import_avalanche

import_avalanche()

import lamm_cl.cli.main  # noqa: E402
import lamm_cl.experiments.calibrate  # noqa: E402
import lamm_cl.experiments.preflight  # noqa: E402
import lamm_cl.experiments.run_one  # noqa: E402
import lamm_cl.reports.output  # noqa: E402
import lamm_cl.reports.report  # noqa: E402

lamm_cl.load_clip("tiny")  # imports open_clip
lamm_cl.load_dataset("digits")  # imports scikit-learn

gc.freeze()  # else each fork would copy what its garbage collector looks at
gc.set_threshold(100_000, 50, 50)  # as in the tests' own processes

NAME = "lamm-cl"


def run(folder: Path, *words: str | Path, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a folder, with more environment variables; its caches are in the folder."""
    environment = {**os.environ, "LAMM_CL_CACHE": str(folder / "cache"), **more}
    return _elsewhere(["-m", "lamm_cl"], None, [NAME, *map(str, words)], folder, environment)


def run_python(code: str, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run Python in another process, as `python -c` does."""
    return _elsewhere(["-c", code], code, ["-c", *map(str, words)], Path.cwd(), {**os.environ})


def _elsewhere(
    options: list[str], code: str | None, words: list[str], folder: Path, environment: dict[str, str]
) -> "subprocess.CompletedProcess[str]":
    if sys.platform != "linux":
        called = [sys.executable, *options, *words[1:]]
        return subprocess.run(called, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    with tempfile.TemporaryDirectory() as kept:
        streams = [str(Path(kept) / name) for name in ("out", "err")]
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=_child, args=(code, words, str(folder), environment, streams))
        process.start()
        process.join()
        out, err = (Path(stream).read_text(encoding="utf-8") for stream in streams)
    return subprocess.CompletedProcess(words, process.exitcode or 0, out, err)


def _child(code: str | None, words: list[str], folder: str, environment: dict[str, str], streams: list[str]) -> None:
    for number, stream in enumerate(streams, 1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    if code is not None:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        return
    context = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: context("fork" if method == "spawn" else method)  # type: ignore
    lamm_cl.cli.start()
