"""The published numbers agree with themselves, apart from a list that is written down, and with the reference copy."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import pytest

from lamm_cl.errors import UsageError
from lamm_cl.evaluation import metrics
from lamm_cl.reports import published
from lamm_cl.reports.compare import defaults, order_digest, parse_options
from lamm_cl.reports.published import PublishedNumber
from lamm_cl.streams.orders import read_order

NAMES = [name for name, _, _ in published.names()]

_TABLE1_PARTS = ("imagenet", "imagenetv2", "imagenet_sketch")


@dataclass(frozen=True)
class Recomputed:
    """A printed number that is made from other printed numbers.

    Attributes:
        table: Name of the published table.
        what: Which number, in words.
        printed: As the paper prints it, in percent.
        parts: What the printed parts give, unrounded, in percent.
    """

    table: str
    what: str
    printed: float
    parts: float

    @property
    def agrees(self) -> bool:
        """Whether the parts, rounded as the paper rounds, give the printed number."""
        return abs(self.printed - self.parts) <= 0.005 + 1e-9

    @property
    def within_rounding(self) -> bool:
        """Whether the rounding of the parts (at most 0.005 each) can explain the difference."""
        return abs(self.printed - self.parts) <= 0.01 + 1e-9


# Of these the printed H is lower than that of the printed averages, as the mean of the data sets' H always is.
MEANS_OF_H = ("rpo", "hpt", "rmadapter", "evoprompt")
# (table, what): why. Everything else agrees to the printed digit; a test holds this list to what is true.
DISAGREEMENTS: dict[tuple[str, str], str] = {
    ("lamm-table2", "coop set2 average"): "85.1864 is printed as 85.18: cut off, not rounded",
    ("base-to-new-average", "tcp harmonic mean"): "last digit: the averages were rounded before or after",
    ("base-to-new-average", "coprompt harmonic mean"): "last digit: the averages were rounded before or after",
    **{
        ("base-to-new-average", f"{method} harmonic mean"): "less: the average of the data sets' harmonic means"
        for method in MEANS_OF_H
    },
    ("lamm-figure3", "lamm minus coop, 16 shots"): "Table 3 gives 81.13 - 78.53 = 2.60; 2.57 repeats the 8-shot number",
    ("lamm-figure3", "coop+lamm minus coop, 16 shots"): "Table 3 gives 81.71 - 78.53 = 3.18",
    ("lamm-figure3", "lamm minus coop+lamm, 16 shots"): "Table 3 gives 81.13 - 81.71 = -0.58",
}


def recomputed() -> list[Recomputed]:
    """Return every printed number that other printed numbers determine."""
    return [*_lamm_table1(), *_lamm_table2(), *_lamm_figure3(), *_base_to_new(), *_cross_dataset()]


def _index(name: str, *fields: str) -> dict[tuple[str, ...], float]:
    key: Callable[[PublishedNumber], tuple[str, ...]] = lambda row: tuple(getattr(row, one) for one in fields)  # noqa: E731
    return {key(row): row.value for row in published.numbers(name)}


def _first(keys: Iterable[tuple[str, ...]]) -> list[str]:
    return list(dict.fromkeys(key[0] for key in keys))


def _lamm_table1() -> Iterator[Recomputed]:
    table = _index("lamm-table1", "method", "dataset")
    for method in _first(table):
        mean = fmean(table[method, name] for name in _TABLE1_PARTS)
        yield Recomputed("lamm-table1", f"{method} average", table[method, "average_with_source"], mean)


def _lamm_table2() -> Iterator[Recomputed]:
    table = _index("lamm-table2", "method", "dataset", "metric")
    datasets = [name for name in dict.fromkeys(key[1] for key in table) if name != "average"]
    for method in _first(table):
        for metric in ("set1_after", "set2"):
            mean = fmean(table[method, name, metric] for name in datasets)
            yield Recomputed("lamm-table2", f"{method} {metric} average", table[method, "average", metric], mean)
        change = table[method, "average", "set1_after"] - table[method, "average", "set1_before"]
        yield Recomputed("lamm-table2", f"{method} degradation", table[method, "average", "degradation"], change)


def _lamm_figure3() -> Iterator[Recomputed]:
    table = _index("lamm-table3", "method", "options", "shots")
    for row in published.numbers("lamm-figure3"):
        first, second = (row.method, row.options, row.shots), (row.minus, row.minus_options, row.shots)
        what = f"{row.method} minus {row.minus}, {row.shots} shots"
        yield Recomputed("lamm-figure3", what, row.value, table[first] - table[second])


def _base_to_new() -> Iterator[Recomputed]:
    each = _index("maple-base-to-new", "method", "dataset", "metric")
    averages = _index("base-to-new-average", "method", "options", "metric")
    options = {row.method: row.options for row in published.numbers("maple-base-to-new")}
    datasets = list(dict.fromkeys(key[1] for key in each))
    for method in _first(each):
        for name in datasets:
            mean = metrics.harmonic_mean(each[method, name, "base"], each[method, name, "new"])
            yield Recomputed(
                "maple-base-to-new", f"{method} {name} harmonic mean", each[method, name, "harmonic_mean"], mean
            )
        for metric in ("base", "new"):
            mean = fmean(each[method, name, metric] for name in datasets)
            yield Recomputed(
                "maple-siblings", f"{method} {metric} average", averages[method, options[method], metric], mean
            )
    runs = list(dict.fromkeys(key[:2] for key in averages))
    for method, chosen in runs:
        mean = metrics.harmonic_mean(averages[method, chosen, "base"], averages[method, chosen, "new"])
        shown = chosen if [name for name, _ in runs].count(method) > 1 else ""  # options tell two runs apart
        what = f"{method} {shown} harmonic mean".replace("  ", " ")
        yield Recomputed("base-to-new-average", what, averages[method, chosen, "harmonic_mean"], mean)


def _cross_dataset() -> Iterator[Recomputed]:
    table = _index("cross-dataset", "method", "dataset")
    targets = [name for name in dict.fromkeys(key[1] for key in table) if name not in ("imagenet", "average")]
    for method in _first(table):
        mean = fmean(table[method, name] for name in targets)
        yield Recomputed("cross-dataset", f"{method} average", table[method, "average"], mean)


def test_every_printed_average_harmonic_mean_and_degradation_is_worked_out_again() -> None:
    rows = recomputed()
    counts = {name: sum(row.table == name for row in rows) for name in NAMES}
    assert {name: count for name, count in counts.items() if count} == {
        "lamm-table1": 5,
        "lamm-table2": 12,
        "lamm-figure3": 20,
        "maple-base-to-new": 44,
        "maple-siblings": 8,
        "base-to-new-average": 21,
        "cross-dataset": 3,
    }


def test_the_list_of_disagreements_is_what_the_numbers_say() -> None:
    found = {(row.table, row.what) for row in recomputed() if not row.agrees}
    assert found == set(DISAGREEMENTS)


def test_all_but_figure_3_and_means_of_h_could_be_rounding() -> None:
    beyond = {row.what for row in recomputed() if not row.within_rounding}
    means = {f"{method} harmonic mean" for method in MEANS_OF_H}
    assert beyond == {"lamm minus coop, 16 shots", "lamm minus coop+lamm, 16 shots"} | means
    assert all(row.printed < row.parts for row in recomputed() if row.what in means)


def test_means_of_harmonic_means_are_the_known_ones() -> None:
    rows = published.numbers("maple-base-to-new")
    means = {
        method: fmean(row.value for row in rows if row.method == method and row.metric == "harmonic_mean")
        for method in ("zero_shot", "coop", "cocoop", "maple")
    }
    assert {name: round(value, 2) for name, value in means.items()} == {
        "zero_shot": 71.59,
        "coop": 70.83,
        "cocoop": 75.44,
        "maple": 78.27,
    }


def test_tables_that_repeat_each_other_agree() -> None:
    table3 = {(r.method, r.options, r.shots): r.value for r in published.numbers("lamm-table3")}
    table4 = {r.options: r.value for r in published.numbers("lamm-table4")}
    table5 = {(r.options, r.shots): r.value for r in published.numbers("lamm-table5")}
    off = "lambda_wc: 0, lambda_cos: 0, lambda_kd: 0"
    assert table4[off] == table3["lamm", off, "16"]
    assert table4["lambda_wc: 1"] == table3["lamm", "lambda_wc: 1", "16"]
    for shots in ("1", "4", "8", "16"):
        assert table5["lambda_wc: 1", shots] == table3["lamm", "lambda_wc: 1", shots]
    base = {(r.method, r.dataset, r.metric): r.value for r in published.numbers("maple-base-to-new")}
    for row in published.numbers("lamm-table2"):
        if row.method == "zero_shot" and row.dataset != "average":
            assert row.value == base["zero_shot", row.dataset, {"set1_after": "base", "set2": "new"}[row.metric]]


def test_copied_numbers_are_those_of_their_source() -> None:
    domains = {(r.method, r.dataset): r.value for r in published.numbers("domain-generalization")}
    copied = [r for r in published.numbers("lamm-table1") if r.note.startswith("copied from") or "; copied" in r.note]
    assert {row.method for row in copied} == {"zero_shot", "coop", "cocoop", "maple"}
    parts = [row for row in copied if row.dataset != "average_with_source"]
    assert {row.value: domains[row.method, row.dataset] for row in parts if row.metric == "accuracy"} == {
        row.value: 70.72 if row.value == 70.02 else row.value for row in parts if row.metric == "accuracy"
    }
    averages = {(r.method, r.metric): r.value for r in published.numbers("maple-siblings")}
    before = [r for r in published.numbers("lamm-table2") if "copied" in r.note and r.metric == "set1_before"]
    assert {row.method: row.value for row in before} == {
        method: averages[method, "base"] for method in ("zero_shot", "coop", "maple")
    }


def test_numbers_with_a_wider_rounding_are_means_of_three_rounded_to_a_tenth() -> None:
    rows = [r for name in ("lamm-table1", "lamm-table2") for r in published.numbers(name) if r.rounding == 0.05]
    single = [row for row in rows if not row.dataset.startswith("average") and row.metric != "degradation"]
    assert len(single) == 3 + 6 * 11
    exceptions = [row.value for row in single if round(100 * row.value) % 10 not in (0, 3, 7)]
    assert exceptions == [48.11, 83.95]
    for row in single:
        assert (str(row.value) in row.note) == (row.value in exceptions)
    assert {row.rounding for row in published.numbers("maple-base-to-new")} == {0.005}


@pytest.mark.parametrize("name", NAMES)
def test_each_row_says_where_it_comes_from(name: str) -> None:
    rows = published.numbers(name)
    assert rows
    for row in rows:
        assert row.citation
        assert row.source
        assert row.protocol
        assert row.standing in published.STANDINGS
        weights = ("ViT-B-16", "laion400m_e32") if name == "setting-b" else ("ViT-B-16-quickgelu", "openai")
        assert (row.backbone, row.pretrained) == weights
        assert row.precision in ("pure_fp16", "")
        assert -20 < row.value < 100
        for method, text in ((row.method, row.options), (row.minus, row.minus_options)):
            known = defaults(method)
            assert not known or set(parse_options(text)) <= set(known)
    # Two sources may print the same method on the same data: both stand.
    keys = [(r.source, r.method, r.minus, r.options, r.dataset, r.metric, r.shots, r.setting) for r in rows]
    assert len(set(keys)) == len(keys)
    assert not any("align" in row.method for row in rows)


def test_one_table_as_a_frame() -> None:
    frame = published.published("lamm-table2")
    lamm = frame[(frame["method"] == "lamm") & (frame["dataset"] == "average")].set_index("metric")["value"]
    assert lamm.to_dict() == {"set1_before": 84.14, "set1_after": 84.14, "set2": 87.03, "degradation": 0.0}
    assert frame["printed"].iloc[0] == "72.43"


def test_an_unknown_table_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="lamm-table2"):
        published.published("lamm-tabel2")


def test_listing_the_tables_loads_no_pandas() -> None:
    code = "import sys; from lamm_cl.reports.published import names; print(len(names()), 'pandas' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "16 False\n"
    )


def test_numbers_are_those_of_the_reference_copy(shared: Path) -> None:
    ours: dict[str, list[float]] = {}
    for file in ("lamm_table1", "lamm_table2", "lamm_table3", "lamm_table5", "lamm_figure3"):
        ours[file] = sorted(row.value for row in published.numbers(file.replace("_", "-")))
    theirs = {
        path.stem: list(csv.DictReader(path.read_text().splitlines()))
        for path in (shared / "published").glob("lamm_*.csv")
    }
    for file, values in ours.items():
        (rows,) = [rows for name, rows in theirs.items() if name.startswith(file)]
        columns = ("random", "words") if file == "lamm_table5" else ("value",)
        assert values == sorted(float(row[name]) for row in rows for name in columns)


def test_class_incremental_numbers_are_those_of_the_reference_copy(shared: Path) -> None:
    theirs = list(csv.DictReader((shared / "published" / "class_incremental.csv").read_text().splitlines()))
    for name, setting in (("setting-a", "A"), ("setting-b", "B")):
        rows = published.numbers(name)
        ours = sorted((r.method, r.metric, r.value) for r in rows)
        assert ours == sorted(
            (r["method"].split(" ")[0], r["metric"], float(r["value"])) for r in theirs if r["setting"] == setting
        )
        orders = {row.dataset: parse_options(row.protocol_options)["order"] for row in rows}
        for dataset, order in orders.items():
            files = {"cifar100": "cifar100", "cub200": "cub200", "imagenet_r200": "imagenet_R"}
            if "digest" in order:
                path = shared / "data" / "cil" / "orders" / f"{files[dataset]}_order.yaml"
                assert order["digest"] == order_digest(read_order(path))
        assert {row.label_space for row in rows} == {"seen"}


def test_multi_domain_numbers_are_those_of_the_reference_copy(shared: Path) -> None:
    theirs = list(csv.DictReader((shared / "published" / "multi_domain_2026.csv").read_text().splitlines()))
    for name in ("mtil", "odcl-cil", "x-tail"):
        ours = {(r.metric, r.value, r.shots) for r in published.numbers(name)}
        for row in theirs:
            if row["setting"].startswith(name):
                shots = "".join(re.findall(r"(\d+)-shot", row["setting"])) or "full"
                assert {(one, float(row[one]), shots) for one in ("transfer", "average", "last")} <= ours


def test_both_values_stand_where_two_sources_differ() -> None:
    rows = published.numbers("setting-b")
    average = [
        (row.source, row.standing, row.printed)
        for row in rows
        if (row.method, row.dataset, row.setting) == ("proof", "cub200", "B0 Inc20")
        and row.metric.startswith("average")
    ]
    assert average == [("Vis", "reprint", "82.31"), ("PROOF's logs", "primary", "84.87")]


def test_mtil_of_fine_tuning_is_what_its_published_matrix_gives(shared: Path) -> None:
    matrix = json.loads((shared / "oracle" / "mtil_matrices.json").read_text())["cases"]["t3_1.npy"]["matrix"]
    printed = {
        r.metric: r.value for r in published.numbers("mtil") if (r.method, r.setting) == ("continual-ft", "order 1")
    }
    assert round(metrics.transfer(matrix), 1) == printed["transfer"]
    assert round(metrics.average(matrix), 1) == printed["average"]
    assert round(metrics.last(matrix), 1) == printed["last"]


def test_the_readme_names_every_table_and_every_disagreement() -> None:
    text = Path(published.__file__).parents[1].joinpath("README.md").read_text()
    for name in NAMES:
        assert f"`{name}`" in text or name.startswith("lamm-table")
    rows = recomputed()
    assert f"{len(rows)} were checked" in text
    for row in rows:
        if not row.agrees:
            assert f"| {row.printed:.2f} | {row.parts:.4f}".rstrip("0") in text
