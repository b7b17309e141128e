"""Data sets one after another: Transfer, Avg and Last, the shape of the MTIL tables."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lamm_cl.evaluation import metrics
from lamm_cl.reports.tables.collect import accuracies, build_table, numbered_sets, per_seed, pick
from lamm_cl.reports.tables.model import Column, Table
from lamm_cl.streams.domains import DOMAIN_ORDERS

_COLUMNS = (
    Column("transfer", "Transfer", unit="%", best="max"),
    Column("average", "Avg", unit="%", best="max"),
    Column("last", "Last", unit="%", best="max"),
)
# Streams that papers have, by the order of their data sets.
_NAMED = {
    DOMAIN_ORDERS["mtil-1"]: ("mtil", "order 1"),
    DOMAIN_ORDERS["mtil-2"]: ("mtil", "order 2"),
    DOMAIN_ORDERS["x-tail"]: ("x-tail", ""),
}


def multi_domain_table(frame: pd.DataFrame) -> Table:
    """Return Transfer, Avg and Last of the stream of data sets, in every scored label space.

    Args:
        frame: Rows of `runs.csv`; those of other protocols are left out. The evaluation sets of a run stand in the
            order in which they are trained.

    Source: ZSCL (ICCV 2023), section 4.
    """
    observations = observe(frame)
    notes = (
        "Transfer: on data sets not trained yet; Avg: over all data sets and stages; Last: after the last stage.",
        "Own label space: the data set of an image is known; all: it is not.",
    )
    return build_table("multi_domain", "Data sets one after another", observations, _COLUMNS, notes)


def observe(frame: pd.DataFrame) -> pd.DataFrame:
    """Return Transfer, Avg and Last per settings and seed; streams in another order are another setting."""
    rows = accuracies(frame, "multi_domain")
    rows = rows[(rows["eval_set"] != "total") & (rows["stage"] > 0)]
    orders = {run: tuple(dict.fromkeys(names)) for run, names in rows.groupby("run_id", sort=False)["eval_set"]}
    places = {(run, name): f"set{k}" for run, order in orders.items() for k, name in enumerate(order, 1)}
    rows = rows.assign(eval_set=[places[key] for key in zip(rows["run_id"], rows["eval_set"], strict=True)])
    several = len(set(orders.values())) > 1
    titles = {run: _NAMED.get(order, ("", " > ".join(order) if several else "")) for run, order in orders.items()}
    streams = rows["run_id"].map({run: title for run, (title, _) in titles.items()}).astype(str)
    words = rows["run_id"].map({run: setting for run, (_, setting) in titles.items()}).astype(str)
    rows = rows.assign(
        setting=(rows["setting"] + " " + words).str.strip(), dataset=rows["dataset"].where(streams == "", streams)
    )
    return per_seed(rows, quantities)


def quantities(table: pd.DataFrame) -> "Mapping[str, pd.Series[float]]":
    """Return Transfer, Avg and Last from `wide` rows whose evaluation sets are `set1`, `set2`, ... as trained."""
    names = numbered_sets(map(str, table.columns.get_level_values(1)))
    a = np.array([[pick(table, i + 1, name).to_numpy() for name in names] for i in range(len(names))])
    functions = {"transfer": metrics.transfer, "average": metrics.average, "last": metrics.last}
    out = {key: np.full(len(table), np.nan) for key in functions}
    for run in range(len(table)):
        # A run's sets are those it was scored on at any stage; a stage that it has not reached stays missing.
        length = int((~np.isnan(a[:, :, run]).all(axis=0)).sum())
        for key, function in functions.items():
            out[key][run] = function(a[:length, :length, run]) if length else np.nan
    return {key: pd.Series(values, index=table.index) for key, values in out.items()}
