"""Each published number that this package can run is compared with the run that a config makes, and with no other."""

import os
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from lamm_cl.data.catalogue import CATALOGUE
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import grid
from lamm_cl.experiments.spec import RunSpec
from lamm_cl.methods.registry import method_names
from lamm_cl.records import COLUMNS
from lamm_cl.reports import published
from lamm_cl.reports.compare import Comparison, compare, order_digest, parse_options
from lamm_cl.reports.published import PublishedNumber
from lamm_cl.reports.results import Results
from lamm_cl.reports.tables.collect import tidy
from lamm_cl.streams.orders import DOMAIN_ORDERS, read_order
from lamm_cl.streams.protocols import step_sizes

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
NAMES = [name for name, _, _ in published.names()]
# Methods of the published tables that this package can run; of the others there is only the number.
OURS = set(method_names())
# (table, method, metric): why no run gives the number; its note says so too.
NO_RUN = {
    ("lamm-table2", "coop", "degradation"): "Set1 after has 50",
    **{
        ("setting-a", method, f"{what}_incremental_accuracy"): why
        for method, why in (("proof", "how many exemplars it keeps"), ("engine", "pairwise descriptions"))
        for what in ("average", "last")
    },
    **{
        ("setting-b", method, f"{what}_incremental_accuracy"): why
        for method, why in {"proof": "is not known|mixes runs|not those of B0"}.items()
        for what in ("average", "last")
    },
    **{("mtil", "zero_shot", metric): "several templates a data set" for metric in ("transfer", "average", "last")},
    **{("x-tail", "zero_shot", metric): "templates are not known" for metric in ("transfer", "average", "last")},
}
# (table, method, metric) copied by the paper from runs that another config makes, of another protocol.
COPIED = {("lamm-table2", "coop", "set1_before"): ("maple/base_to_new.yaml", "class_incremental")}


def class_incremental(spec: RunSpec) -> list[tuple[int, str]]:
    """Return the places of Set1 and Set2, or of every set after every stage of a longer stream."""
    sizes = {name: spec.protocol_options.get(name) for name in ("steps", "base", "increment")}
    steps = len(step_sizes(CATALOGUE[spec.dataset].classes, **sizes))
    if steps == 2:
        return [(1, "set1"), (2, "set1"), (2, "set2")]
    return [(i, f"set{j}") for i in range(1, steps + 1) for j in range(1, steps + 1)]


def in_turn(spec: RunSpec) -> tuple[str, ...]:
    """Return the data sets of a multi-domain run in their order."""
    return DOMAIN_ORDERS[spec.protocol_options["order"]]


PLACES = {
    "few_shot": lambda spec: [(1, spec.dataset)],
    "class_incremental": class_incremental,
    "base_to_new": lambda spec: [(1, "base"), (1, "new")],
    "cross_dataset": lambda spec: [(1, name) for name in spec.datasets],
    "domain_generalization": lambda spec: [(1, name) for name in spec.datasets],
    "multi_domain": lambda spec: [(i, name) for i in range(len(spec.datasets) + 1) for name in in_turn(spec)],
}


def specs(path: Path, *chosen: str) -> list[RunSpec]:
    """Return a config's runs with its first seed."""
    return grid(read_config(path, ["seeds=[1]", *chosen]))


def streams(name: str) -> list[list[str]]:
    """Return what a config of a table is told to make each of its streams, on the data sets that there are.

    A class order that is the file of a released code is the user's to bring: here it is the reference copy's.
    """
    found: dict[tuple[str, ...], dict[str, None]] = {}
    for row in filter(ours, published.numbers(name)):
        if row.protocol_options:
            wanted = parse_options(row.protocol_options)
            chosen = [f"protocol.base={wanted['base']}", f"protocol.increment={wanted['increment']}"]
            if "digest" in wanted["order"]:
                chosen.append(f"protocol.order={{file: {order_files()[wanted['order']['digest']]}}}")
            found.setdefault(tuple(chosen), {})[row.dataset] = None
    return [[*chosen, f"datasets=[{', '.join(names)}]"] for chosen, names in found.items()] or [[]]


@cache
def order_files() -> dict[str, Path]:
    """Return the class orders beside the checkout by their digests; skips where there are none."""
    folder = Path(os.environ.get("LAMM_CL_REFERENCE", ROOT.parent / "shared")) / "data" / "cil" / "orders"
    if not folder.is_dir():
        pytest.skip("reference data not present")
    return {order_digest(read_order(path)): path for path in folder.glob("*.yaml")}


