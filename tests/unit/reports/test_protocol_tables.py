"""Tables of the other protocols, against numbers worked out by hand."""

import numpy as np
import pytest

from lamm_cl.evaluation import metrics
from lamm_cl.reports.tables import (
    PROTOCOLS,
    render_text,
)
from lamm_cl.streams import protocols as streams


def harmonic(a, b):
    return 2 * a * b / (a + b)


def test_base_to_new_gives_both_harmonic_means(frame, run):
    runs = [
        run({(1, "base", "own"): base, (1, "new", "own"): new}, protocol="base_to_new", dataset=name)
        for name, base, new in (("dtd", 0.9, 0.3), ("eurosat", 0.5, 0.7))
    ]
    table = PROTOCOLS["base_to_new"].table(frame(runs))
    h = dict(zip((cell.text for cell in table.column("dataset")), table.column("harmonic_mean"), strict=True))
    assert h["dtd"].value == pytest.approx(harmonic(90, 30))
    assert h["average"].value == pytest.approx(harmonic(70, 50))
    assert h["mean of H"].value == pytest.approx((harmonic(90, 30) + harmonic(50, 70)) / 2)


def test_h_is_made_of_the_printed_means(frame, run):
    runs = [
        run({(1, "base", "own"): base, (1, "new", "own"): 0.5}, protocol="base_to_new", seed=seed)
        for seed, base in ((1, 0.9), (2, 0.1))
    ]
    cell = PROTOCOLS["base_to_new"].table(frame(runs)).column("harmonic_mean")[0]
    assert cell.value == pytest.approx(harmonic(50, 50))
    assert cell.std == pytest.approx(np.std([harmonic(90, 50), harmonic(10, 50)], ddof=1))


def test_base_and_new_of_zero(frame, run):
    values = {(1, "base", "own"): 0.0, (1, "new", "own"): 0.0}
    assert (
        PROTOCOLS["base_to_new"].table(frame([run(values, protocol="base_to_new")])).column("harmonic_mean")[0].value
        == 0.0
    )


def test_zero_shot_needs_no_training(frame, run):
    values = {(0, "base", "own"): 0.6, (0, "new", "own"): 0.7}
    runs = [run(values, protocol="base_to_new", method="zero_shot"), run(values, protocol="base_to_new", method="coop")]
    assert [cell.value for cell in PROTOCOLS["base_to_new"].table(frame(runs)).column("base")] == [
        pytest.approx(60),
        None,
    ]


def test_few_shot_has_shots_in_columns_and_an_average(frame, run):
    runs = [
        run({(1, name, "own"): accuracy}, protocol="few_shot", dataset=name, shots=shots)
        for name, shots, accuracy in (("dtd", 1, 0.4), ("dtd", 16, 0.6), ("eurosat", 1, 0.6), ("ucf101", 16, 0.8))
    ]
    table = PROTOCOLS["few_shot"].table(frame(runs))
    assert [column.key for column in table.columns] == ["dataset", "method", "shots1", "shots16"]
    rows = {row.cells[0].text: [cell.value for cell in row.cells[2:]] for row in table.rows}
    assert rows["dtd"] == pytest.approx([40, 60])
    assert rows["ucf101"] == [None, pytest.approx(80)]
    assert rows["average"] == pytest.approx([50, 70])


def test_the_transfer_tables_put_the_source_first(frame, run):
    values = {(1, name, "own"): value for name, value in (("imagenetv2", 0.6), ("imagenet_a", 0.4), ("imagenet", 0.7))}
    title = "imagenet+imagenetv2+imagenet_a"
    table = PROTOCOLS["domain_generalization"].table(
        frame([run(values, protocol="domain_generalization", dataset=title)])
    )
    keys = [column.key for column in table.columns]
    assert keys == ["method", "imagenet", "imagenetv2", "imagenet_a", "average", "average_with_source"]
    assert [cell.value for cell in table.rows[0].cells[-2:]] == pytest.approx([50, 170 / 3])
    cross = PROTOCOLS["cross_dataset"].table(frame([run(values, protocol="cross_dataset", dataset=title)]))
    assert cross.column("average")[0].value == pytest.approx(50)
    assert "imagenet," in cross.title


