"""Measured beside published: what is compared, what is refused, and why."""

import pytest

from lamm_cl.errors import UsageError
from lamm_cl.reports import published
from lamm_cl.reports.compare import compare, compare_table
from lamm_cl.reports.results import read_results
from lamm_cl.reports.tables import render_text

REAL = {"backbone": "ViT-B-16-quickgelu", "pretrained": "openai"}
ELEVEN = [
    "imagenet",
    "caltech101",
    "oxford_pets",
    "stanford_cars",
    "oxford_flowers",
    "food101",
    "fgvc_aircraft",
    "sun397",
    "dtd",
    "eurosat",
    "ucf101",
]


def printed(name, **where):
    (row,) = [row for row in published.numbers(name) if all(getattr(row, key) == value for key, value in where.items())]
    return row


@pytest.fixture
def beside(run, steps, write):
    """Three seeds of LAMM on DTD around given accuracies, with settings changed, beside Table 2."""

    def beside(set1=(0.83, 0.833, 0.836), details=None, seeds=(1, 2, 3), **settings):
        settings = {**REAL, "dataset": "dtd", **settings}
        runs = [run(steps((one, one, 0.7)), seed=seed, **settings) for seed, one in zip(seeds, set1, strict=False)]
        return {one.measured.quantity: one for one in compare(read_results(write(runs, details)), "lamm-table2")}

    return beside


def test_difference_and_interval(beside):
    one = beside()["set1_after"]
    assert one.printed == printed("lamm-table2", method="lamm", dataset="dtd", metric="set1_after")
    assert one.mean == pytest.approx(83.3)
    assert one.difference == pytest.approx(0.0)
    # Student's t for two degrees of freedom is 4.303; the deviation is 0.3.
    assert one.high - one.low == pytest.approx(2 * 4.3027 * 0.3 / 3**0.5, rel=1e-4)
    assert one.verdict == "inside the interval"


def test_what_lies_outside_is_marked(beside, run, steps, write):
    one = beside()["set2"]
    assert one.difference == pytest.approx(70 - 79.47)
    assert one.verdict == "outside the interval"
    runs = [run(steps((0.5, 0.5, 0.7)), seed=seed, dataset="dtd", **REAL) for seed in (1, 2, 3)]
    text = render_text(compare_table(read_results(write(runs)), "lamm-table2"))
    assert "-9.47*" in text


def test_rounding_of_the_published_number_is_allowed_for(beside):
    assert beside(set1=(0.83297, 0.83297, 0.83297))["set1_after"].verdict == "inside the interval"
    assert beside(set1=(0.8329, 0.8329, 0.8329))["set1_after"].verdict == "outside the interval"


def test_one_seed_has_a_difference_and_no_interval(beside):
    one = beside(seeds=(1,))["set1_after"]
    assert one.difference == pytest.approx(-0.3)
    assert (one.low, one.outside, one.verdict) == (None, None, "one seed: no interval")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"backbone": "tiny", "pretrained": None}, "other backbone: tiny, published with ViT-B-16-quickgelu"),
        ({"backbone": "RN50"}, "other backbone: RN50"),
        ({"pretrained": "laion2b_s34b_b88k"}, "other backbone|other weights: laion2b_s34b_b88k"),
        ({"dialect": "official"}, "other dialect: official, published with paper"),
        ({"shots": 4}, "other shots: 4, published with 16"),
        ({"dataset": "digits"}, "data set digits is not in the published table"),
        ({"method": "cocoop", "dialect": None}, "method cocoop is not in the published table"),
    ],
)
def test_what_is_not_comparable_is_refused_with_the_reason(beside, settings, reason):
    one = beside(**settings)["set1_after"]
    assert one.difference is None
    assert one.verdict.startswith("not compared: ")
    assert any(part in one.verdict for part in reason.split("|"))


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"data": {"split": "own"}}, "own split, not the official one"),
        ({"datasets": [{"name": "dtd", "split": "own"}]}, "own split, not the official one"),
        ({"data": {"split": "official", "synthetic": True}}, "synthetic data"),
        ({"config": {"method": "lamm", "options": {"epochs": 1}}}, "other option epochs: 1, published with 50"),
        ({"config": {"method": "lamm", "options": {"label_space": "seen"}}}, "other option label_space: seen"),
        (
            {"config": {"method": "lamm", "options": {"lambda_kd": 0.0}}},
            "other option lambda_kd: 0, published with 0.05",
        ),
    ],
)
def test_what_only_the_record_knows_is_refused_too(beside, details, reason):
    one = beside(details=lambda settings: details)["set1_after"]
    assert one.difference is None
    assert reason in one.verdict


def test_every_reason_is_given(beside):
    verdict = beside(backbone="RN50", shots=4, dialect="official")["set1_after"].verdict
    assert verdict.count(";") == 2


def test_openai_weights_are_the_same_model_under_both_of_its_names(beside):
    assert beside(backbone="ViT-B-16")["set1_after"].difference is not None


def test_an_average_over_other_data_sets_is_refused(run, steps, write):
    runs = [run(steps((0.8, 0.8, 0.7)), dataset=name, **REAL) for name in ELEVEN[:10]]
    found = {one.measured.dataset: one for one in compare(read_results(write(runs)), "lamm-table2")}
    assert "average over other data sets: without ucf101" in found["average"].verdict


