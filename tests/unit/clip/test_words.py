"""Two class names that a tokenizer does not tell apart are refused, wherever classes are named."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import lamm_cl
from lamm_cl.data.items import Dataset, Item
from lamm_cl.errors import UsageError
from lamm_cl.streams.build import build_stream

pytestmark = pytest.mark.filterwarnings("ignore:tiny has not learned the words")
TWINS = [
    ("caf\u00e9", "cafe\u0301"),  # one letter, or a letter and an accent
    ("fish & chips", "fish &amp; chips"),
    ("dog's", "dog\u2019s"),
    ("\ufb01sh", "fish"),  # a ligature
    ("\uff21\uff22\uff23", "abc"),  # full width
    ("Mug", "mug"),
    ("a  b", "a\u00a0b"),
    ("red_fox", "red fox"),
    ("caf\u00c3\u00a9", "caf\u00e9"),  # UTF-8 read as Latin-1
    ("x &lt; y", "x < y"),
    ("dog 's", "dog's"),
]
DIFFERENT = [("dog", "dogs"), ("dog", "dog."), ("stra\u00dfe", "strasse"), ("cafe", "caf\u00e9"), ("a.b", "ab")]


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_names_of_one_prompt_are_refused_by_name(tiny: Any, one: str, other: str) -> None:
    prompts = [f"a photo of a {name.replace('_', ' ')}." for name in (one, other)]
    assert torch.equal(*tiny.tokenizer(prompts))  # the towers would see one class
    for method in ("zero_shot", "coop", "lamm", "maple+lamm"):
        with pytest.raises(UsageError, match="give the same prompt") as caught:
            lamm_cl.build_model(method, tiny, class_names=["two", one, other])
        assert repr(one) in str(caught.value)
        assert repr(other) in str(caught.value)
        assert one.isascii() or ascii(one) in str(caught.value)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_names_of_two_prompts_are_two_classes(tiny: Any, one: str, other: str) -> None:
    model = lamm_cl.build_model("zero_shot", tiny, class_names=[one, other])
    assert model.class_names == (one, other)


def test_a_class_that_comes_later_is_compared_with_all(tiny: Any) -> None:
    model = lamm_cl.build_model("lamm", tiny, class_names=["mug", "two"])
    model.add_classes(["three"])
    with pytest.raises(UsageError, match="'mug' and 'Mug' give the same prompt"):
        model.add_classes(["four", "Mug"])
    assert model.class_names == ("mug", "two", "three")
    model.add_classes(["four"])
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 4)


def test_a_strategy_of_one_s_own_stream_refuses_them(tiny: Any) -> None:
    with pytest.raises(UsageError, match="'mug' and 'Mug' give the same prompt"):
        lamm_cl.CoOp(backbone=tiny, class_names=["mug", "Mug"])


def make(folder: Path, name: str, classes: tuple[str, ...], template: str = "a photo of a {}.") -> Dataset:
    items = []
    for label, class_name in enumerate(classes):
        path = folder / f"{name}{label}.png"
        Image.new("RGB", (4, 4), (label, 0, 0)).save(path)
        items.append(Item(str(path), label, class_name))
    return Dataset(name, classes, train=tuple(items), val=(), test=tuple(items), template=template)


def test_two_domains_may_have_the_same_words(tiny: Any, tmp_path: Path) -> None:
    office, kitchen = make(tmp_path, "office", ("Mug", "pen")), make(tmp_path, "kitchen", ("mug", "pen", "pan"))
    benchmark = build_stream("multi_domain", [office, kitchen], 1)
    strategy = lamm_cl.build_strategy("coop", tiny, benchmark, epochs=1)
    assert strategy.model.class_names == ("Mug", "pen", "mug", "pen", "pan")
    only_spelled_apart = build_stream("multi_domain", [make(tmp_path, "a", ("Mug",)), make(tmp_path, "b", ("mug",))], 1)
    assert lamm_cl.build_strategy("coop", tiny, only_spelled_apart, epochs=1).model.class_names == ("Mug", "mug")
    wrong = build_stream("multi_domain", [office, make(tmp_path, "c", ("dog's", "dog\u2019s"))], 1)
    with pytest.raises(UsageError, match="give the same prompt"):
        lamm_cl.build_strategy("coop", tiny, wrong, epochs=1)


def test_a_list_of_the_papers_may_name_two_classes_alike(tiny: Any, tmp_path: Path) -> None:
    benchmark = build_stream("few_shot", make(tmp_path, "imagenet_like", ("missile", "tank", "missile")), 1)
    assert len(lamm_cl.build_strategy("zero_shot", tiny, benchmark).model.class_names) == 3
