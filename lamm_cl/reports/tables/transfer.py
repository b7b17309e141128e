"""Train on one data set, test on others: cross-dataset transfer and domain generalisation."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from lamm_cl.reports.names import dataset_rank
from lamm_cl.reports.tables.base_to_new import trained
from lamm_cl.reports.tables.collect import accuracies, build_table, per_seed
from lamm_cl.reports.tables.model import Column, Table

_NOTE = "Averages are over the data sets not trained on; the last column counts the source as well."


def cross_dataset_table(frame: pd.DataFrame) -> Table:
    """Return the accuracy on the data set trained on and on each other one, with their average.

    Source: CoCoOp (CVPR 2022), Table 2.
    """
    return _table(frame, "cross_dataset", "Cross-dataset transfer", with_source=False)


def domain_generalization_table(frame: pd.DataFrame) -> Table:
    """Return the accuracy on the source and its variants, with the average with and without the source.

    Source: CoOp (IJCV 2022) and MaPLe (CVPR 2023) average without the source, LAMM's Table 1 (AAAI 2024) with it.
    """
    return _table(frame, "domain_generalization", "Domain generalisation", with_source=True)


def _table(frame: pd.DataFrame, protocol: str, title: str, with_source: bool) -> Table:
    observations, sets, sources = observe(frame, protocol)
    columns = [
        Column(name, name, group="Source" if name in sources else "Target", unit="%", best="max") for name in sets
    ]
    columns.append(Column("average", "Average", unit="%", best="max"))
    if with_source:
        columns.append(Column("average_with_source", "with source", unit="%", best="max"))
    notes = (_NOTE if with_source else _NOTE.partition(";")[0] + ".",)
    return build_table(protocol, title, observations, tuple(columns), notes)


def observe(frame: pd.DataFrame, protocol: str) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Return accuracies and averages per settings and seed, the evaluation sets, and the sources among them.

    The data set of a row is the source: the first of the names that a run joins with "+". One label space is kept:
    with one training experience, `own` is the one that papers print.
    """
    rows = accuracies(frame, protocol)
    spaces = set(rows["label_space"])
    space = next((name for name in ("own", "seen", "all") if name in spaces), "own")
    rows = rows[(rows["label_space"] == space) & (rows["eval_set"] != "total")]
    rows = rows.assign(dataset=rows["dataset"].str.replace(r"\+.*", "", regex=True))
    sources = sorted(set(rows["dataset"]) & set(rows["eval_set"]), key=dataset_rank)
    targets = sorted(set(rows["eval_set"]) - set(sources), key=dataset_rank)
    sets = [*sources, *targets]
    return per_seed(rows, quantities(sets, sources)), sets, sources


def quantities(
    sets: Sequence[str], sources: Sequence[str]
) -> Callable[[pd.DataFrame], "Mapping[str, pd.Series[float]]"]:
    """Return a function from `wide` rows to the accuracy on each set and the two averages over all of them."""

    def make(table: pd.DataFrame) -> "Mapping[str, pd.Series[float]]":
        values = pd.DataFrame({name: trained(table, name) for name in sets})
        targets = [name for name in sets if name not in sources]
        averages = {
            "average": values[targets].mean(axis=1, skipna=False) if targets else values.mean(axis=1) * float("nan"),
            "average_with_source": values.mean(axis=1, skipna=False),
        }
        return {**{name: values[name] for name in sets}, **averages}

    return make
