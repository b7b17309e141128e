"""What a report says, before anybody decides how to print it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lamm_cl.errors import unknown
from lamm_cl.reports.names import method_rank, spelled_out
from lamm_cl.reports.results import Results, listed, part
from lamm_cl.reports.tables import PROTOCOLS, Table
from lamm_cl.reports.tables.collect import TITLES
from lamm_cl.reports.tables.extra import ablation_tables, class_tables, cost_table, paired_table, stream_table

_PLACE = ("dataset", "backbone", "pretrained", "shots")
_SHOWN = 5


@dataclass(frozen=True)
class Report:
    """The parts of a report."""

    title: str
    summary: tuple[str, ...]
    problems: tuple[str, ...]
    tables: tuple[Table, ...]
    results: Results


def make_report(results: Results, compare: str | None = None, against: str | None = None) -> Report:
    """Put together the tables of every protocol that was measured, and those beside the published table `compare`.

    `against` is the method or experiment that the others are compared with on the same seeds; of several experiments
    the first one, or its first method where they stand in the same tables as one.

    Raises:
        UsageError: There is no published table, method or experiment of that name.
    """
    if against is not None and against not in (
        names := {str(one) for key in ("method", "experiment") for one in results.frame[key].unique() if one}
    ):
        raise unknown("method or experiment", against, names)
    against = against or _first(results)
    tables = [_with_notes(table, protocol, results) for protocol, table in _tables(results, against)]
    if compare is not None:
        from lamm_cl.reports.compare import compare_table

        tables.insert(0, _with_notes(compare_table(results, compare), "", results))
    experiments = [name for name in results.frame["experiment"].unique() if name]
    title = ", ".join(experiments) or spelled_out(results.directory.resolve().name)
    return Report(title, tuple(_summary(results)), results.problems + tuple(_gaps(results)), tuple(tables), results)


def _with_notes(table: Table, protocol: str, results: Results) -> Table:
    """Add what the runs behind a table say of their data (another split than the papers', ...), and of class orders."""
    records = [one for one in results.records.values() if protocol in ("", one["run"]["protocol"])]
    said = [part(record, "data").get("notes") for record in records]
    found = [str(note) for one in said if isinstance(one, list) for note in one]
    notes = table.notes
    if any(part(record, "config", "protocol").get("order") == {"numpy": "seed"} for record in records):
        notes += ("Every seed has a class order of its own: means and deviations are over class orders as well.",)
    return replace(table, notes=notes, data_notes=tuple(dict.fromkeys(found)))


def _first(results: Results) -> str | None:
    experiments = [name for name in results.frame["experiment"].unique() if name]
    if len(experiments) < 2:
        return None
    if results.apart:
        return str(experiments[0])
    methods = set(results.frame.loc[results.frame["experiment"] == experiments[0], "method"]) - {""}
    return min(methods, key=lambda name: (name == "zero_shot", method_rank(name)), default=None)


def _tables(results: Results, against: str | None) -> Iterator[tuple[str, Table]]:
    """Yield the tables, each with its protocol; "" where it is over all of them."""
    frame = results.rows
    for protocol, one in PROTOCOLS.items():
        rows = frame[(frame["protocol"] == protocol) & frame["value"].notna()]
        if not rows.empty and (table := one.table(rows)).rows:
            yield protocol, table
            yield from ((protocol, more) for more in ablation_tables(rows, results.configs, one.table))
            if against is not None and (differences := paired_table(rows, protocol, against)).rows:
                yield protocol, differences
    said = {run_id: part(record, "stream").get("class_names") for run_id, record in results.records.items()}
    names = {run_id: one for run_id, one in said.items() if isinstance(one, list)}
    yield from (("", table) for table in class_tables(frame, names))
    yield from (("", table) for table in (stream_table(frame), cost_table(frame)) if table.rows)


def _summary(results: Results) -> Iterator[str]:
    runs = results.runs
    if runs.empty:
        return
    statuses = [f"{count} {status or 'without status'}" for status, count in runs["status"].value_counts().items()]
    yield f"{len(runs)} run{'s' * (len(runs) != 1)}: {', '.join(statuses)}."
    for column in ("protocol", "dataset", "method", "backbone"):
        names = [name for name in runs[column].unique() if name]
        if names:
            yield f"{TITLES[column]}s: {listed(names, most=20)}."
    commits = {str(git.get("commit")) for record in results.records.values() if (git := part(record, "git"))}
    if commits:
        yield f"Made by commit {', '.join(sorted(commit[:12] for commit in commits))}."


def _gaps(results: Results) -> Iterator[str]:
    """Say which runs of a grid are not there: its methods on all its data sets with all its shots and seeds."""
    runs = results.runs if results.apart else results.runs.assign(experiment="")
    for (experiment, _), grid in runs.groupby(["experiment", "protocol"], sort=False):
        there = {(*place, label): set(group["seed"]) for (*place, label), group in grid.groupby([*_PLACE, "method"])}
        labels = [*dict.fromkeys([*grid["method"], *results.planned(str(experiment))])]
        wanted = set(grid["seed"].dropna())
        texts = []
        for place in dict.fromkeys(zip(*(grid[key] for key in _PLACE), strict=True)):
            for label in labels:
                missing = wanted - there.get((*place, label), set())
                # One seed is enough for what does not depend on it.
                if missing and not (label == "zero_shot" and len(missing) < len(wanted)):
                    texts.append(_gap(place, label, missing, wanted))
        if texts:
            more = f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
            yield f"Not run yet: {'; '.join(texts[:_SHOWN])}{more}."


def _gap(place: tuple[str, ...], label: str, missing: set[float], wanted: set[float]) -> str:
    dataset, backbone, _, shots = place
    seeds = "" if missing == wanted else f", seed {', '.join(f'{seed:g}' for seed in sorted(missing))}"
    return f"{label} on {dataset}, {backbone}, {shots or 'all'} shots{seeds}"
