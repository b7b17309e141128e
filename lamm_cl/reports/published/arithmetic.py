"""Every printed average, harmonic mean and difference, worked out again from the printed parts."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from statistics import fmean

from lamm_cl.reports.published import PublishedNumber, numbers

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


# (table, what): why. Everything else agrees to the printed digit; a test holds this list to what is true.
DISAGREEMENTS: dict[tuple[str, str], str] = {
    ("lamm-table2", "coop set2 average"): "85.1864 is printed as 85.18: cut off, not rounded",
    ("base-to-new-average", "tcp harmonic mean"): "last digit: the averages were rounded before or after",
    ("base-to-new-average", "coprompt harmonic mean"): "last digit: the averages were rounded before or after",
    ("lamm-figure3", "lamm minus coop, 16 shots"): "Table 3 gives 81.13 - 78.53 = 2.60; 2.57 repeats the 8-shot number",
    ("lamm-figure3", "coop+lamm minus coop, 16 shots"): "Table 3 gives 81.71 - 78.53 = 3.18",
    ("lamm-figure3", "lamm minus coop+lamm, 16 shots"): "Table 3 gives 81.13 - 81.71 = -0.58",
}

# Where two places of the literature print different numbers for the same thing, or one place prints something twice.
CONFLICTS: tuple[str, ...] = (
    "LAMM Table 1 prints 70.02 for MaPLe on ImageNet and averages with it; MaPLe's own paper prints 70.72.",
    "LAMM Table 4 prints the ticks CE, WC, KD twice, for 81.13 and for 80.86; 81.13 is the full loss elsewhere.",
    "LAMM Table 5 prints 62.71 for random initialisation at 1 shot and again at 2 shots.",
    "LAMM Figure 3 shows MaPLe at 2 shots at about 70.4 (the mean of its eleven panels is about 70.3); Table 3 prints "
    "69.22, with which MaPLe+LAMM's difference of 1.79 is worked out.",
    "LAMM Table 1 prints 48.11 for LAMM on ImageNet-Sketch, and Table 2 83.95 for MaPLe's Set2 of SUN397: neither is a "
    "mean of three accuracies rounded to 0.1, as all other numbers that LAMM measured there are.",
    "LAMM Table 2 subtracts CoOp's 82.69 of 200 epochs, copied from MaPLe, from its own 69.74 of 50 epochs.",
    "LAMM's discussion of Figure 3 calls its first differences those over the best prompt method; they are those "
    "over CoOp: at 1 and 4 to 16 shots Table 3's MaPLe is better than its CoOp.",
)


def harmonic_mean(first: float, second: float) -> float:
    """Return 2ab / (a + b).

    >>> harmonic_mean(50.0, 100.0)
    66.66666666666667
    """
    return 2 * first * second / (first + second)


def recomputed() -> list[Recomputed]:
    """Return every printed number that other printed numbers determine."""
    return [*_lamm_table1(), *_lamm_table2(), *_lamm_figure3(), *_base_to_new(), *_cross_dataset()]


def _index(name: str, *fields: str) -> dict[tuple[str, ...], float]:
    key: Callable[[PublishedNumber], tuple[str, ...]] = lambda row: tuple(getattr(row, one) for one in fields)  # noqa: E731
    return {key(row): row.value for row in numbers(name)}


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
    for row in numbers("lamm-figure3"):
        first, second = (row.method, row.options, row.shots), (row.minus, row.minus_options, row.shots)
        what = f"{row.method} minus {row.minus}, {row.shots} shots"
        yield Recomputed("lamm-figure3", what, row.value, table[first] - table[second])


def _base_to_new() -> Iterator[Recomputed]:
    each = _index("maple-base-to-new", "method", "dataset", "metric")
    averages = _index("base-to-new-average", "method", "options", "metric")
    options = {row.method: row.options for row in numbers("maple-base-to-new")}
    datasets = list(dict.fromkeys(key[1] for key in each))
    for method in _first(each):
        for name in datasets:
            mean = harmonic_mean(each[method, name, "base"], each[method, name, "new"])
            yield Recomputed(
                "maple-base-to-new", f"{method} {name} harmonic mean", each[method, name, "harmonic_mean"], mean
            )
        for metric in ("base", "new"):
            mean = fmean(each[method, name, metric] for name in datasets)
            yield Recomputed(
                "maple-siblings", f"{method} {metric} average", averages[method, options[method], metric], mean
            )
    for method, chosen in dict.fromkeys(key[:2] for key in averages):
        mean = harmonic_mean(averages[method, chosen, "base"], averages[method, chosen, "new"])
        what = f"{method} {chosen} harmonic mean".replace("  ", " ")
        yield Recomputed("base-to-new-average", what, averages[method, chosen, "harmonic_mean"], mean)


def _cross_dataset() -> Iterator[Recomputed]:
    table = _index("cross-dataset", "method", "dataset")
    targets = [name for name in dict.fromkeys(key[1] for key in table) if name not in ("imagenet", "average")]
    for method in _first(table):
        mean = fmean(table[method, name] for name in targets)
        yield Recomputed("cross-dataset", f"{method} average", table[method, "average"], mean)
