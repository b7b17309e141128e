"""What runs leave on disk, and the table made from it."""

from lamm_cl.records.directory import ExperimentDirectory
from lamm_cl.records.record import COLUMNS, DAMAGED, DONE, FAILED, MEASURED, Entry, Progress, Record

__all__ = ["COLUMNS", "DAMAGED", "DONE", "FAILED", "MEASURED", "Entry", "ExperimentDirectory", "Progress", "Record"]
