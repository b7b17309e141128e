"""The worker, here or on a cluster: over all runs of a grid, claim one that nobody has, perform it, go on."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

from lamm_cl.experiments.grid_file import Grid
from lamm_cl.experiments.job import Job, Stopped
from lamm_cl.experiments.signals import Signals
from lamm_cl.experiments.spec import RunSpec
from lamm_cl.experiments.work import Outcome, Work, perform, worker_name
from lamm_cl.records import ExperimentDirectory, Progress

_SECONDS_BETWEEN_REPORTS = 0.5


@dataclass
class Worker:
    """Does the runs of a grid, one after the other, that nobody else does or did.

    Attributes:
        home: The experiment's directory.
        grid: Its runs.
        work: Does one.
        device: Where: "cpu", "cuda:1", ...
        signals: Held ones; they ask to save and stop.
        tell: Hears of each run that this worker recorded.
        alone: Whether a run for which the device has no memory has failed; else others may have taken that memory.
        sharing: Workers of this machine that are known, this one included.
    """

    home: ExperimentDirectory
    grid: Grid
    work: Work
    device: str
    signals: Signals
    tell: Callable[[RunSpec, Outcome], None] = lambda spec, outcome: None
    alone: bool = True
    sharing: int = 1

    def run(self) -> Outcome | None:
        """Work until there is nothing left to claim.

        Returns:
            What ended it early, "stopped", "disk", "memory" or "device"; None when there was nothing left.
        """
        ended, worked = None, True
        try:
            while worked and ended is None:
                worked = False
                for spec in self.grid.specs:
                    outcome = self._perform(spec)
                    if outcome.status in ("done", "failed"):
                        worked = True
                        self.tell(spec, outcome)
                        # Strategies, models and loaders refer to each other in cycles. They are few objects with much
                        # memory behind them, and Python, which counts objects, would collect them late.
                        gc.collect()
                    elif outcome.status in ("stopped", "disk", "memory", "device"):
                        ended = outcome
                        break
        except OSError as error:
            ended = Outcome("disk", self.home.explain(error))
        return ended

    def _perform(self, spec: RunSpec) -> Outcome:
        if self.signals.noted:
            return Outcome("stopped")
        if not self.grid.wants(spec.run_id, self.home.entry(spec.run_id)):
            return Outcome("elsewhere")
        directory, report = self.home.run(spec.run_id), self._reporter(spec)
        job = Job(spec, directory, self.grid.environment, self.device, report, self.alone, self.sharing)
        return perform(self.home, self.work, job, self.grid.again.get(spec.run_id))

    def _reporter(self, spec: RunSpec) -> Callable[[float, str], None]:
        due = 0.0

        def report(fraction: float, text: str) -> None:
            nonlocal due
            if self.signals.noted:
                raise Stopped
            if time.monotonic() >= due:
                due = time.monotonic() + _SECONDS_BETWEEN_REPORTS
                self.home.write_progress(spec.run_id, Progress(worker_name(), fraction, text))

        return report
