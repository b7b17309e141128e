"""Layouts of every protocol, and what is refused."""

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lamm_cl.data.catalogue import CATALOGUE
from lamm_cl.data.few_shot import few_shot as draw
from lamm_cl.data.load import load_dataset
from lamm_cl.errors import UsageError
from lamm_cl.streams.build import build_layout, build_stream, options_of
from lamm_cl.streams.orders import DOMAIN_ORDERS
from lamm_cl.streams.protocols import PROTOCOLS


def columns(part):
    return {sample.column for sample in part.samples}


def test_few_shot(make_dataset):
    toy = make_dataset()
    layout = build_layout("few_shot", toy, shots=2)
    (train,), (test,) = layout.train, layout.test
    assert (train.name, test.name) == ("toy", "toy")
    assert len(train.samples) == 12
    assert len(test.samples) == 18
    assert train.own == test.own == tuple(range(6))
    assert layout.class_names == toy.class_names
    assert layout.plan.sets[0].trained_in == 0


def test_base_to_new_trains_on_the_first_half_and_tests_on_both(make_dataset):
    layout = build_layout("base_to_new", make_dataset(classes=7), shots=1)
    assert [part.name for part in layout.train] == ["base"]
    assert [(part.name, part.own) for part in layout.test] == [("base", (0, 1, 2, 3)), ("new", (4, 5, 6))]
    assert [one.trained_in for one in layout.plan.sets] == [0, None]
    assert columns(layout.train[0]) == {0, 1, 2, 3}


def test_class_incremental_keeps_every_class(make_dataset):
    layout = build_layout("class_incremental", make_dataset(classes=10), shots=1, steps=3)
    assert [part.own for part in layout.train] == [(0, 1, 2, 3), (4, 5, 6), (7, 8, 9)]
    assert [part.name for part in layout.test] == ["set1", "set2", "set3"]
    layout = build_layout("class_incremental", make_dataset(classes=10), shots=1, base=5, increment=2)
    assert [len(part.own) for part in layout.test] == [5, 2, 2, 1]
    layout = build_layout("class_incremental", make_dataset(classes=10), shots=1, order="shuffled")
    assert [len(part.own) for part in layout.train] == [5, 5]
    assert sorted(c for part in layout.train for c in part.own) == list(range(10))
    for train, test in zip(layout.train, layout.test, strict=True):
        assert columns(train) == columns(test) == set(train.own)


def test_images_are_drawn_over_the_whole_data_set_and_then_dealt_out(make_dataset):
    toy = make_dataset(train=9)
    train, val = draw(toy, 3, 1)
    for protocol, options in [("few_shot", {}), ("base_to_new", {}), ("class_incremental", {"order": "shuffled"})]:
        layout = build_layout(protocol, toy, shots=3, seed=1, **options)
        for parts, drawn in [(layout.train, train), (layout.val, val)]:
            for part in parts:
                assert [s.item for s in part.samples] == [i for i in drawn if i.label in part.own]


def test_cross_dataset_trains_on_the_first_and_tests_on_all(make_dataset):
    one, two = make_dataset("one", 3), make_dataset("two", 2, train=0, val=0, template="{} texture.")
    layout = build_layout("cross_dataset", [one, two], shots=1)
    assert [part.own for part in layout.test] == [(0, 1, 2), (3, 4)]
    assert [s.trained_in for s in layout.plan.sets] == [0, None]
    assert layout.class_names == ("one0", "one1", "one2", "two0", "two1")
    assert layout.templates[3:] == ("{} texture.",) * 2
    assert columns(layout.test[1]) == {3, 4}
    assert [part.own for part in layout.train] == [(0, 1, 2)]


def test_domain_generalization_scores_the_right_classes(make_dataset):
    source = make_dataset("big", ["a", "b", "c", "d", "e"])
    variant = make_dataset("small", ["d", "b"], train=0, val=0)
    layout = build_layout("domain_generalization", [source, variant], shots=1)
    assert layout.class_names == ("a", "b", "c", "d", "e")
    assert layout.test[1].own == (1, 3)
    assert [(s.item.class_name, s.column) for s in layout.test[1].samples[::3]] == [("d", 3), ("b", 1)]


def test_domain_generalization_tells_two_classes_of_one_name_apart(make_dataset):
    def known(name, pairs, **more):
        return make_dataset(name, [n for _, n in pairs], class_ids=tuple(i for i, _ in pairs), **more)

    source = known("big", [("n1", "missile"), ("n2", "crane"), ("n3", "missile")])
    variant = known("small", [("n2", "crane"), ("n3", "missile")], train=0, val=0)
    assert build_layout("domain_generalization", [source, variant], shots=1).test[1].own == (1, 2)
    # Without identifiers the same list of names can still be matched place by place, and no other can.
    same = make_dataset("same", ["missile", "crane", "missile"], train=0, val=0)
    plain = make_dataset("plain", ["missile", "crane", "missile"])
    assert build_layout("domain_generalization", [plain, same], shots=1).test[1].own == (0, 1, 2)
    few = make_dataset("few", ["missile"], train=0, val=0)
    with pytest.raises(UsageError, match="2 classes called 'missile'"):
        build_layout("domain_generalization", [plain, few], shots=1)


