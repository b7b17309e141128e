"""How a command ended, in words and as an exit code."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lamm_cl.experiments.spec import RunSpec

DONE, FAILED, INTERRUPTED = 0, 1, 130


@dataclass
class Summary:
    """What became of a grid.

    Attributes:
        total: Runs of the grid.
        before: Done before the command began.
        done: Done by this command.
        elsewhere: Done meanwhile by another command.
        taken: In progress elsewhere, for who does not wait for them.
        failed: Run and message of each failure.
        stopped: Why the command ended early; empty when it did not.
        interrupted: Whether it was the user who ended it.
    """

    total: int
    before: int = 0
    done: int = 0
    elsewhere: int = 0
    taken: int = 0
    failed: list[tuple[RunSpec, str]] = field(default_factory=list)
    stopped: str = ""
    interrupted: bool = False

    @property
    def left(self) -> int:
        """Runs that nobody has finished."""
        return self.total - self.before - self.done - self.elsewhere - self.taken - len(self.failed)

    @property
    def exit_code(self) -> int:
        """0 when every run is done, 130 after Ctrl-C, 1 otherwise."""
        if self.interrupted:
            return INTERRUPTED
        return FAILED if self.failed or self.left else DONE

    def as_dict(self, directory: Path, command: Sequence[str]) -> dict[str, Any]:
        """Say it to a program; the arguments are those of `lines`."""
        counts = {name: getattr(self, name) for name in ("total", "done", "before", "elsewhere", "taken", "left")}
        failed = [{"run_id": spec.run_id, "run": str(spec), "message": message} for spec, message in self.failed]
        return {
            "directory": str(directory),
            "results": str(directory / "runs.csv"),
            **counts,
            "failed": failed,
            "stopped": self.stopped,
            "exit_code": self.exit_code,
            "continue_with": " ".join(command) if failed or self.left else "",
        }

    def lines(self, directory: Path, command: Sequence[str]) -> list[str]:
        """Say it to a reader.

        Args:
            directory: Of the experiment.
            command: What continues it.
        """
        parts = [f"{self.done} done now"]
        parts += [f"{self.before} done before"] if self.before else []
        parts += [f"{self.elsewhere} by another command"] if self.elsewhere else []
        parts += [f"{self.taken} in progress elsewhere"] if self.taken else []
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        parts += [f"{self.left} left"] if self.left else []
        lines = [f"{self.total} run{'s' * (self.total != 1)}: {', '.join(parts)}. Results: {directory / 'runs.csv'}"]
        for spec, message in self.failed[:20]:
            lines.append(f"  failed: {spec}: {message}")
            lines.append(f"          {directory / 'runs' / spec.run_id / 'record.json'}")
        if len(self.failed) > 20:
            lines.append(f"  ... and {len(self.failed) - 20} more; runs.csv lists them all.")
        if self.stopped:
            lines.append(f"Stopped early: {self.stopped}")
        if self.failed or self.left:
            verb = "Continue with" if self.left else "Try the failed ones again with"
            lines.append(f"{verb}: {' '.join(command)}")
        return lines
