"""Few-shot selection: what it returns, what it refuses. The draws are checked in tests/golden/."""

import pickle
from typing import Any

import pytest

import lamm_cl
from lamm_cl.data import embedded
from lamm_cl.data.few_shot import few_shot
from lamm_cl.data.items import Dataset, Item
from lamm_cl.errors import UsageError
from lamm_cl.streams.orders import even_sizes


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return lamm_cl.load_dataset("digits")  # type: ignore[no-any-return]


def test_digits_have_a_fixed_split(digits: Dataset) -> None:
    assert (len(digits.train), len(digits.val), len(digits.test)) == (718, 180, 899)
    assert digits.class_names == embedded.DIGIT_NAMES
    assert digits.class_names[3] == "three"
    assert len({item.path for item in digits.items}) == 1797
    assert all(item.class_name == digits.class_names[item.label] for item in digits.items)
    assert digits.split == "embedded"
    assert not digits.synthetic


def test_digits_are_scikit_learns() -> None:
    import numpy as np
    from sklearn.datasets import load_digits

    images, labels = embedded.digits()
    assert np.array_equal(images, load_digits().images)
    assert np.array_equal(labels, load_digits().target)


def test_digits_are_pictures(digits: Dataset) -> None:
    picture = digits.open(digits.train[0])
    assert (picture.mode, picture.size) == ("RGB", (8, 8))
    assert digits.content_key(digits.train[0]) != digits.content_key(digits.train[1])
    assert pickle.loads(pickle.dumps(digits)) == digits


def test_every_class_gets_its_shots(digits: Dataset) -> None:
    train, val = few_shot(digits, shots=16, seed=1)
    assert [sum(item.label == k for item in train) for k in range(10)] == [16] * 10
    assert [sum(item.label == k for item in val) for k in range(10)] == [4] * 10
    assert (train, val) == few_shot(digits, 16, 1)
    assert train != few_shot(digits, 16, 2).train
    assert few_shot(digits, None, 1) == (digits.train, digits.val)


def test_base_and_new(digits: Dataset) -> None:
    stream = lamm_cl.base_to_novel("digits", shots=1, seed=1)
    classes = [sorted(experience.classes_in_this_experience) for experience in stream.train_stream]
    assert classes == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert even_sizes(3, 2) == (2, 1)


def test_where_val_is_the_test_set_it_stays_whole() -> None:
    train = tuple(Item(f"t{i}", i % 2, "ab"[i % 2]) for i in range(40))
    test = tuple(Item(f"v{i}", i % 2, "ab"[i % 2]) for i in range(20))
    chosen = few_shot(Dataset("imagenet", ("a", "b"), train, test, test), 2, 1)
    assert len(chosen.train) == 4
    assert chosen.val == test


@pytest.mark.parametrize("shots", [0, -1, 1.5, "4", True])
def test_shots_must_make_sense(digits: Dataset, shots: Any) -> None:
    with pytest.raises(UsageError, match="shots"):
        few_shot(digits, shots, 1)


def test_a_class_without_training_images_is_named() -> None:
    data = Dataset("pets", ("cat", "dog"), (Item("a", 0, "cat"),), (), ())
    with pytest.raises(UsageError, match=r"pets.*dog"):
        few_shot(data, 1, 1)
