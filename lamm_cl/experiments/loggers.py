"""Avalanche loggers that a config asks for by name. They watch; no result depends on them."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from avalanche.logging import BaseLogger, CSVLogger, TensorboardLogger, TextLogger

from lamm_cl.clip import hub
from lamm_cl.experiments.environment import stays_here, wandb_server
from lamm_cl.experiments.spec import Job

LOG = logging.getLogger("lamm_cl")


class WandbNumbers(BaseLogger):  # type: ignore[misc]
    """Sends numbers to Weights & Biases. Avalanche 0.6's own logger needs parts that today's wandb no longer has."""

    def __init__(self, job: Job, options: Mapping[str, Any]) -> None:
        """Open a W&B run of the run's name and id; offline without a network, for want of which no run ends."""
        super().__init__()
        self.note = ""
        server, asked = wandb_server(), not stays_here(options)
        reason = f"{server} does not answer" if asked and not hub.reachable(server) else ""
        try:
            if not reason:
                self._run = _begin(job, options)
        except Exception as error:  # wandb has many kinds, for keys, projects, and networks that fail in between
            if not asked:
                raise
            reason = (str(error).strip() or repr(error)).splitlines()[0]
        if reason:
            folder = job.directory / "wandb"
            self.note = f"W&B could not be told ({reason}); `wandb sync {folder}/offline-run-*` sends what was logged."
            LOG.warning("%s", self.note)
            self._run = _begin(job, {**options, "mode": "offline", "resume": None})

    def log_single_metric(self, name: str, value: Any, x_plot: int) -> None:
        """Log a number; W&B's own step counts the calls, the iteration goes along."""
        if isinstance(value, int | float):
            self._run.log({name: value, "iteration": x_plot})

    def close(self) -> None:
        """End the W&B run."""
        self._run.finish()


def _begin(job: Job, options: Mapping[str, Any]) -> Any:
    import wandb

    spec, settings = job.spec, wandb.Settings(quiet=True, console="off")
    named = {"project": "lamm_cl", "group": spec.experiment, "name": str(spec), "id": spec.run_id, "resume": "allow"}
    told = {"dir": str(job.directory), "config": spec.determines(), "settings": settings}
    return wandb.init(**{**named, **told, **options})


@contextlib.contextmanager
def make_loggers(job: Job) -> Iterator[list[Any]]:
    """Yield the loggers of a run, which write below its directory; they are closed however the run ends."""
    with contextlib.ExitStack() as stack:
        yield [_make(name, options, job, stack) for name, options in job.environment.loggers.items()]


def _make(name: str, options: Mapping[str, Any], job: Job, stack: contextlib.ExitStack) -> Any:
    folder = job.directory / name
    if name == "text":
        return TextLogger(stack.enter_context((job.directory / "log.txt").open("a", encoding="utf-8")))
    if name == "tensorboard":
        logger = TensorboardLogger(folder)
        stack.callback(logger.writer.close)
        return logger
    logger = CSVLogger(str(folder)) if name == "csv" else WandbNumbers(job, options)
    return stack.enter_context(contextlib.closing(logger))
