"""Class orders and sizes of steps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamm_cl.errors import UsageError
from lamm_cl.streams.steps import base_and_increments, class_order, even_sizes, split

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
