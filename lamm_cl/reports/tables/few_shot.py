"""All classes from few images: accuracy over shots, the shape of LAMM's Figure 3 and Table 3."""

from collections.abc import Mapping

import pandas as pd

from lamm_cl.reports.names import shots_rank
from lamm_cl.reports.tables.base_to_new import trained
from lamm_cl.reports.tables.collect import SETTINGS, accuracies, average_rows, build_table, per_seed, run_ids
from lamm_cl.reports.tables.model import Column, Table

ACCURACY = "accuracy"


def few_shot_table(frame: pd.DataFrame) -> Table:
    """Return the accuracy on the whole test set, a column per number of shots, for each data set and on average.

    With one training experience every label space is the same; the first of own, seen, all that was scored is shown.

    Args:
        frame: Rows of `runs.csv`; those of other protocols are left out.

    Source: LAMM (AAAI 2024), Figure 3 and Table 3.
    """
    observations = observe(frame)
    shots = sorted(set(observations["shots"]), key=shots_rank)
    columns = tuple(Column(f"shots{s}", f"{s}", group="Shots", unit="%", best="max") for s in shots)
    return build_table("few_shot", "Few-shot", over_shots(observations, shots), columns)


def observe(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one accuracy per settings and seed, with the averages over data sets of each number of shots."""
    rows = accuracies(frame, "few_shot")
    spaces = set(rows["label_space"])
    space = next((name for name in ("own", "seen", "all") if name in spaces), "own")
    rows = rows[(rows["label_space"] == space) & (rows["eval_set"] != "total")].assign(eval_set="test")
    observations = per_seed(rows, _accuracy)
    if observations.empty:
        return observations.assign(accuracy=pd.Series(dtype=float))
    parts = [observations] + [average_rows(part, [ACCURACY]) for _, part in observations.groupby("shots")]
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def _accuracy(table: pd.DataFrame) -> "Mapping[str, pd.Series[float]]":
    return {ACCURACY: trained(table, "test")}


def over_shots(observations: pd.DataFrame, shots: list[str]) -> pd.DataFrame:
    """Return one row per settings and seed with a column `shots<k>` for each number of shots."""
    keys = [key for key in SETTINGS if key != "shots"] + ["seed"]
    if observations.empty:
        return observations
    groups = observations.groupby([*keys, "shots"], sort=False, dropna=False)
    table = groups[ACCURACY].mean().unstack("shots").reindex(columns=shots)
    table.columns = pd.Index([f"shots{count}" for count in shots])
    rows = observations.groupby(keys, sort=False, dropna=False)
    table["run_id"] = run_ids(rows, observations["run_id"]).reindex(table.index)
    return table.reset_index().assign(shots="")
