"""`lamm-cl` in a process that a fork server makes, which has torch and Avalanche in memory.

The process has its folder, environment, streams and exit code, as one that a user starts, and saves the seconds of
processor time that these imports take. Its workers are forked from it, for the same reason. A real process stays
where a test is about imports, signals, kills or the terminal's encoding.
"""

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

NAME = "lamm-cl"


def run(folder: Path, *words: str | Path, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a folder, with more environment variables; its caches are in the folder."""
    environment = {**os.environ, "LAMM_CL_CACHE": str(folder / "cache"), **more}
    command = [NAME, *map(str, words)]
    if sys.platform != "linux":
        called = [sys.executable, "-m", "lamm_cl", *command[1:]]
        return subprocess.run(called, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    with tempfile.TemporaryDirectory() as kept:
        streams = [str(Path(kept) / name) for name in ("out", "err")]
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=_command, args=(command, str(folder), environment, streams))
        process.start()
        process.join()
        out, err = (Path(stream).read_text(encoding="utf-8") for stream in streams)
    return subprocess.CompletedProcess(command, process.exitcode or 0, out, err)


def _command(command: list[str], folder: str, environment: dict[str, str], streams: list[str]) -> None:
    for number, stream in enumerate(streams, 1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = command
    context = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: context("fork" if method == "spawn" else method)  # type: ignore
    lamm_cl.cli.start()
