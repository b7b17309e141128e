"""What runs leave on disk, and the table made from it."""

from lamm_cl.records.directory import ExperimentDirectory
from lamm_cl.records.record import COLUMNS, DAMAGED, DONE, FAILED, MEASURED, RUN_COLUMNS, Entry, Progress, Record

__all__ = [
    "COLUMNS",
    "DAMAGED",
    "DONE",
    "FAILED",
    "MEASURED",
    "RUN_COLUMNS",
    "Entry",
    "ExperimentDirectory",
    "Progress",
    "Record",
]
