"""What the runs themselves worked out of their streams: forgetting, transfer, incremental accuracy."""

import pandas as pd

from lamm_cl.reports.tables.collect import SETTINGS, build_table, stream_lengths, tidy, with_averages
from lamm_cl.reports.tables.model import Column, Table

_COLUMNS = (
    Column("average_incremental_accuracy", "Average incremental", unit="%", best="max"),
    Column("incremental_accuracy", "Last incremental", unit="%", best="max"),
    Column("forgetting", "Forgetting", unit="%", best="min"),
    Column("backward_transfer", "Backward transfer", unit="%", best="max"),
    Column("forward_transfer", "Forward transfer", unit="%", best="max"),
)
_NOTE = "Formulas and sources: lamm_cl/evaluation/README.md. Forgetting counts what was lost as positive."


def stream_table(frame: pd.DataFrame) -> Table:
    """Return the metrics of whole streams, in every label space, from the runs' own rows after their last stage.

    Args:
        frame: Rows of `runs.csv`; only streams with several stages have such metrics.
    """
    rows = tidy(frame)
    rows = rows[rows["protocol"].isin(["class_incremental", "multi_domain"])]
    ends = rows["run_id"].map(stream_lengths(rows[rows["metric"] == "accuracy"]))
    names = [column.key for column in _COLUMNS]
    rows = rows[rows["metric"].isin(names) & (rows["stage"] == ends) & rows["value"].notna()]
    lengths = ends.reindex(rows.index)
    if lengths.nunique() > 1:
        steps = lengths.map(lambda count: f"{count:g} steps")
        rows = rows.assign(setting=(rows["setting"] + " " + steps).str.strip())
    table = _wide(rows)
    present = tuple(column for column in _COLUMNS if column.key in table.columns)
    return build_table("stream", "Whole streams", with_averages(table, present), present, (_NOTE,))


def _wide(rows: pd.DataFrame) -> pd.DataFrame:
    keys = [*SETTINGS, "seed", "run_id"]
    if rows.empty:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in keys})
    table = rows.groupby([*keys, "metric"], sort=False, dropna=False)["value"].first().unstack("metric").reset_index()
    table["run_id"] = [(one,) for one in table["run_id"]]
    return table
