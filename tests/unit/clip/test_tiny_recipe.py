"""The recipe of tiny's weights: pictures and captions agree, repeat, and use the words that are trained."""

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("benchmarks.tiny_clip", reason="the recipe is not part of an installed wheel")

from benchmarks.tiny_clip import captions, strokes
from benchmarks.tiny_clip.pretrain import Recipe, Student, pretrain, soft_loss
from benchmarks.tiny_clip.scene import Artist
from benchmarks.tiny_clip.templates import FONTS
from lamm_cl.data.glyphs import _FONTS, SHAPES


def test_pictures_and_captions_are_a_function_of_the_seed() -> None:
    first, again, other = (Artist(seed).batch(32) for seed in (5, 5, 6))
    assert torch.equal(first[0], again[0])
    assert first[2].texts == again[2].texts
    assert not torch.equal(first[0], other[0])


def test_pictures_are_in_range_and_each_has_a_true_caption() -> None:
    pictures, facts, said = Artist(1).batch(128)
    assert pictures.shape == (128, 3, 32, 32)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    truth = said.true_of(facts)
    assert truth.shape == (128, len(said.texts))
    assert truth.any(0).all()
    assert truth.any(1).all()


def test_captions_say_what_is_true() -> None:
    facts = captions.Facts(*(np.array([value] * 200) for value in (3, 1, 0, 0)))
    said = captions.say(facts, np.random.default_rng(0))
    assert said.true_of(facts).all()
    assert not any("printed" in text for text in said.texts)
    other = captions.Facts(np.array([4]), np.array([1]), np.array([0]), np.array([0]))
    names_content = said.content >= 0
    assert not said.true_of(other)[0, names_content].any()


def test_every_habit_writes_the_same_number_of_segments() -> None:
    for digit in range(10):
        for habit in strokes.habits(digit):
            assert habit.start.shape == habit.end.shape == (strokes.SEGMENTS, 64)
            assert np.allclose(habit.start.sum(1), 1)  # moving all points moves the stroke as much


def test_glyphs_share_names_but_no_font_with_the_training_pictures() -> None:
    assert set(SHAPES) <= set(captions.CONTENTS)
    assert not {f"{font}.ttf" for font in _FONTS} & set(FONTS)


def test_soft_loss_is_least_for_the_truth_and_counts_every_true_pair() -> None:
    truth = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    right, wrong = 50 * truth, 50 * (1 - truth)
    least = soft_loss(right, truth)
    assert least.item() == pytest.approx(0.5 * (np.log(2) / 2), abs=1e-6)  # only the tie of two true captions
    assert soft_loss(wrong, truth) > least


def test_rate_warms_up_and_ends_near_zero() -> None:
    recipe = Recipe(steps=1000, warmup=100, rate=1.0)
    rates = [recipe.rate_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) < 1.0
    assert rates[99] == max(rates)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)


def test_two_steps_train_the_same_twice_and_only_rows_of_the_vocabulary(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from benchmarks.tiny_clip.pack import pack

    recipe = Recipe(steps=2, batch=64)
    made = [pretrain(recipe, print, lambda _: "") for _ in range(2)]
    files = [tmp_path / f"{k}.safetensors" for k in range(2)]
    for student, file in zip(made, files, strict=True):
        assert pack(student, file, recipe) == file.stat().st_size
    assert files[0].read_bytes() == files[1].read_bytes()
    untouched = Student(recipe).model.token_embedding.weight
    changed = (made[0].model.token_embedding.weight != untouched).any(1).nonzero().flatten()
    assert set(changed.tolist()) <= set(load_file(files[0])["token_embedding.ids"].tolist())
