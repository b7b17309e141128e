"""Measured beside published: what is compared, what is refused, and why."""

import statistics

import pytest

from lamm_cl.data.catalogue import CATALOGUE
from lamm_cl.errors import UsageError
from lamm_cl.reports import published
from lamm_cl.reports.compare import compare, compare_table
from lamm_cl.reports.results import read_results
from lamm_cl.reports.tables import render_text

REAL = {"backbone": "ViT-B-16-quickgelu", "pretrained": "openai"}
ELEVEN = list(CATALOGUE)[:11]


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
    assert one.measured.mean == pytest.approx(83.3)
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


@pytest.mark.parametrize(
    ("settings", "published", "rounding"),
    [
        ({}, 83.30, 0.05),  # LAMM averaged accuracies rounded to 0.1
        ({"method": "zero_shot", "dialect": None}, 53.24, 0.005),  # copied: two decimals were kept
    ],
)
def test_rounding_of_the_published_number_is_allowed_for(beside, settings, published, rounding):
    for off, verdict in ((0.99, "inside the interval"), (1.01, "outside the interval")):
        value = (published - off * rounding) / 100
        assert beside(set1=(value, value, value), **settings)["set1_after"].verdict == verdict


def test_the_population_deviation_stands_beside_the_sample_deviation(beside, run, steps, write):
    one = beside()["set1_after"]
    assert one.std == pytest.approx(0.3)
    assert one.population_std == pytest.approx(statistics.pstdev([83.0, 83.3, 83.6]))
    runs = [run(steps((a, a, 0.7)), seed=s, dataset="dtd", **REAL) for s, a in ((1, 0.83), (2, 0.833), (3, 0.836))]
    table = compare_table(read_results(write(runs)), "lamm-table2")
    assert next(cell.value for cell in table.column("population_std")) == pytest.approx(0.3 * (2 / 3) ** 0.5)
    assert any("sample deviation (n - 1); papers print the population deviation (n)" in note for note in table.notes)


def test_one_seed_has_a_difference_and_no_interval(beside):
    one = beside(seeds=(1,))["set1_after"]
    assert one.difference == pytest.approx(-0.3)
    assert (one.low, one.outside, one.verdict) == (None, None, "one seed: no interval")
    assert one.population_std is None


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"backbone": "tiny", "pretrained": None}, "other backbone: tiny, published with ViT-B-16-quickgelu"),
        ({"backbone": "RN50"}, "other backbone: RN50"),
        ({"pretrained": "laion2b_s34b_b88k"}, "other backbone|other weights: laion2b_s34b_b88k"),
        ({"dialect": "paper"}, "other dialect: paper, published with official"),
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
        ({"data": {"split": "other"}}, "another split than the papers', though of its name and sizes"),
        ({"data": {"split": "official", "synthetic": True}}, "synthetic data"),
        ({"config": {"method": "lamm", "options": {"epochs": 1}}}, "other option epochs: 1, published with 50"),
        ({"config": {"method": "lamm", "options": {"label_space": "seen"}}}, "other option label_space: seen"),
        (
            {"config": {"method": "lamm", "options": {"plugins": {"EWCPlugin": {}}}}},
            "other option plugins: {EWCPlugin",
        ),
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
    verdict = beside(backbone="RN50", shots=4, dialect="paper")["set1_after"].verdict
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


WORDS = {"ctx_init": "a photo of a"}


def options_of(run, write, method, name, options, shots=16, **settings):
    """Return the comparison of the average of a method that was run with these options."""
    runs = [
        (one | {"shots": shots}, values, costs)
        for one, values, costs in few_shot(run, method, 0.8, dialect=settings.pop("dialect", None))
    ]
    home = write(runs, lambda s: {"config": {"method": method, "options": options}})
    return next(one for one in compare(read_results(home), name) if one.measured.dataset == "average")


