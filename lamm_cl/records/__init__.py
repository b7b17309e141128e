"""What runs leave on disk, and the table made from it."""

from lamm_cl.records.directory import ExperimentDirectory
from lamm_cl.records.record import COLUMNS, DONE, FAILED, MEASURED, RUN_COLUMNS, Record, read_records

__all__ = [
    "COLUMNS",
    "DONE",
    "FAILED",
    "MEASURED",
    "RUN_COLUMNS",
    "ExperimentDirectory",
    "Record",
    "read_records",
]
