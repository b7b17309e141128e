"""How far a run has come, for whoever watches; no result depends on it."""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from lamm_cl.files import TEMPORARY, parse_json


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        worker: Who does it: machine and number of the process.
        fraction: That is done, 0 to 1.
        text: A few words.
    """

    worker: str
    fraction: float
    text: str

    def write(self, path: Path) -> None:
        """Write it where it can be written; a reader sees all of it or the one before."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
        try:
            temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> "Progress | None":
        """Return what `path` says, None where nothing can be read."""
        try:
            content = parse_json(path.read_bytes()) or {}
            return cls(str(content["worker"]), float(content["fraction"]), str(content["text"]))
        except (OSError, KeyError, TypeError, ValueError):
            return None
