"""What runs leave on disk, and the table made from it."""

from lamm_cl.records.directory import ExperimentDirectory
from lamm_cl.records.record import COLUMNS, DAMAGED, DONE, FAILED, MEASURED, RUN_COLUMNS, Progress, Record
from lamm_cl.records.table import Entry

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
