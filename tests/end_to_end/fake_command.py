"""`lamm-cl run` and `work` with work that takes no torch and little time: what tests kill, interrupt and start twice.

python fake_command.py CONFIG OUT DIARY JOBS SECONDS [KEY=VALUE ...]
python fake_command.py work DIARY OPTIONS DIR [--device D]
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "experiments"))


def main() -> int:
    from functools import partial

    import lamm_cl

    lamm_cl.__version__ = os.environ.get("FAKE_VERSION", lamm_cl.__version__)  # before anybody has read it

    from lamm_cl_fake_work import FakeWork
    from rich.console import Console

    from lamm_cl.errors import UsageError
    from lamm_cl.experiments import slurm
    from lamm_cl.experiments.config import read_config
    from lamm_cl.experiments.plan import Request
    from lamm_cl.experiments.run import join, run_experiment

    if sys.argv[1] == "work":
        diary, tricks, directory, *_ = sys.argv[2:]
        try:
            return join(Path(directory), None, Console(), partial(FakeWork, Path(diary), **json.loads(tricks)))
        except UsageError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    config, out, diary, jobs, seconds, *sets = sys.argv[1:]
    options = {"seconds": float(seconds), "steps": 4, **json.loads(os.environ.get("FAKE_WORK", "{}"))}
    work = partial(FakeWork, Path(diary), **options)
    slurm.WORK = (sys.executable, __file__, "work", diary, json.dumps(options))
    executor = os.environ.get("FAKE_EXECUTOR", "local")
    command = ["lamm-cl", "run", config, "--out", out]
    request = Request(out=Path(out), executor=executor, jobs=int(jobs), command=command)
    try:
        return run_experiment(read_config(config, sets), request, Console(), work)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
