"""What a report says of each protocol, one object a protocol: its numbers, table, headline, figures and notes.

A protocol of `lamm_cl.streams` that has no object here fails a test.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from lamm_cl.evaluation import metrics
from lamm_cl.reports.names import AVERAGE, dataset_rank
from lamm_cl.reports.tables import collect
from lamm_cl.reports.tables.collect import Quantities, numbered_sets, pick
from lamm_cl.reports.tables.model import Cell, Column, Row, Table, mark_best
from lamm_cl.streams.orders import DOMAIN_ORDERS


def _percent(key: str, title: str, group: str = "") -> Column:
    return Column(key, title, group=group, unit="%", best="max")


@dataclass(frozen=True)
class Numbers:
    """The numbers of a protocol's table.

    Attributes:
        observations: A row per settings and seed, with `run_id` and a fraction for each column, and the averages.
        sets: The evaluation sets that the averages are over, where they are over those of one run.
    """

    observations: pd.DataFrame
    columns: tuple[Column, ...]
    title: str
    notes: tuple[str, ...] = ()
    sets: frozenset[str] = frozenset()


class ProtocolReport:
    """What a report says of one protocol.

    Attributes:
        name: As in `lamm_cl.streams`.
        headline: The one number that the protocol is about, in words.
        headline_key: Its column of the numbers.
        figures: What is drawn beside the figures that all protocols have: accuracy over shots, or over stages.
        over_sets: Whether its numbers are named by evaluation sets, and its averages are over them.
    """

    name: str
    headline: str
    headline_key: str
    figures: Literal["", "shots", "stages"] = ""
    over_sets: bool = False

    def numbers(self, frame: pd.DataFrame) -> Numbers:
        """Return the protocol's numbers from rows of `runs.csv`; those of other protocols are left out."""
        raise NotImplementedError

    def table(self, frame: pd.DataFrame) -> Table:
        """Return the table in the papers' shape."""
        found = self.numbers(frame)
        return collect.build_table(self.name, found.title, found.observations, found.columns, found.notes)

    def accuracy(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the headline's fraction as `accuracy`, per settings and seed, with the averages over data sets."""
        return self.numbers(frame).observations.rename(columns={self.headline_key: "accuracy"})


class ClassIncremental(ProtocolReport):
    """Sets of classes one after another, in every scored label space.

    `before` is the accuracy on Set1 after the first experience, `after` the one after the last. With more than two
    sets: the last set's own accuracy, the degradation averaged over all sets but the last (each from the experience
    that taught it to the end), and the accuracy over the images of all sets met so far: its mean over the stages, with
    each stage alike and weighted by its test images, and its value at the end.

    Source: LAMM (AAAI 2024), Table 2; for the incremental accuracies see `metrics`.
    """

    name = "class_incremental"
    headline = "accuracy at the end, mean over sets [%]"
    headline_key = "at_the_end"
    figures = "stages"

    _SET1 = (_percent("set1_before", "before", "Set1"), _percent("set1_after", "after", "Set1"))
    _DEGRADATION = _percent("degradation", "Degradation")
    TWO = (*_SET1, _percent("set2", "Set2"), _DEGRADATION)
    _INCREMENTAL = (
        _percent("average_incremental_accuracy", "average", "Incremental"),
        _percent("weighted_average_incremental_accuracy", "weighted", "Incremental"),
        _percent("last_incremental_accuracy", "last", "Incremental"),
    )
    MANY = (*_SET1, _percent("last_set", "Last set"), _DEGRADATION, *_INCREMENTAL)

    def numbers(self, frame: pd.DataFrame, *, incremental: bool = True) -> Numbers:
        """Return Set1 before and after, the last set, the degradation, and the accuracy at the end and on the way."""
        rows = collect.accuracies(frame, self.name)
        rows = rows[rows["eval_set"].str.fullmatch(r"set[1-9]\d{0,3}|total")]
        lengths = collect.stream_lengths(rows)
        two = set(lengths) <= {1, 2}
        if not two:  # streams of different lengths are different experiments: they must not be averaged
            rows = collect.with_steps(rows, lengths)
        columns = self.TWO if two else self.MANY
        images = collect.wide(rows.assign(value=rows["n"])) if incremental and not two else None
        found = collect.per_seed(rows, partial(self._quantities, images, two))
        found = collect.with_averages(found, [*(column.key for column in columns), self.headline_key])
        if two:
            note = "Degradation is Set1 after minus Set1 before: below zero, something was lost."
            return Numbers(found, columns, "Class-incremental, Set1 then Set2", (note,))
        note = (
            "Degradation is the mean, over all sets but the last, of the accuracy at the end minus the "
            "accuracy when the set had just been learned: below zero, something was lost. Incremental: on the test "
            "images of all sets met so far, mean over stages, weighted by their test images, and at the end."
        )
        return Numbers(found, columns, "Class-incremental", (note,))

    def accuracy(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the mean accuracy over the sets at the end, without the numbers that take long."""
        found = self.numbers(frame, incremental=False).observations
        return found.rename(columns={self.headline_key: "accuracy"})

    @classmethod
    def _quantities(cls, images: pd.DataFrame | None, two: bool, table: pd.DataFrame) -> Quantities:
        """Return the numbers of streams of `two` sets, or of more; `images` has the test images of the accuracies."""
        names = numbered_sets([*map(str, table.columns.get_level_values(1)), "set2"])
        a = _matrices(table, names, range(1, len(names) + 1))
        # A run's own length, from the sets it was scored on at any stage, not from the stages it reached.
        scored, run = ~np.isnan(a).all(axis=1), np.arange(len(table))
        own = np.where(scored, np.arange(len(names)), 0).max(axis=1)
        last = np.maximum(own, 1) if two else own
        out = {"set1_before": a[:, 0, 0], "set1_after": a[run, last, 0], "last_set": a[run, last, last]}
        out["set2"] = out["last_set"]
        out["degradation"] = [metrics.backward_transfer(a[k, : n + 1, : n + 1]) for k, n in enumerate(last)]
        ends = np.where(scored, a[run, own], 0.0).sum(axis=1)
        out["at_the_end"] = ends / np.where(scored.any(axis=1), scored.sum(axis=1), np.nan)
        if images is not None:
            counts = _matrices(images.reindex(table.index), names, range(1, len(names) + 1))
            streams = [(a[k, : n + 1, : n + 1], counts[k, n, : n + 1]) for k, n in enumerate(last)]
            out |= {one.key: [getattr(metrics, one.key)(*stream) for stream in streams] for one in cls._INCREMENTAL}
        return {key: pd.Series(values, index=table.index) for key, values in out.items()}


def _matrices(table: pd.DataFrame, names: Sequence[str], stages: Sequence[int]) -> np.ndarray:
    """Return a[run, i, j], the accuracy on set j after the i-th of the stages, from `wide` rows."""
    a = [[pick(table, stage, name).to_numpy() for name in names] for stage in stages]
    return np.array(a, dtype=float).reshape(len(stages), len(names), len(table)).transpose(2, 0, 1)


class BaseToNew(ProtocolReport):
    """Base, new and their harmonic mean H, for each data set and on average.

    H is the harmonic mean of the base and new accuracies of its row, also in the average rows, as papers print it;
    its deviation is that of the seeds' own harmonic means. Rows called "mean of H" give the mean of the data sets' H.

    Source: Zhou et al., "Conditional Prompt Learning for Vision-Language Models" (CoCoOp), CVPR 2022, Table 1.
    """

    name = "base_to_new"
    headline = "harmonic mean of base and new [%]"
    headline_key = "harmonic_mean"

    _COLUMNS = (_percent("base", "Base"), _percent("new", "New"), _percent("harmonic_mean", "H"))
    _MEAN_OF_H = "mean of H"

    def numbers(self, frame: pd.DataFrame) -> Numbers:
        """Return base, new and H per seed; of the averages, the H of the averages."""
        found = collect.per_seed(
            collect.accuracies(frame, self.name), lambda table: {one: trained(table, one) for one in ("base", "new")}
        )
        found = collect.with_averages(found, [one.key for one in self._COLUMNS])
        found["harmonic_mean"] = metrics.harmonic_mean(found["base"].astype(float), found["new"].astype(float))
        note = (
            "H of an average is the harmonic mean of the two averages, as papers print it; "
            '"mean of H" is the mean of the data sets\' H.'
        )
        return Numbers(found, self._COLUMNS, "Base to new", (note,) if found["dataset"].nunique() > 1 else ())

    def table(self, frame: pd.DataFrame) -> Table:
        """Return the table, with H made of the printed means and the mean of the data sets' H."""
        table = super().table(frame)
        rows = [Row(self._of_means(row.cells), row.section) for row in table.rows]
        more = self._means_of_h(rows, table.places["dataset"]) if table.notes else ()
        return mark_best(replace(table, rows=(*rows, *more)))

    @staticmethod
    def _of_means(cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
        *words, base, new, own = cells
        if base.value is None or new.value is None or own.value is None:
            return cells
        return (*words, base, new, replace(own, value=metrics.harmonic_mean(base.value, new.value)))

    def _means_of_h(self, rows: list[Row], place: int) -> Iterator[Row]:
        groups: dict[tuple[str | None, ...], list[Row]] = {}
        for row in rows:
            key = tuple(cell.text for index, cell in enumerate(row.cells[:-3]) if index != place)
            groups.setdefault(key, []).append(row)
        for *parts, row in groups.values():  # the average stands last
            if row.cells[place].text == AVERAGE:
                values = [value for part in parts if (value := part.cells[-1].value) is not None]
                whole = len(values) == len(parts) and row.cells[-1].value is not None
                mean = Cell(sum(values) / len(values), run_ids=row.cells[-1].run_ids) if whole else Cell()
                cells = [cell if cell.text is not None else Cell(text="") for cell in row.cells[:-1]]
                cells[place] = Cell(text=self._MEAN_OF_H)
                yield Row((*cells, mean), f"{row.section}/{self._MEAN_OF_H}")


def trained(table: pd.DataFrame, eval_set: str) -> "pd.Series[float]":
    """Return the accuracy after the only training experience; for what has nothing to train, before it."""
    after, before = pick(table, 1, eval_set), pick(table, 0, eval_set)
    untrained = np.asarray(table.index.get_level_values("method") == "zero_shot")
    return after.where(after.notna() | ~untrained, before)


def _one_label_space(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep one label space: with one training experience, `own` is the one that papers print."""
    spaces = collect.values_of(rows, "label_space")
    return rows[(rows["label_space"] == spaces[0]) & (rows["eval_set"] != "total")] if spaces else rows


class FewShot(ProtocolReport):
    """The accuracy on the whole test set, a column per number of shots, for each data set and on average.

    Source: LAMM (AAAI 2024), Figure 3 and Table 3.
    """

    name = "few_shot"
    headline = "accuracy [%]"
    headline_key = "accuracy"
    figures = "shots"

    def numbers(self, frame: pd.DataFrame) -> Numbers:
        """Return one accuracy per settings and seed, with the averages over data sets of each number of shots."""
        rows = _one_label_space(collect.accuracies(frame, self.name)).assign(eval_set="test")
        found = collect.per_seed(rows, lambda table: {"accuracy": trained(table, "test")})
        parts = [collect.average_rows(part, ["accuracy"]) for _, part in found.groupby("shots")]
        found = pd.concat([found, *(part for part in parts if len(part))], ignore_index=True)
        return Numbers(found, (_percent("accuracy", "Accuracy"),), "Few-shot")

    def table(self, frame: pd.DataFrame) -> Table:
        """Return the table with a column for each number of shots."""
        found = self.numbers(frame)
        return collect.by_shots(self.name, found.title, found.observations, found.notes)


class Transfer(ProtocolReport):
    """Train on one data set, test on others (called `targets`): the accuracy on each, and their average.

    The data set of a row is the source: the first of the names that a run joins with "+".
    """

    headline_key = "average"
    over_sets = True

    def __init__(self, name: str, title: str, targets: str, *, with_source: bool) -> None:
        self.name, self._title, self._with_source = name, title, with_source
        self.headline = f"accuracy on the {targets} not trained on [%]"

    def numbers(self, frame: pd.DataFrame) -> Numbers:
        """Return accuracies and averages per settings and seed."""
        rows = _one_label_space(collect.accuracies(frame, self.name))
        rows = rows.assign(dataset=rows["dataset"].str.replace(r"\+.*", "", regex=True))
        sources = sorted(set(rows["dataset"]) & set(rows["eval_set"]), key=dataset_rank)
        targets = sorted(set(rows["eval_set"]) - set(sources), key=dataset_rank)
        columns = [
            *(_percent(name, name, "Source") for name in sources),
            *(_percent(name, name, "Target") for name in targets),
            _percent("average", "Average"),
            *([_percent("average_with_source", "with source")] if self._with_source else []),
        ]
        note = "Averages are over the data sets not trained on"
        note += "; the last column counts the source as well." if self._with_source else "."

        def quantities(table: pd.DataFrame) -> Quantities:
            values = {name: trained(table, name) for name in (*sources, *targets)}
            parts = {"average": targets, "average_with_source": list(values)}
            return values | {key: pd.DataFrame(values)[part].mean(axis=1, skipna=False) for key, part in parts.items()}

        found = collect.per_seed(rows, quantities)
        return Numbers(found, tuple(columns), self._title, (note,), frozenset([*sources, *targets]))


# Streams that papers have, by the order of their data sets.
_NAMED_STREAMS = {
    DOMAIN_ORDERS["mtil-1"]: ("mtil", "order 1"),
    DOMAIN_ORDERS["mtil-2"]: ("mtil", "order 2"),
    DOMAIN_ORDERS["x-tail"]: ("x-tail", "order 1"),
    DOMAIN_ORDERS["x-tail-2"]: ("x-tail", "order 2"),
}


class MultiDomain(ProtocolReport):
    """Transfer, Avg and Last of a stream of data sets, in every scored label space.

    Transfer by each definition in use, see `metrics`. Among the classes seen alone there is none, and no Avg: a data
    set not trained yet has no candidate that is right.
    The evaluation sets of a run stand in the order in which they are trained; another order is another setting.

    Source: ZSCL (ICCV 2023), section 4.
    """

    name = "multi_domain"
    headline = "accuracy at the end, mean over data sets (Last) [%]"
    headline_key = "last"
    figures = "stages"

    _COLUMNS = (
        _percent("transfer", "Transfer"),
        _percent("average", "Avg"),
        _percent("last", "Last"),
        _percent("transfer_over_pairs", "over pairs", "Transfer"),
        _percent("transfer_from_start", "from start", "Transfer"),
    )
    _NOTES = (
        "Transfer: on data sets not trained yet, mean over data sets; over pairs: mean over pairs of stage and data "
        "set; from start: the first data set counts too, and what was right before any training. Avg: over all data "
        "sets and stages; Last: after the last stage.",
        "Own label space: the data set of an image is known; all: it is not.",
    )

    def numbers(self, frame: pd.DataFrame) -> Numbers:
        """Return Transfer, Avg and Last per settings and seed."""
        rows = collect.accuracies(frame, self.name)
        rows = rows[rows["eval_set"] != "total"]
        orders = {run: tuple(dict.fromkeys(names)) for run, names in rows.groupby("run_id", sort=False)["eval_set"]}
        places = {(run, name): f"set{k}" for run, order in orders.items() for k, name in enumerate(order, 1)}
        rows = rows.assign(eval_set=[places[key] for key in zip(rows["run_id"], rows["eval_set"], strict=True)])
        several = len(set(orders.values())) > 1
        titles = {run: _NAMED_STREAMS.get(one, ("", " > ".join(one) if several else "")) for run, one in orders.items()}
        streams, words = (rows["run_id"].map({run: one[k] for run, one in titles.items()}).astype(str) for k in (0, 1))
        rows = rows.assign(
            setting=(rows["setting"] + " " + words).str.strip(), dataset=rows["dataset"].where(streams == "", streams)
        )
        found = collect.per_seed(rows, self._quantities)
        return Numbers(found, self._COLUMNS, "Data sets one after another", self._NOTES)

    @classmethod
    def _quantities(cls, table: pd.DataFrame) -> Quantities:
        names = numbered_sets(map(str, table.columns.get_level_values(1)))
        started = _matrices(table, names, range(len(names) + 1))
        # A run's sets are those it was scored on at any stage; a stage that it has not reached stays missing.
        lengths = (~np.isnan(started[:, 1:]).all(axis=1)).sum(axis=1)
        runs = [(one[1 : n + 1, :n], one[0, :n]) for one, n in zip(started, lengths, strict=True)]
        seen = np.asarray(table.index.get_level_values("label_space") == "seen")
        out = {}
        for column in cls._COLUMNS:
            metric, more = getattr(metrics, column.key), column.key == "transfer_from_start"
            values = [(metric(a, before) if more else metric(a)) if len(a) else np.nan for a, before in runs]
            out[column.key] = pd.Series(np.where(seen & (column.key != "last"), np.nan, values), index=table.index)
        return out


PROTOCOLS: dict[str, ProtocolReport] = {
    one.name: one
    for one in (
        ClassIncremental(),
        BaseToNew(),
        FewShot(),
        # Source: CoCoOp (CVPR 2022), Table 2.
        Transfer("cross_dataset", "Cross-dataset transfer", "data sets", with_source=False),
        # Source: CoOp (IJCV 2022) and MaPLe (CVPR 2023) average without the source, LAMM's Table 1 with it.
        Transfer("domain_generalization", "Domain generalisation", "variants", with_source=True),
        MultiDomain(),
    )
}
# Those whose stages make a stream: accuracy over what was met so far, forgetting and transfer mean something.
STREAMS = tuple(name for name, one in PROTOCOLS.items() if one.figures == "stages")