def test_an_average_over_targets_needs_them_all(frame, run):
    whole = {(1, name, "own"): 0.5 for name in ("imagenet", "dtd", "eurosat")}
    part = {(1, name, "own"): 0.5 for name in ("imagenet", "dtd")}
    title = "imagenet+dtd+eurosat"
    runs = [run(whole, protocol="cross_dataset", dataset=title)]
    runs += [run(part, protocol="cross_dataset", dataset=title, method="coop")]
    assert [cell.value for cell in PROTOCOLS["cross_dataset"].table(frame(runs)).column("average")] == [
        None,
        pytest.approx(50),
    ]


def test_multi_domain_is_the_metrics_of_the_matrix(frame, run):
    names = ["dtd", "caltech101", "aircraft"]  # not in the order of the alphabet
    a = np.random.default_rng(0).uniform(0.2, 0.9, (3, 3))
    values = {(i + 1, name, "own"): a[i, j] for i in range(3) for j, name in enumerate(names)}
    values |= {(0, name, "own"): 0.1 for name in names} | {(i, "total", "own"): 0.5 for i in range(4)}
    table = PROTOCOLS["multi_domain"].table(frame([run(values, protocol="multi_domain", dataset="+".join(names))]))
    for key in ("transfer", "average", "last", "transfer_over_pairs"):
        assert table.column(key)[0].value == pytest.approx(100 * getattr(metrics, key)(a))
    from_start = metrics.transfer_from_start(a, [0.1] * 3)
    assert table.column("transfer_from_start")[0].value == pytest.approx(100 * from_start)


def test_among_classes_seen_there_is_no_transfer(frame, run):
    values = {(i, name, "seen"): 0.5 * (i > j) for i in (1, 2) for j, name in enumerate(("dtd", "eurosat"))}
    (row,) = PROTOCOLS["multi_domain"].table(frame([run(values, protocol="multi_domain", dataset="dtd+eurosat")])).rows
    assert [cell.value for cell in row.cells[1:]] == [None, None, pytest.approx(50), None, None]


def test_two_orders_are_two_settings(frame, run):
    runs = []
    for order in (("dtd", "eurosat"), ("eurosat", "dtd")):
        values = {(i, name, "own"): 0.1 * i for i in (1, 2) for name in order}
        runs.append(run(values, protocol="multi_domain", dataset="+".join(order)))
    table = PROTOCOLS["multi_domain"].table(frame(runs))
    assert [cell.text for cell in table.column("setting")] == ["dtd > eurosat", "eurosat > dtd"]


def test_an_unfinished_stream_has_no_last(frame, run):
    values = {(1, name, "own"): 0.5 for name in ("dtd", "eurosat")}
    text = render_text(
        PROTOCOLS["multi_domain"].table(frame([run(values, protocol="multi_domain", dataset="dtd+eurosat")]))
    )
    assert text.splitlines()[5].split() == ["lamm", "50.00", "-", "-", "50.00", "-"]


def test_full_training_sets_stand_behind_the_shots(frame, run):
    runs = [run({(1, "dtd", "own"): 0.5}, protocol="few_shot", dataset="dtd", shots=k) for k in ("full", 16, 2)]
    table = PROTOCOLS["few_shot"].table(frame(runs))
    assert [column.title for column in table.columns if column.numeric] == ["2", "16", "full"]
    base = {(1, "base", "own"): 0.9, (1, "new", "own"): 0.3}
    assert (
        "full training sets"
        in PROTOCOLS["base_to_new"].table(frame([run(base, protocol="base_to_new", shots="full")])).title
    )


def test_shots_that_were_read_as_floats_are_still_shots(frame, run):
    rows = frame([run({(1, "dtd", "own"): 0.5}, protocol="few_shot", dataset="dtd", shots=16.0)])
    assert PROTOCOLS["few_shot"].table(rows).columns[-1].key == "shots16"


def test_every_protocol_has_a_table_and_a_headline():
    assert set(PROTOCOLS) == set(streams.PROTOCOLS)
    for name, one in PROTOCOLS.items():
        assert one.name == name
        assert one.headline.endswith("[%]")


@pytest.mark.parametrize("name", streams.PROTOCOLS)
def test_tables_numbers_and_headlines_of_no_rows_are_empty(frame, run, name):
    nothing = frame([run({(1, "set1", "own"): 0.5}, protocol="another")])
    assert PROTOCOLS[name].table(nothing).rows == ()
    assert PROTOCOLS[name].accuracy(nothing).empty
