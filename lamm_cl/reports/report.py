"""What a report says, before anybody decides how to print it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lamm_cl.reports.results import Results
from lamm_cl.reports.tables import TABLES, Table
from lamm_cl.reports.tables.ablation import ablation_tables
from lamm_cl.reports.tables.cost import cost_table
from lamm_cl.reports.tables.stream import stream_table


@dataclass(frozen=True)
class Report:
    """The parts of a report.

    Attributes:
        title: Name of the experiment.
        summary: Sentences that say what was measured.
        problems: Sentences that say what is missing.
        tables: Tables in reading order.
        results: What it was made of.
    """

    title: str
    summary: tuple[str, ...]
    problems: tuple[str, ...]
    tables: tuple[Table, ...]
    results: Results


def make_report(results: Results, compare: str | None = None) -> Report:
    """Put together the tables of every protocol that was measured, and the comparison if one is asked for.

    Raises:
        UsageError: There is no published table of that name.
    """
    tables = list(_tables(results))
    if compare is not None:
        from lamm_cl.reports.compare import compare_table

        tables.insert(0, compare_table(results, compare))
    experiments = [name for name in results.frame["experiment"].unique() if name]
    title = ", ".join(experiments) or results.directory.resolve().name
    return Report(title, tuple(_summary(results)), results.problems + tuple(_gaps(results)), tuple(tables), results)


def _tables(results: Results) -> Iterator[Table]:
    frame = results.frame
    configs = _configs(results)
    for protocol, build in TABLES.items():
        rows = frame[(frame["protocol"] == protocol) & frame["value"].notna()]
        if rows.empty:
            continue
        rows.attrs["tidy"] = True
        table = build(rows)
        if table.rows:
            yield table
            yield from ablation_tables(rows, configs, build)
    yield from (table for table in (stream_table(frame), cost_table(frame)) if table.rows)


def _configs(results: Results) -> Mapping[str, Mapping[str, Any]]:
    found = {run_id: record.get("config") for run_id, record in results.records.items()}
    return {run_id: config for run_id, config in found.items() if isinstance(config, Mapping)}


def _summary(results: Results) -> Iterator[str]:
    runs = results.runs
    if runs.empty:
        return
    statuses = ", ".join(
        f"{count} {status or 'without status'}" for status, count in runs["status"].value_counts().items()
    )
    yield f"{len(runs)} run{'s' * (len(runs) != 1)}: {statuses}."
    for column, word in (
        ("protocol", "Protocols"),
        ("dataset", "Data sets"),
        ("method", "Methods"),
        ("backbone", "Backbones"),
    ):
        names = [name for name in runs[column].unique() if name]
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        if names:
            yield f"{word}: {', '.join(names[:20])}{more}."
    commits = {
        str(git.get("commit")) for record in results.records.values() if isinstance(git := record.get("git"), Mapping)
    }
    if commits:
        yield f"Made by commit {', '.join(sorted(commit[:12] for commit in commits))}."


def _gaps(results: Results) -> Iterator[str]:
    """Say where some seeds of a grid are there and others are not."""
    runs = results.runs
    done = runs[runs["status"] != "failed"]
    if done.empty:
        return
    keys = ["experiment", "protocol", "dataset", "backbone", "pretrained", "shots"]
    texts = []
    for settings, group in done.groupby(keys, sort=False, dropna=False):
        wanted = set(group["seed"].dropna())
        for label, own in group.groupby("method", sort=False):
            missing = sorted(wanted - set(own["seed"]))
            # One seed is enough for what does not depend on it.
            if missing and label != "zero_shot":
                seeds = ", ".join(f"{seed:g}" for seed in missing)
                texts.append(f"{label} on {settings[2]} with {settings[5] or 'all'} shots: seed {seeds}")
    if texts:
        more = f"; and {len(texts) - 5} more" if len(texts) > 5 else ""
        yield f"Missing seeds: {'; '.join(texts[:5])}{more}."
