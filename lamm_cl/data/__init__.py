"""Data sets: the catalogue, one's own, few-shot selection, and what of it is on disk."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "export":
        from lamm_cl.data.exporting import export

        return export
    raise AttributeError(f"module 'lamm_cl.data' has no attribute {name!r}")