def test_multi_domain_keeps_classes_of_one_name_apart(make_dataset):
    one, two = make_dataset("one", ["cat", "dog"]), make_dataset("two", ["dog", "cow"])
    layout = build_layout("multi_domain", [one, two], shots=1)
    assert layout.class_names == ("cat", "dog", "dog", "cow")
    assert [part.own for part in layout.train] == [(0, 1), (2, 3)]
    assert [s.trained_in for s in layout.plan.sets] == [0, 1]
    assert [p.name for p in build_layout("multi_domain", [one, two], shots=1, order=["two", "one"]).train] == [
        "two",
        "one",
    ]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("mtil-1", ["dtd", "food101", "mnist", "stanford_cars"]),
        ("mtil-2", ["stanford_cars", "food101", "mnist", "dtd"]),
        ("x-tail", ["dtd", "food101", "mnist", "stanford_cars"]),
        ("x-tail-2", ["stanford_cars", "food101", "mnist", "dtd"]),
        ("alphabetical", ["dtd", "food101", "mnist", "stanford_cars"]),
        ("given", ["mnist", "dtd", "stanford_cars", "food101"]),
    ],
)
def test_named_orders(make_dataset, order, expected):
    datasets = [make_dataset(name, 2) for name in ("mnist", "dtd", "stanford_cars", "food101")]
    layout = build_layout("multi_domain", datasets, shots="full", order=order)
    assert [part.name for part in layout.train] == expected
    assert all(len(part.samples) == 8 for part in layout.train)


def test_every_data_set_of_a_named_order_is_known():
    for order, names in DOMAIN_ORDERS.items():
        assert set(names) <= set(CATALOGUE), order


def test_evaluation_can_be_restricted(make_dataset):
    layout = build_layout("class_incremental", make_dataset(), shots=1, steps=3, evaluate=["set3", "set1"])
    assert [(s.name, s.trained_in) for s in layout.plan.sets] == [("set1", 0), ("set3", 2)]
    assert [p.name for p in build_layout("base_to_new", make_dataset(), evaluate="new").test] == ["new"]


def test_what_is_known_of_a_mixture_is_what_is_known_of_its_weakest_part(make_dataset):
    official, own = make_dataset("a", split="official"), make_dataset("b", split="own", notes=("made here",))
    layout = build_layout("multi_domain", [official, own], shots=1)
    assert layout.split == "own"
    assert layout.notes == ("made here",)
    assert layout.fingerprint not in (official.fingerprint, own.fingerprint)
    assert build_layout("few_shot", official, shots=1).fingerprint == official.fingerprint


def test_no_validation_part_where_images_are_missing(make_dataset):
    assert len(build_layout("few_shot", make_dataset(), shots=1).val) == 1
    assert build_layout("few_shot", make_dataset(val=0), shots=1).val == ()


def test_a_layout_depends_on_the_seed_and_on_no_global_generator(make_dataset):
    toy = make_dataset(train=20)
    random.seed(5)
    first = build_layout("few_shot", toy, shots=4, seed=1)
    random.seed(6)
    assert build_layout("few_shot", toy, shots=4, seed=1) == first
    assert build_layout("few_shot", toy, shots=4, seed=2) != first


def test_every_protocol_is_described():
    for protocol in PROTOCOLS.values():
        assert protocol.title
        assert protocol.source
        assert "evaluate" in options_of(protocol)
        assert protocol.build.__name__ == protocol.name


