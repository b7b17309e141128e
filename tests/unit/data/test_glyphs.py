"""The synthetic set: each picture depends on its own name only, and is what its class says."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from lamm_cl.data import glyphs
from lamm_cl.data.glyphs import SHAPES
from lamm_cl.errors import UsageError


def pixels(split: str, label: int, index: int) -> np.ndarray:
    return np.asarray(glyphs.draw(split, label, index))


def test_classes_are_many_distinct_and_of_three_kinds() -> None:
    names = glyphs.CLASS_NAMES
    assert len(names) == len(set(names)) == 60
    assert sum(name.startswith("letter ") for name in names) == 26
    assert sum(name.startswith("printed ") for name in names) == 10
    assert all(name in names for name in SHAPES)


def test_tiny_knows_every_word_of_the_class_names() -> None:
    from lamm_cl.clip.tiny import unknown_words

    assert unknown_words(glyphs.CLASS_NAMES) == []


@pytest.mark.parametrize("label", range(60))
def test_every_class_draws_rgb_pictures_with_ink(label: int) -> None:
    for index in range(3):
        picture = glyphs.draw("test", label, index)
        assert picture.mode == "RGB"
        assert picture.size == (glyphs.IMAGE_SIZE, glyphs.IMAGE_SIZE)
        assert np.asarray(picture, np.float64).std(axis=(0, 1)).max() > 10


def test_pictures_depend_on_split_label_and_index_alone() -> None:
    first = pixels("train", 7, 3)
    np.random.default_rng(0).random(100)
    pixels("val", 30, 2)
    assert np.array_equal(pixels("train", 7, 3), first)
    assert not np.array_equal(pixels("test", 7, 3), first)
    assert not np.array_equal(pixels("train", 7, 4), first)


def test_all_pictures_differ() -> None:
    digests = {
        hashlib.sha256(pixels(split, label, index).tobytes()).digest()
        for split in ("train", "val", "test")
        for label in range(0, 60, 6)
        for index in range(glyphs.SIZES[split])
    }
    assert len(digests) == 10 * sum(glyphs.SIZES.values())


def test_another_process_draws_the_same_without_torch() -> None:
    code = (
        "import sys, hashlib; from lamm_cl.data import glyphs\n"
        "print(hashlib.sha256(glyphs.draw('val', 45, 1).tobytes() + glyphs.draw('test', 2, 9).tobytes()).hexdigest())\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    mine = glyphs.draw("val", 45, 1).tobytes() + glyphs.draw("test", 2, 9).tobytes()
    assert other.stdout.strip() == hashlib.sha256(mine).hexdigest()


@pytest.mark.parametrize(
    ("split", "label", "index", "message"),
    [
        ("tset", 0, 0, "test"),
        ("test", 60, 0, "0 to 59"),
        ("test", -1, 0, "0 to 59"),
        ("val", 0, 10, "0 to 9"),
    ],
)
def test_wrong_use_says_what_there_is(split: str, label: int, index: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        glyphs.draw(split, label, index)


def test_tiny_reads_glyphs_above_chance_with_room_to_learn() -> None:
    import torch
    import torch.nn.functional as F

    from lamm_cl.clip.tiny import load_tiny

    model, tokenizer, preprocess = load_tiny()
    texts = F.normalize(model.encode_text(tokenizer([glyphs.TEMPLATE.format(n) for n in glyphs.CLASS_NAMES])), dim=-1)
    images = torch.stack([preprocess(glyphs.draw("val", k, i)) for k in range(60) for i in range(glyphs.SIZES["val"])])
    labels = torch.arange(60).repeat_interleave(glyphs.SIZES["val"])
    accuracy = ((model.encode_image(images) @ texts.T).argmax(1) == labels).double().mean().item()
    assert 0.25 < accuracy < 0.8