@pytest.mark.parametrize(
    ("method", "options", "reason"),
    [
        ("coop", {"n_ctx": 0, "ctx_init": "a photo of a", "epochs": 50}, None),
        ("coop", {"n_ctx": 4, "ctx_init": "a_photo_of_a", "epochs": 50}, None),
        ("coop", {"n_ctx": 0, "ctx_init": ""}, "other option ctx_init: none, published with a photo of a"),
        ("coop", {"n_ctx": 0, "ctx_init": ""}, "other option n_ctx: 16, published with 4"),
        ("coop", {**WORDS, "epochs": 200}, "other option epochs: 200, published with 50"),
        ("maple", {"prompt_depth": None}, None),
        ("maple", {"prompt_depth": 9}, None),
        ("maple", {"prompt_depth": 3}, "other option prompt_depth: 3, published with 9"),
    ],
)
def test_options_are_judged_by_what_they_mean(run, write, method, options, reason):
    one = options_of(run, write, method, "lamm-table3", options)
    assert (one.difference is None) == (reason is not None)
    assert reason is None or reason in one.verdict


@pytest.mark.parametrize(("shots", "fits"), [(1, True), (16, False)])
def test_at_one_shot_both_weights_of_l_wc_are_the_same(run, write, shots, fits):
    one = options_of(run, write, "lamm", "lamm-table3", {"lambda_wc": None}, shots, dialect="official")
    assert (one.difference is not None) == fits
    assert fits or one.verdict == "not compared: other option lambda_wc: 0.0625, published with 1"


def test_both_dialects_stand_beside_the_number_each_with_its_verdict(run, write):
    runs = few_shot(run, "lamm", 0.8) + few_shot(run, "lamm", 0.7, label="lamm_text", dialect="paper")
    weights = {"lamm": 1, "lamm_text": None}
    options = {
        label: {"dialect": one["dialect"], "lambda_wc": weights[label]} for one, *_ in runs for label in [one["method"]]
    }
    home = write(runs, lambda s: {"config": {"method": "lamm", "options": options[s["method"]]}})
    table = compare_table(read_results(home), "lamm-table3")
    rows = dict(zip((cell.text for cell in table.column("method")), table.column("published"), strict=True))
    assert rows["lamm"].value == rows["lamm_text"].value == 81.13
    verdicts = dict(zip((cell.text for cell in table.column("method")), table.column("verdict"), strict=True))
    assert verdicts["lamm"].text == "one seed: no interval"
    assert verdicts["lamm_text"].text.startswith("not compared: other dialect: paper, published with official; ")
    assert any(note.startswith("lamm: run as the released code") for note in table.notes)
    assert any(note.startswith("lamm: the paper's text (dialect: paper) has 1 / shots") for note in table.notes)


def base_to_new(run, write, epochs):
    """Return what a CoOp with epochs by data set is compared with; 90 of base and 30, 50, 70 of new over the seeds."""
    runs = [
        run({(1, "base", "own"): 0.9, (1, "new", "own"): new}, protocol="base_to_new", dataset=name, method="coop",
            dialect=None, seed=seed, **REAL)
        for name in ELEVEN
        for seed, new in ((1, 0.3), (2, 0.5), (3, 0.7))
    ]  # fmt: skip
    home = write(runs, lambda s: {"config": {"method": "coop", "options": WORDS | {"epochs": epochs(s["dataset"])}}})
    found = compare(read_results(home), "base-to-new-average")
    return {one.measured.quantity: one for one in found if one.measured.dataset == "average"}


def test_epochs_may_differ_by_data_set(run, write):
    right = base_to_new(run, write, lambda name: 50 if name == "imagenet" else 200)
    assert right["base"].difference == pytest.approx(90 - 82.69)
    everywhere = base_to_new(run, write, lambda name: 200)
    assert everywhere["base"].verdict == "not compared: other option epochs: 200, published with 50"
    assert base_to_new(run, write, lambda name: 50)["base"].verdict.endswith("epochs: 50, published with 200")


def test_h_of_an_average_is_that_of_the_averages(run, write):
    one = base_to_new(run, write, lambda name: 50 if name == "imagenet" else 200)["harmonic_mean"]
    assert one.measured.mean == pytest.approx(2 * 90 * 50 / 140)
    assert one.measured.values == pytest.approx([2 * 90 * new / (90 + new) for new in (30, 50, 70)])


def test_h_of_several_data_sets_is_no_mean_of_their_h(run, write):
    runs = [
        run({(1, "base", "own"): base, (1, "new", "own"): 0.5}, protocol="base_to_new", dataset=name, **REAL)
        for name, base in zip(ELEVEN, [0.9] * 10 + [0.1], strict=True)
    ]
    found = compare(read_results(write(runs)), "maple-siblings")
    h = {one.measured.dataset: one.measured.mean for one in found if one.measured.quantity == "harmonic_mean"}
    base = 910 / 11
    assert h["average"] == pytest.approx(2 * base * 50 / (base + 50))