def results(runs: list[RunSpec], protocol: str) -> Results:
    """Return what `lamm-cl run` would leave of these runs, all accuracies one half."""
    same: dict[str, object] = {"protocol": protocol, "metric": "accuracy", "value": 0.5, "n": 100, "status": "done"}
    rows = [
        {**columns, "stage": stage, "eval_set": name, "label_space": space}
        for spec in runs
        for columns in [{**spec.columns(), **same, "run_id": spec.run_id}]  # dear: once a run
        for stage, name in PLACES[protocol](spec)
        for space in ("own", "seen", "all")
    ]
    records = {
        spec.run_id: {"run": spec.columns(), "config": spec.determines(), "data": {"split": "official"}}
        | {"stream": {"classes": CATALOGUE[spec.dataset].classes} if spec.dataset in CATALOGUE else {}}
        for spec in runs
    }
    return Results(Path("nowhere"), tidy(pd.DataFrame(rows, columns=list(COLUMNS))), records)


@cache
def configs_of(name: str) -> list[Path]:
    """Return the configs whose header promises the comparison with a published table."""
    promised = {path: re.findall(r"--compare ([a-z0-9-]+)", path.read_text()) for path in CONFIGS.rglob("*.yaml")}
    return sorted(path for path, names in promised.items() if name in names)


@cache
def comparisons(name: str) -> list[Comparison]:
    """Return the comparisons of the runs of a table's configs with it."""
    found = []
    for path in configs_of(name):
        for chosen in streams(name):
            runs = specs(path, *chosen)
            found += compare(results(runs, runs[0].protocol), name)
    for (table, _, _), (path, protocol) in COPIED.items():
        if table == name:
            found += compare(results(specs(CONFIGS / path), protocol), name)
    return found


def place(row: PublishedNumber) -> tuple[str, str, str]:
    return row.table, row.method, row.metric


def run(row: PublishedNumber) -> PublishedNumber:
    """Return the row without its source: another may print the same value of the same run."""
    return replace(row, source="", citation="", standing="", note="")


def ours(row: PublishedNumber) -> bool:
    known = not row.protocol_options or row.dataset in CATALOGUE
    return row.method in OURS and (not row.minus or row.minus in OURS) and known


@pytest.mark.parametrize("name", NAMES)
def test_a_config_makes_the_run_of_each_number(name: str) -> None:
    rows = [row for row in published.numbers(name) if ours(row) and "no run" not in row.note]
    met = {run(one.printed) for one in comparisons(name) if one.printed is not None and one.difference is not None}
    refused = {one.printed: one.verdict for one in comparisons(name) if one.difference is None}
    missing = [
        f"{row.value} ({row.method} {row.options}, {row.dataset}, {row.metric}, {row.shots} shots): "
        + refused.get(row, "no config of it has such a run")
        for row in rows
        if run(row) not in met
    ]
    assert not missing, "\n".join(missing)


def test_what_no_run_gives_says_so() -> None:
    silent = {place(row) for name in NAMES for row in published.numbers(name) if ours(row) and "no run" in row.note}
    assert silent == set(NO_RUN)
    for name in NAMES:
        for row in published.numbers(name):
            if ours(row) and "no run" in row.note:
                assert re.search(NO_RUN[place(row)], row.note)


@pytest.mark.parametrize(
    ("name", "options", "refused"),
    [
        ("lamm-table1", {"coop": {}}, "coop"),
        ("lamm-table3", {"coop": {}}, "coop"),
        ("lamm-table3", {"lamm": {"lambda_wc": 0.5}}, "lamm"),
        ("lamm-figure3", {"coop+lamm": {"lambda_wc": 1}}, "coop+lamm - coop"),
        ("maple-siblings", {"coop": {"ctx_init": "a photo of a"}}, "coop"),
        ("base-to-new-average", {"ivlp_promptsrc": {"method": "ivlp", "epochs": 20}}, "ivlp_promptsrc"),
        ("cross-dataset", {"maple": {}}, "maple"),
        ("setting-b", {"rapf": {}}, "rapf"),
        ("x-tail", {"rail": {"gate": "seen"}}, "rail"),
        ("mtil", {"rail": {"fusion": 0.5}}, "rail"),
        ("setting-b", {"ranpac": {"plugins": {"ReplayPlugin": {"mem_size": 2000}}}}, "ranpac"),
    ],
)
def test_a_config_with_other_settings_is_found_out(
    name: str, options: dict[str, dict[str, object]], refused: str
) -> None:
    path = next(path for path in configs_of(name) if "align" not in path.parts)
    config = read_config(path, ["seeds=[1]", *(f"methods.{key}={value}" for key, value in options.items())])
    found = compare(results(grid(config), config.protocol.name), name)
    assert [one for one in found if one.measured.label == refused]
    assert not [one for one in found if one.measured.label == refused and one.difference is not None]
