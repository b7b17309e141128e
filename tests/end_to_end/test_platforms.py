"""What other systems lack is not needed: the commands start and work without Unix's own modules."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REFUSED = ("fcntl", "resource", "termios", "pty")
# Stands where Python looks for modules first, in this process and in those that it starts. Other packages have forms of
# their own for other systems, which a Linux does not let them take: only ours are refused.
SITECUSTOMIZE = f"""
import builtins

whole = builtins.__import__

def refuse(name, globals=None, locals=None, fromlist=(), level=0):
    if name in {REFUSED!r} and (globals or {{}}).get("__name__", "").startswith(("lamm_cl", "__main__")):
        raise ImportError("there is no " + name + " on this system")
    return whole(name, globals, locals, fromlist, level)

builtins.__import__ = refuse
"""
# What is imported anew in a process that has torch in memory.
MODULES = """
import sys

for name in [name for name in sys.modules if name.partition(".")[0] == "lamm_cl"]:
    del sys.modules[name]
import lamm_cl.data.download.prepare, lamm_cl.evaluation.plugins as plugins

assert plugins._peak_of_life() > 0
"""
CONFIG = """
experiment: small
protocol: class_incremental
datasets: [digits]
methods: {coop: {epochs: 1}}
shots: 1
seeds: [1]
"""


def test_runs_and_reports_without_the_modules_of_unix(tmp_path: Path, python_elsewhere: Any) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    (tmp_path / "small.yaml").write_text(CONFIG)
    paths = [str(tmp_path / "site"), str(Path(__file__).parents[2])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "LAMM_CL_CACHE": str(tmp_path / "cache")}

    def start(*words: str) -> str:
        said = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
        )
        assert said.returncode == 0, said.stdout + said.stderr
        return said.stdout

    assert "no fcntl" in start("-c", "try:\n import fcntl\nexcept ImportError as error:\n print(error)")
    start("-m", "lamm_cl", "run", "small.yaml", "--jobs", "1")
    assert "coop" in start("-m", "lamm_cl", "report", "runs/small").lower()
    start("-m", "lamm_cl", "quickstart", "--help")
    start("-m", "lamm_cl", "data", "status")
    said = python_elsewhere(f"{SITECUSTOMIZE}\n{MODULES}")
    assert said.returncode == 0, said.stderr
