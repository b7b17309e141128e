"""Fixtures that every tier shares."""

import gc
import multiprocessing.forkserver
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# One thread a process: the suite runs two processes on two cores, and sums do not depend on the machine's core count.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# A shell starts what runs in the background (`make test &`) with SIGINT ignored, and so would be every process that a
# test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A method with a suffix is tested in the fast tier on one method of each kind (words, both towers, deltas, a head of
# its own), and on every other in the slow tier.
KINDS = {"coop", "maple", "clip_lora", "rapf"}
# Long tests first: what is short fills the time of the process that would else wait for the other at the end.
ORDER = ("golden", "end_to_end", "conformance", "unit")
# What is dear to make in a process, and the fixtures that bring it.
DEAR = {
    "the backbones of the official codes": r"\b(oracle|prompts2)\b",
    "the server of commands": r"\b(lamm_cl_in|python_elsewhere)\b",
}
# What a skipped test says it misses, and what brings it.
OPTIONAL = {
    "datasets": 'pip install "lamm_cl[hf]"',
    "pdoc": 'pip install "lamm_cl[docs]"',
    "onnx": 'pip install onnxruntime "lamm_cl[onnx]"',
    "wandb": 'pip install "lamm_cl[wandb]"',
    "playwright": 'pip install "lamm_cl[test]"',
    "chromium": "apt-get install chromium",
    "ffmpeg": "apt-get install ffmpeg",
    "pdflatex": "apt-get install texlive-latex-extra",
    "CUDA": "a machine with an NVIDIA GPU",
    "SLURM": "apt-get install slurm-wlm munge, as root",
    "reference data": "the folder that LAMM_CL_REFERENCE names",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        method = getattr(item, "callspec", None) and item.callspec.params.get("method")  # type: ignore[attr-defined]
        base, _, suffix = str(method).partition("+")
        if suffix and base not in KINDS and "conformance" in item.path.parts:
            item.add_marker(pytest.mark.slow)
    here = Path(__file__).parent
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(here).parts[0]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each file to one process, and files that share what is dear in a process to the same."""
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid.partition("::")[0])

    return Files(config, log)


@cache
def group(file: str) -> str:
    text = (Path(__file__).parents[1] / file).read_text(encoding="utf-8")
    return next((one for one, named in DEAR.items() if re.search(named, text)), file)


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector need not look at it, and forked processes share it.

    Looking often at what tests make would take a twelfth of their time.
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference data kept beside the checkout, which a plain clone does not have."""
    folder = Path(os.environ.get("LAMM_CL_REFERENCE", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip("reference data not present")
    return folder


@pytest.fixture(scope="session")
def tiny() -> Any:
    """The embedded CLIP, loaded once a process."""
    import lamm_cl

    return lamm_cl.load_clip("tiny", device="cpu")


@pytest.fixture(scope="session")
def forked() -> Any:
    """The module `forked_command`, whose server has started."""
    here = str(Path(__file__).parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(here)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))))
        import forked_command

        if sys.platform == "linux":
            multiprocessing.set_forkserver_preload([forked_command.__name__])
            multiprocessing.forkserver.ensure_running()
    return forked_command


@pytest.fixture(scope="session")
def lamm_cl_in(forked: Any) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs `lamm-cl` in a folder: `lamm_cl_in(folder, "report", "runs/small")`."""
    return forked.run  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def python_elsewhere(forked: Any) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs Python in another process: `python_elsewhere(code, *words)`."""
    return forked.run_python  # type: ignore[no-any-return]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which optional parts were not tested, and what installs them."""
    reasons = [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", ())]
    for part, source in OPTIONAL.items():
        if count := sum(part.lower() in reason.lower() for reason in reasons):
            terminalreporter.write_line(f"not tested: {part} ({count} test{'s' * (count > 1)}); it needs {source}")