def test_the_average_over_the_eleven_is_compared(run, steps, write):
    runs = [run(steps((0.8, 0.8, 0.7)), dataset=name, **REAL) for name in ELEVEN]
    rows = compare(read_results(write(runs)), "lamm-table2")
    average = {one.measured.quantity: one for one in rows if one.measured.dataset == "average"}
    assert average["set1_before"].difference == pytest.approx(80 - 84.14)
    assert average["degradation"].difference == pytest.approx(0.0)


def test_only_the_published_label_space_is_compared(run, steps, write):
    runs = [run(steps((0.8, 0.8, 0.7), (0.5, 0.5, 0.5)), dataset="dtd", **REAL)]
    rows = compare(read_results(write(runs)), "lamm-table2")
    assert {one.measured.label_space for one in rows} == {"own"}


def few_shot(run, method, accuracy, options=None, label=None, **settings):
    return [
        run({(1, name, "own"): accuracy}, protocol="few_shot", dataset=name, method=label or method, **REAL, **settings)
        for name in ELEVEN
    ]


def test_variants_are_told_apart_by_their_options(run, write):
    off = {"lambda_wc": 0, "lambda_cos": 0.0, "lambda_kd": 0.0}
    runs = few_shot(run, "lamm", 0.8) + few_shot(run, "lamm", 0.7, label="lamm-plain")
    home = write(runs, lambda s: {"config": {"method": "lamm", "options": off if s["method"] != "lamm" else {}}})
    rows = {one.measured.label: one for one in compare(read_results(home), "lamm-table3")}
    assert rows["lamm"].printed.value == 81.13
    assert rows["lamm-plain"].printed.value == 79.93
    assert rows["lamm-plain"].difference == pytest.approx(70 - 79.93)


def test_differences_of_figure_3_are_paired_by_seed(run, write):
    runs = []
    for seed, (lamm, coop) in enumerate(((0.8, 0.7), (0.7, 0.65)), 1):
        runs += few_shot(run, "lamm", lamm, seed=seed) + few_shot(run, "coop", coop, seed=seed, dialect=None)
    rows = [one for one in compare(read_results(write(runs)), "lamm-figure3") if one.printed]
    (one,) = rows
    assert one.measured.label == "lamm - coop"
    assert one.measured.values == pytest.approx((10, 5))
    assert one.difference == pytest.approx(7.5 - 2.57)


def test_domain_generalisation(run, write):
    values = {(1, name, "own"): 0.7 for name in ("imagenet", "imagenetv2", "imagenet_sketch")}
    title = "imagenet+imagenetv2+imagenet_sketch"
    runs = [run(values, protocol="domain_generalization", dataset=title, **REAL)]
    rows = {one.measured.quantity: one for one in compare(read_results(write(runs)), "lamm-table1")}
    assert rows["imagenetv2"].difference == pytest.approx(70 - 65.13)
    assert rows["average_with_source"].difference == pytest.approx(70 - 61.99)


def test_runs_without_a_record_are_compared_and_marked(run, steps, write, tmp_path):
    home = write([run(steps((0.8, 0.8, 0.7)), dataset="dtd", **REAL)])
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "runs.csv").write_bytes((home / "runs.csv").read_bytes())
    text = render_text(compare_table(read_results(tmp_path / "bare"), "lamm-table2"))
    assert "-3.30?" in text
    assert "? marks numbers whose runs left no record of their split" in text


def test_the_table_cites_and_counts(run, steps, write):
    home = write([run(steps((0.8, 0.8, 0.7)), dataset="dtd", **REAL)])
    table = compare_table(read_results(home), "lamm-table2")
    assert any("arXiv 2312.08212, Table 2" in note for note in table.notes)
    assert "102 of the 104 published numbers have no comparable measured one." in table.notes


def test_nothing_measured_with_the_protocol(tmp_path):
    table = compare_table(read_results(tmp_path), "mtil")
    assert any("Nothing was measured with the protocol multi_domain" in note for note in table.notes)


def test_an_unknown_name(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'lamm-table2'"):
        compare(read_results(tmp_path), "lamm-tabel2")


@pytest.mark.parametrize("name", [name for name, _, _ in published.names()])
def test_every_published_table_can_be_compared_with(name, tmp_path, two_methods, write):
    assert compare_table(read_results(write(two_methods)), name).columns


def test_mtil_is_known_by_its_order(run, write):
    from lamm_cl.streams.domains import DOMAIN_ORDERS

    for name, setting in (("mtil-1", "order 1"), ("mtil-2", "order 2")):
        order = DOMAIN_ORDERS[name]
        values = {(i, one, "own"): 0.5 for i in range(1, 12) for one in order}
        runs = [run(values, protocol="multi_domain", dataset="+".join(sorted(order)), method="zero_shot", **REAL)]
        home = write([(settings | {"shots": "full"}, accuracies, costs) for settings, accuracies, costs in runs])
        rows = {(one.measured.setting, one.measured.quantity): one for one in compare(read_results(home), "mtil")}
        assert rows[setting, "transfer"].difference == pytest.approx(50 - {"mtil-1": 69.4, "mtil-2": 65.4}[name])