def test_both_sides_of_a_difference_are_judged(run, write):
    def verdict(lamm, coop):
        runs = few_shot(run, "lamm", 0.8) + few_shot(run, "coop", 0.7, dialect=None)
        options = {"lamm": lamm, "coop": coop}
        home = write(runs, lambda s: {"config": {"method": s["method"], "options": options[s["method"]]}})
        return next(one for one in compare(read_results(home), "lamm-figure3") if one.printed).verdict

    assert verdict({"lambda_wc": 1}, WORDS) == "one seed: no interval"
    assert "ctx_init: none, published with a photo of a" in verdict({"lambda_wc": 1}, {"ctx_init": ""})
    assert "lambda_wc: 0.0625, published with 1" in verdict({"lambda_wc": None}, WORDS)


def test_the_dialect_of_the_subtracted_method_is_judged(run, write):
    runs = few_shot(run, "lamm", 0.8) + few_shot(run, "coop+lamm", 0.7, dialect="paper")
    home = write(runs, lambda s: {"config": {"method": s["method"], "options": {"dialect": s["dialect"]}}})
    (one,) = [one for one in compare(read_results(home), "lamm-figure3") if one.printed]
    assert one.verdict == "not compared: other dialect: paper, published with official"


def test_precision_is_told_and_not_judged(run, steps, write):
    home = write(
        [run(steps((0.8, 0.8, 0.7)), dataset="dtd", **REAL)],
        lambda s: {"config": {"method": "lamm", "options": {}, "backbone": {"precision": "fp32"}}},
    )
    table = compare_table(read_results(home), "lamm-table2")
    assert "Precision is not judged: published in pure_fp16, measured in fp32." in table.notes


def test_a_copied_number_is_marked_and_names_the_config_that_measures_it(run, steps, write):
    runs = [run(steps((0.8, 0.8, 0.7)), dataset=name, method="coop", dialect=None, **REAL) for name in ELEVEN]
    home = write(runs, lambda s: {"config": {"method": "coop", "options": WORDS | {"epochs": 50}}})
    results = read_results(home)
    average = {
        one.measured.quantity: one for one in compare(results, "lamm-table2") if one.measured.dataset == "average"
    }
    assert average["set1_after"].difference == pytest.approx(80 - 69.74)
    assert average["set1_before"].verdict == "not compared: other option epochs: 50, published with 200"
    assert average["degradation"].verdict.endswith("epochs: 50, published with 200 before and 50 after")
    notes = compare_table(results, "lamm-table2").notes
    assert any(
        note.startswith("coop, average, Set1 before: copied from MaPLe's Table 3") and "maple/base_to_new.yaml" in note
        for note in notes
    )


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


STREAM = {"base": 10, "increment": 10, "order": {"numpy": 1993}}


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "one seed: no interval"),
        ({"protocol": {"steps": 10, "order": "shuffled", "order_seed": 1993}}, "one seed: no interval"),
        (
            {"protocol": {**STREAM, "order": {"numpy": 1}}},
            "other class order: {numpy: 1}, published with {numpy: 1993}",
        ),
        ({"protocol": {**STREAM, "order": "alphabetical"}}, "other class order: alphabetical, published with"),
        ({"protocol": {**STREAM, "order": [*range(100)]}}, "other class order: 0, 1, 2 and 97 more, published with"),
        ({"protocol": {"base": 20, "increment": 20, "order": {"numpy": 1993}}}, "other steps: 20, 20, 20 and 2 more"),
        ({"protocol": None}, "steps and class order not known: its runs left no record of them"),
        ({"options": {"plugins": {"ReplayPlugin": {}}}}, "other option plugins"),
        ({"options": {"fixed_memory": True}}, "other option fixed_memory: yes, published with no"),
        ({"pretrained": "openai"}, "other weights: openai, published with laion400m_e32"),
        ({"backbone": {}}, "other resize_mode: what the weights have, published with squash"),
        ({"data": {"split": "setting-a"}}, "split of setting-a, published with that of setting-b"),
        ({"data": {"split": "setting-b"}}, "one seed: no interval"),
    ],
)
def test_a_class_incremental_setting_is_its_steps_order_weights_and_memory(run, write, changed, verdict):
    values = {(i, f"set{j}", "seen"): 0.8 for i in range(1, 11) for j in range(1, 11)}
    settings = {"backbone": "ViT-B-16", "pretrained": "laion400m_e32", "dataset": "cifar100", "shots": "full"}
    settings |= {"method": "proof", "dialect": None, "pretrained": changed.get("pretrained", "laion400m_e32")}
    options = {"fixed_memory": False, "epochs": 5, "text": {"ensemble": "cifar18", "descriptions": None}}
    details = {
        "config": {
            "method": "proof",
            "options": options | changed.get("options", {}),
            "protocol": changed.get("protocol", {"name": "class_incremental", **STREAM}),
            "backbone": changed.get("backbone", {"resize_mode": "squash"}),
        },
        "stream": {"classes": 100},
        "data": changed.get("data", {}),
    }
    home = write([run(values, **settings)], lambda _: details)
    found = {one.measured.quantity: one for one in compare(read_results(home), "setting-b")}
    assert set(found) == {"average_incremental_accuracy", "last_incremental_accuracy"}
    one = found["average_incremental_accuracy"]
    assert verdict in one.verdict
    assert (one.printed.source, one.printed.standing) == ("PROOF's logs", "primary")
    assert (one.difference is None) == ("not compared" in one.verdict)


