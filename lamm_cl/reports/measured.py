"""The numbers behind the tables, each with its seeds and with what the runs' records say."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from statistics import fmean
from typing import cast

import pandas as pd

from lamm_cl.evaluation import metrics
from lamm_cl.reports.comparable import Measured, found_in, unique
from lamm_cl.reports.names import AVERAGE
from lamm_cl.reports.results import Record, Results
from lamm_cl.reports.tables import base_to_new, class_incremental, few_shot, multi_domain, transfer
from lamm_cl.reports.tables.collect import SETTINGS

TRANSFER = ("domain_generalization", "cross_dataset")


def measure(results: Results, protocol: str) -> Iterator[Measured]:
    """Yield every number that the protocol's tables are made of, with its value for each seed, in percent."""
    observations, quantities, sets = _observe(results.rows, protocol)
    if observations.empty:
        return
    datasets = dict(zip(results.runs["run_id"], results.runs["dataset"], strict=True))
    for settings, group in observations.groupby(list(SETTINGS), sort=False, dropna=False):
        words = dict(zip(SETTINGS, map(str, cast("tuple[str, ...]", settings)), strict=True))
        ids = tuple(unique(one for part in group["run_id"] for one in part))
        records = [results.records[one] for one in ids if one in results.records]
        for quantity in quantities:
            known = 100 * group.set_index("seed").dropna(subset=[quantity])[list(quantities)]
            if len(known):
                over = sets or frozenset(datasets[one] for one in ids)
                yield _with_records(words, quantity, known, ids, over, records)


def differences(numbers: list[Measured], pairs: list[tuple[str, str]]) -> Iterator[Measured]:
    """Yield, for each pair of methods under the same settings, the difference seed by seed."""
    for one in numbers:
        for other in numbers:
            if (one.method, other.method) not in pairs or _settings(one) != _settings(other):
                continue
            there = dict(zip(other.seeds, other.values, strict=True))
            both = [
                (seed, value - there[seed]) for seed, value in zip(one.seeds, one.values, strict=True) if seed in there
            ]
            if both:
                yield replace(
                    one,
                    label=f"{one.label} - {other.label}",
                    minus=other.method,
                    quantity="difference",
                    mean=fmean(value for _, value in both),
                    seeds=tuple(seed for seed, _ in both),
                    values=tuple(value for _, value in both),
                    run_ids=one.run_ids + other.run_ids,
                    configs=one.configs + other.configs,
                    precisions=one.precisions | other.precisions,
                    splits=one.splits | other.splits,
                    synthetic=one.synthetic or other.synthetic,
                )


def _settings(one: Measured) -> tuple[object, ...]:
    return one.dataset, one.datasets, one.shots, one.label_space, one.setting, one.backbone, one.pretrained


def _observe(frame: pd.DataFrame, protocol: str) -> tuple[pd.DataFrame, list[str], frozenset[str]]:
    """Return observations, their columns of numbers, and the evaluation sets where averages are over those."""
    if protocol in TRANSFER:
        observations, sets, _ = transfer.observe(frame, protocol)
        return observations, [*sets, AVERAGE, "average_with_source"], frozenset(sets)
    observe: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
        "class_incremental": class_incremental.observe,
        "base_to_new": base_to_new.observe,
        "few_shot": few_shot.observe,
        "multi_domain": multi_domain.observe,
    }
    observations = observe[protocol](frame)
    fixed = {*SETTINGS, "seed", "run_id"}
    return observations, [name for name in observations.columns if name not in fixed], frozenset()


def _with_records(
    words: Mapping[str, str],
    quantity: str,
    known: pd.DataFrame,
    ids: tuple[str, ...],
    over: frozenset[str],
    records: list[Record],
) -> Measured:
    told = [(record, config) for record in records if isinstance(config := record.get("config"), Mapping)]
    methods = unique(str(config["method"]) for _, config in told if isinstance(config.get("method"), str))
    options = [
        (str(config.get("method", words["method"])), str(record["run"]["dataset"]), dict(config["options"]))
        for record, config in told
        if isinstance(config.get("options"), Mapping)
    ]
    backbones = [one for _, config in told if isinstance(one := config.get("backbone"), Mapping)]
    mean = known[quantity].mean()
    if quantity == "harmonic_mean":
        mean = metrics.harmonic_mean(known["base"].mean(), known["new"].mean())
    return Measured(
        label=" ".join(part for part in (words["method"], words["variant"]) if part),
        method=methods[0] if len(methods) == 1 else words["method"],
        mean=float(mean),
        values=tuple(known[quantity]),
        seeds=tuple(map(float, known.index)),
        run_ids=ids,
        quantity=quantity,
        datasets=over,
        configs=tuple(one for k, one in enumerate(options) if one not in options[:k]),
        precisions=frozenset(str(one["precision"]) for one in backbones if one.get("precision")),
        splits=frozenset(str(split) for record in records for split in found_in(record, "split") if split),
        synthetic=any(flag is True for record in records for flag in found_in(record, "synthetic")),
        **{
            key: words[key]
            for key in ("dialect", "dataset", "shots", "label_space", "setting", "backbone", "pretrained")
        },
    )