CALLS = [
    (lambda d: build_layout("few-shot", d()), "unknown protocol 'few-shot'. Did you mean 'few_shot'"),
    (lambda d: build_layout("class_incremental", d(), steps=7), "7 steps need at least 7 classes, but there are 6"),
    (lambda d: build_layout("base_to_new", d(classes=1)), "2 steps need at least 2 classes"),
    (
        lambda d: build_layout("class_incremental", d(), stepss=2),
        "unknown option of protocol class_incremental 'stepss'",
    ),
    (lambda d: build_layout("few_shot", d(), steps=2), "unknown option of protocol few_shot 'steps'"),
    (lambda d: build_layout("class_incremental", d(), steps=2, base=2, increment=1), "not both"),
    (lambda d: build_layout("class_incremental", d(), base=2), "go together"),
    (lambda d: build_layout("class_incremental", d(), order=[0, 1]), "not a permutation"),
    (lambda d: build_layout("class_incremental", d(), order="random"), "unknown class order"),
    (lambda d: build_layout("class_incremental", d(), order=3), "class order must be one of dataset, alphabetical"),
    (lambda d: build_layout("class_incremental", d(), order=[[0, 1], [2, 3]]), "is neither a label nor a class name"),
    (lambda d: build_layout("multi_domain", [d("a"), d("b")], order=None), "order must be one of given, alphabetical"),
    (lambda d: build_layout("few_shot", d(), shots=0), "shots must be a whole number of at least 1"),
    (lambda d: build_layout("few_shot", d(), shots=-3), "shots must be a whole number of at least 1"),
    (lambda d: build_layout("few_shot", d(), shots=True), "shots must be a whole number of at least 1"),
    (lambda d: build_layout("few_shot", d(), shots="all"), "\"full\" for all images, not 'all'"),
    (lambda d: build_layout("few_shot", d(), shots=1, seed="1"), "seed must be a whole number"),
    (lambda d: build_layout("few_shot", d(train=0), shots=1), "no training image"),
    (lambda d: build_layout("few_shot", d(train=0), shots=None), "no training image"),
    (lambda d: build_layout("few_shot", d(test=0), shots=1), "has no test images"),
    (lambda d: build_layout("few_shot", [d("a"), d("b")]), "exactly one data set, not 2"),
    (lambda d: build_layout("few_shot"), "exactly one data set, not 0"),
    (lambda d: build_layout("cross_dataset", d()), "at least 2 data sets, not 1"),
    (lambda d: build_layout("multi_domain", [d("a"), d("a")]), "'a' is given twice"),
    (lambda d: build_layout("multi_domain", [d("a"), d("b")], order="mtil-1"), "has no place for a, b"),
    (
        lambda d: build_layout("multi_domain", order="mtil-1", root="/nowhere"),
        "10 more cannot be read: caltech101, cifar100, dtd, eurosat, oxford_flowers, food101, mnist",
    ),
    (lambda d: build_layout("multi_domain", [d("a"), d("b")], order="mtil"), "unknown order of data sets 'mtil'"),
    (lambda d: build_layout("multi_domain", [d("a"), d("b")], order=["a"]), "not a permutation"),
    (lambda d: build_layout("domain_generalization", [d("a"), d("b")]), "6 of the 6 classes of b are not classes of a"),
    (lambda d: build_layout("base_to_new", d(), evaluate=["novel"]), "unknown evaluation set 'novel'"),
    (lambda d: build_layout("base_to_new", d(), evaluate=[]), "none given"),
    (lambda d: build_layout("base_to_new", "digitz"), "unknown data set 'digitz'"),
]


@pytest.mark.parametrize(("call", "message"), CALLS, ids=[message for _, message in CALLS])
def test_wrong_use_is_refused_before_anything_is_read(make_dataset, call, message):
    with pytest.raises(UsageError) as error:
        call(make_dataset)
    assert message in str(error.value)


def test_a_class_without_training_images_is_named(make_dataset):
    toy = make_dataset()
    holed = replace(toy, train=tuple(item for item in toy.train if item.label != 4))
    with pytest.raises(UsageError, match="toy4"):
        build_layout("class_incremental", holed, shots=1, steps=3)


def test_layouts_need_neither_torch_nor_avalanche():
    code = (
        "import sys; from lamm_cl.streams import build; build.build_layout('class_incremental', 'digits'); "
        "assert not {'torch', 'avalanche'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_image_that_is_used_must_be_there(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for k in range(60):
            (tmp_path / name / f"{k:02d}.jpg").write_bytes(b"x")
    pets = load_dataset({"name": "pets", "folder": tmp_path})
    layout = build_layout("class_incremental", pets, shots=2)
    Path(layout.train[1].samples[0].item.path).unlink()
    Path(layout.test[0].samples[3].item.path).unlink()
    with pytest.raises(
        UsageError, match=r"'pets': 2 of the 44 images to be used are missing or empty: '.*\.jpg', .*correct"
    ) as e:
        build_stream("class_incremental", pets, shots=2)
    assert "\n" not in str(e.value)
    assert build_layout("class_incremental", pets, shots=2, check_images=False) == layout
    unused = next(item for item in pets.train if item not in {s.item for part in layout.train for s in part.samples})
    build_layout("class_incremental", pets, shots=2, evaluate=["set2"], check_images=False)
    Path(unused.path).unlink()
    with pytest.raises(UsageError, match="1 of the"):
        build_layout("class_incremental", pets, shots=2, evaluate=["set2"])


def test_missing_images_of_the_catalogue_say_how_to_get_them(shared: Path) -> None:
    with pytest.raises(
        UsageError, match=r"images to be used are missing or empty.*data prepare eurosat --root .*data verify eurosat"
    ):
        build_layout("few_shot", "eurosat", shots=1, root=str(shared / "data" / "coop_splits"))


def test_every_option_says_what_it_means() -> None:
    from lamm_cl.experiments.names import protocol_options

    for name in PROTOCOLS:
        assert all(field.description for field in protocol_options(name).model_fields.values())
