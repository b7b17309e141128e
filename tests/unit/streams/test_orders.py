"""Class orders and sizes of steps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamm_cl.errors import UsageError
from lamm_cl.streams.orders import base_and_increments, class_order, even_sizes, split

NAMES = ["pear", "Apple", "fig", "banana"]


def test_orders_by_name():
    assert class_order(NAMES) == (0, 1, 2, 3)
    assert class_order(NAMES, "alphabetical") == (1, 3, 2, 0)
    assert class_order(NAMES, [3, 2, 1, 0]) == (3, 2, 1, 0)
    assert class_order(NAMES, ["fig", "pear", "Apple", "banana"]) == (2, 0, 1, 3)
    assert class_order(NAMES, np.array([3, 2, 1, 0])) == (3, 2, 1, 0)


def test_seed_1993_gives_the_order_that_icarl_users_know():
    order = class_order([str(k) for k in range(100)], "shuffled")
    # First and last classes of the CIFAR-100 order that class-incremental papers share.
    assert order[:10] == (68, 56, 78, 8, 23, 84, 90, 65, 74, 76)
    assert sorted(order) == list(range(100))
    assert order != class_order([str(k) for k in range(100)], "shuffled", 1)


def test_shuffling_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()
    class_order(NAMES, "shuffled")
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@given(classes=st.integers(1, 300), steps=st.integers(1, 40))
def test_even_steps_drop_no_class(classes, steps):
    if classes < steps:
        with pytest.raises(UsageError, match="ask for fewer steps"):
            even_sizes(classes, steps)
        return
    sizes = even_sizes(classes, steps)
    assert len(sizes) == steps
    assert sum(sizes) == classes
    assert max(sizes) - min(sizes) <= 1
    assert list(sizes) == sorted(sizes, reverse=True)
    if steps == 2:
        assert sizes[0] == -(-classes // 2)  # the papers' base classes


@given(classes=st.integers(1, 300), base=st.integers(1, 300), increment=st.integers(1, 50))
def test_increments_drop_no_class(classes, base, increment):
    if base > classes:
        with pytest.raises(UsageError, match="only"):
            base_and_increments(classes, base, increment)
        return
    first, *rest = base_and_increments(classes, base, increment)
    assert first == base
    assert first + sum(rest) == classes
    assert all(size == increment for size in rest[:-1])
    assert not rest or 1 <= rest[-1] <= increment


@given(order=st.permutations(list(range(11))))
def test_split_gives_every_class_once(order):
    parts = split(order, even_sizes(11, 4))
    assert [label for part in parts for label in part] == list(order)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: class_order(NAMES, "alphabetic"), "Did you mean 'alphabetical'"),
        (lambda: class_order(NAMES, [0, 1, 2]), "not a permutation.*left out: 3"),
        (lambda: class_order(NAMES, [0, 1, 2, 2]), "given twice: 2; left out: 3"),
        (lambda: class_order(NAMES, [0, 1, 2, 4]), "no such label: 4"),
        (lambda: class_order(NAMES, []), "left out: 0, 1, 2, 3"),
        (lambda: class_order(NAMES, ["fig", "pear", "apple", "banana"]), "Choices: Apple"),
        (lambda: class_order(["a", "a"], ["a", "a"]), "two classes are called 'a'"),
        (lambda: class_order(NAMES, [0, 1, 2, 3.0]), "neither a label nor a class name"),
        (lambda: class_order(NAMES, [False, True, 2, 3]), "neither a label nor a class name"),
        (lambda: class_order(NAMES, "shuffled", -1), "order_seed"),
        (lambda: even_sizes(10, 0), "steps must be a whole number"),
        (lambda: even_sizes(10, 2.0), "steps must be a whole number"),
        (lambda: even_sizes(10, 11), "11 steps need at least 11 classes, but there are 10"),
        (lambda: base_and_increments(10, 0, 1), "base must be"),
        (lambda: base_and_increments(10, 5, 0), "increment must be"),
        (lambda: base_and_increments(10, 11, 1), "only 10"),
        (lambda: split([0, 1, 2], [1, 1]), "take 2 classes, but there are 3"),
    ],
)
def test_wrong_input(call, message):
    with pytest.raises(UsageError, match=message):
        call()


HUNDRED = [str(k) for k in range(100)]


def test_an_order_may_be_numpys():
    np.random.seed(1993)  # what the published codes call
    published = tuple(np.random.permutation(100))
    assert class_order(HUNDRED, {"numpy": 1993}) == published == class_order(HUNDRED, "shuffled")
    assert class_order(HUNDRED, {"numpy": "seed"}, seed=7) == class_order(HUNDRED, "shuffled", 7)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("order.yaml", "class_order: [3, 1,\n  0, 2]\n"),
        ("order.yml", "[3, 1, 0, 2]"),
        ("order.txt", "3\n1\n\n0\n2\n"),
        ("order.txt", "banana\nfig\npear\nApple\n"),
    ],
)
def test_an_order_may_be_listed_in_a_file(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert class_order(["pear", "fig", "Apple", "banana"], {"file": str(tmp_path / name)}) == (3, 1, 0, 2)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"numpy": True}, "order_seed must be a whole number"),
        ({"numpy": "seeds"}, "order_seed must be a whole number"),
        ({"numpy": 1, "file": "a"}, "must be {numpy: 1993}, {numpy: seed} .* or {file: PATH}"),
        ({"file": "nowhere.yaml"}, "nowhere.yaml cannot be read: No such file"),
    ],
)
def test_a_wrong_source_of_an_order_is_refused(order, message):
    with pytest.raises(UsageError, match=message):
        class_order(NAMES, order)


@pytest.mark.parametrize(("text", "message"), [("{", "is no YAML"), ("orders: [1]", "nor one below class_order")])
def test_a_file_without_a_list_is_refused(text, message, tmp_path):
    (tmp_path / "order.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        class_order(NAMES, {"file": str(tmp_path / "order.yaml")})