def test_where_two_sources_print_different_numbers_each_gets_a_line(run, write):
    values = {(i, f"set{j}", "seen"): 0.8 for i in range(1, 11) for j in range(1, 11)}
    settings = {"backbone": "ViT-B-16", "pretrained": "laion400m_e32", "dataset": "ucf101_100", "shots": "full"}
    details = {
        "config": {
            "method": "proof",
            "options": {"text": {"ensemble": "ucf48", "descriptions": None}},
            "protocol": {"name": "class_incremental", **STREAM},
        },
        "stream": {"classes": 100},
    }
    home = write([run(values, method="proof", dialect=None, **settings)], lambda _: details)
    table = compare_table(read_results(home), "setting-b")
    lines = [
        (number.text, cell.value, source.text)
        for number, cell, source in zip(
            *(table.column(key) for key in ("quantity", "published", "standing")), strict=True
        )
    ]
    assert lines == [
        ("Incremental average", 94.34, "PROOF's logs (primary)"),
        ("Incremental average", 94.58, "Vis (reprint)"),
        ("Incremental last", 90.60, "PROOF's logs (primary)"),
        ("Incremental last", 91.10, "Vis (reprint)"),
    ]


def test_mtil_is_known_by_its_order(run, write):
    from lamm_cl.streams.orders import DOMAIN_ORDERS

    for name, setting in (("mtil-1", "order 1"), ("mtil-2", "order 2")):
        order = DOMAIN_ORDERS[name]
        values = {(i, one, "own"): 0.5 for i in range(1, 12) for one in order}
        runs = [run(values, protocol="multi_domain", dataset="+".join(sorted(order)), method="zero_shot", **REAL)]
        home = write([(settings | {"shots": "full"}, accuracies, costs) for settings, accuracies, costs in runs])
        rows = {(one.measured.setting, one.measured.quantity): one for one in compare(read_results(home), "mtil")}
        assert rows[setting, "transfer"].difference == pytest.approx(50 - {"mtil-1": 69.4, "mtil-2": 65.4}[name])


def test_x_tail_is_among_all_classes_and_odcl_cil_among_those_seen(run, write):
    from lamm_cl.streams.orders import DOMAIN_ORDERS

    def found(order, table, space, **settings):
        names = DOMAIN_ORDERS[order]
        values = {(i, one, space): 0.5 for i in range(1, len(names) + 1) for one in names}
        settings = {"protocol": "multi_domain", "dataset": "+".join(names), "dialect": None, **REAL, **settings}
        results = read_results(write([run(values, **settings)]))
        return {one.measured.quantity: one for one in compare(results, table) if one.measured.setting}

    assert found("x-tail", "x-tail", "all", method="rail")["last"].difference == pytest.approx(50 - 79.1)
    assert "other setting: order 2" in found("x-tail-2", "x-tail", "all", method="rail", seed=2)["last"].verdict
    assert "other shots: full" in found("x-tail", "x-tail", "all", method="rail", shots="full")["last"].verdict
    seen = found("mtil-1", "odcl-cil", "seen", method="rail", shots="full", seed=3)
    assert set(seen) == {"last"}
    assert "method rail is not in the published table" in seen["last"].verdict
