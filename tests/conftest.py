"""Fixtures that every tier shares."""

import gc
import multiprocessing.forkserver
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

# One thread a process: the suite runs two processes on two cores, and sums do not depend on the machine's core count.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A method with a suffix is tested in the fast tier on one method of each kind (words, both towers, deltas, a head of
# its own), and on every other in the slow tier.
KINDS = {"coop", "maple", "clip_lora", "rapf"}
# Long tests first: what is short fills the time of the process that would else wait for the other at the end.
ORDER = ("golden", "end_to_end", "conformance", "unit")
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
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        method = getattr(item, "callspec", None) and item.callspec.params.get("method")  # type: ignore[attr-defined]
        base, _, suffix = str(method).partition("+")
        if suffix and base not in KINDS and "conformance" in item.path.parts:
            item.add_marker(pytest.mark.slow)
    here = Path(__file__).parent
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(here).parts[0]))
    if config.pluginmanager.hasplugin("xdist"):
        # One process has a file, so that a module's fixtures are made once; and one has all files that share what is
        # dear in a process: the reference's backbones, or the server of commands.
        dear = {item.path: name for item in items for name in ("oracle", "forked") if name in fixtures(item)}
        for item in items:
            item.add_marker(pytest.mark.xdist_group(dear.get(item.path, str(item.path.relative_to(here)))))


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector need not look at it, and forked processes share it."""
    gc.freeze()


def fixtures(item: pytest.Item) -> Sequence[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else ()


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
