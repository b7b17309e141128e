"""What a method costs: time, parameters and memory."""

import pandas as pd

from lamm_cl.reports.tables.collect import SETTINGS, build_table, tidy
from lamm_cl.reports.tables.model import Column, Table

_COLUMNS = (
    Column("seconds", "Time", unit="s", digits=1, best="min"),
    Column("trained_parameters", "Trained parameters", unit="1", digits=0, best="min"),
    Column("peak_memory_mb", "Peak memory", unit="MB", digits=0, best="min"),
)
COSTS = tuple(column.key for column in _COLUMNS)


def cost_table(frame: pd.DataFrame) -> Table:
    """Return the time of all stages, the most parameters trained in one, and the peak memory, per method."""
    observations = observe(frame)
    present = tuple(column for column in _COLUMNS if observations[column.key].notna().any())
    notes = ("Time and memory depend on the machine, and on what was cached before.",)
    return build_table("cost", "Cost", observations, present, notes)


def observe(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per settings and seed with the three costs, NaN where one was not measured."""
    rows = tidy(frame)
    rows = rows[rows["metric"].isin(COSTS) & rows["value"].notna()].assign(label_space="")
    keys = [*SETTINGS, "seed", "run_id"]
    if rows.empty:
        return pd.DataFrame(
            {name: pd.Series(dtype=object) for name in keys} | {c: pd.Series(dtype=float) for c in COSTS}
        )
    groups = rows.groupby([*keys, "metric"], sort=False, dropna=False)["value"]
    # Stages add up in time; parameters and memory are what the dearest stage needs.
    table = groups.max().unstack("metric").reindex(columns=list(COSTS))
    table["seconds"] = groups.sum().unstack("metric").reindex(columns=["seconds"])["seconds"]
    out = table.reset_index()
    out["run_id"] = [(one,) for one in out["run_id"]]
    return out
