"""Where learned labels start, and what L_WC keeps them near."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lamm_cl import build_model
from lamm_cl.methods.storage import load_learner, save_learner

NAMES = ["zero", "seven eight", "nine"]
LABELS = torch.tensor([0, 1, 2, 0])


def picture(tiny: Any) -> torch.Tensor:
    return torch.randn(4, 3, *tiny.image_size, generator=torch.Generator().manual_seed(0))


def first_token(tiny: Any, name: str) -> torch.Tensor:
    return tiny.text.embed(tiny.text.words.ids(name)[:1])


def near(model: Any) -> list[torch.Tensor]:
    """What L_WC keeps each trained label near."""
    return model.labels.anchors(model.labels.token_classes.learned)


@pytest.mark.parametrize("method", ["lamm", "coop+lamm", "maple+lamm"])
def test_the_released_code_keeps_random_labels_near_their_random_start(method: str, tiny: Any) -> None:
    # trainers/coop.py:183-188 and maple.py:198-203: the labels are filled with noise, then copied to `fix_token`.
    model = build_model(method, tiny, NAMES, label_init="random")
    start = [row.clone() for row in model.labels.token_classes.rows([0, 1, 2])]
    assert all(torch.equal(one, other) for one, other in zip(near(model), start, strict=True))
    assert all((row - first_token(tiny, name)).norm() > 0.1 for row, name in zip(start, NAMES, strict=True))
    assert model.losses(picture(tiny), LABELS)["wc"] == 0
    with torch.no_grad():
        for row in model.labels.token_classes.rows([0, 1, 2]):
            row.add_(0.1)
    expected = 0.01 * sum(row.numel() for row in start)
    assert model.losses(picture(tiny), LABELS)["wc"].item() == pytest.approx(expected, rel=1e-4)


def test_the_paper_keeps_random_labels_near_the_words(tiny: Any) -> None:
    # Equation 5: "original label embeddings". One vector stands for the whole name: the mean of its tokens.
    model = build_model("lamm", tiny, NAMES, label_init="random", dialect="paper")
    words = [tiny.text.embed(tiny.text.words.ids(name)).mean(0, keepdim=True) for name in NAMES]
    assert all(torch.equal(one, other) for one, other in zip(near(model), words, strict=True))
    rows = model.labels.token_classes.rows([0, 1, 2])
    difference = sum((row - word).square().sum() for row, word in zip(rows, words, strict=True))
    assert difference > 0.1
    assert torch.allclose(model.losses(picture(tiny), LABELS)["wc"], difference)


@pytest.mark.parametrize("dialect", ["official", "paper"])
def test_random_labels_have_the_released_standard_deviation(dialect: str, tiny: Any) -> None:
    model = build_model("lamm", tiny, NAMES, label_init="random", dialect=dialect)
    assert torch.cat(list(model.labels.token_classes.rows([0, 1, 2]))).std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("dialect", ["official", "paper"])
def test_labels_that_start_from_words_are_kept_near_them(dialect: str, tiny: Any) -> None:
    model = build_model("lamm", tiny, NAMES, dialect=dialect)
    assert all(torch.equal(a, b) for a, b in zip(near(model), model.labels.token_classes.rows([0, 1, 2]), strict=True))
    assert not [name for name in model.state_dict() if "anchor" in name]  # the names say them


def test_the_teacher_of_random_labels_reads_the_words(tiny: Any) -> None:
    words = build_model("lamm", tiny, NAMES).output(picture(tiny))
    noise = build_model("lamm", tiny, NAMES, label_init="random").output(picture(tiny))
    assert torch.equal(words.zero_shot(), noise.zero_shot())
    assert not torch.allclose(words.logits, noise.logits, atol=0.1)


def test_a_file_of_prompts_holds_the_random_start(tiny: Any, tmp_path: Path) -> None:
    model = build_model("lamm", tiny, NAMES, label_init="random", seed=1)
    with torch.no_grad():
        for row in model.labels.token_classes.rows([0, 1, 2]):
            row.add_(0.1)
    save_learner(model, tmp_path / "prompts.safetensors")
    other = load_learner(
        build_model("lamm", tiny, NAMES, label_init="random", seed=2), tmp_path / "prompts.safetensors"
    )
    here, there = (m.losses(picture(tiny), LABELS)["wc"] for m in (model, other))
    assert torch.equal(here, there)


def test_a_later_stage_leaves_the_anchors_of_an_earlier_one(tiny: Any) -> None:
    model = build_model("lamm", tiny, NAMES, label_init="random", learn=False)
    model.learn_classes([0])
    first = near(model)[0].clone()
    with torch.no_grad():
        model.labels.token_classes.rows([0])[0].add_(1)
    model.learn_classes([0, 2])
    assert torch.equal(near(model)[0], first)
    assert model.labels.lengths([0, 1, 2]) == [1, 0, 1]


def test_labels_and_anchors_move_together(tiny: Any) -> None:
    model = build_model("lamm", tiny, NAMES).double()
    assert {tensor.dtype for tensor in [*near(model), *model.labels.token_classes.rows([0, 1, 2])]} == {torch.float64}


@pytest.mark.parametrize("method", ["lamm", "coop+lamm", "maple+lamm"])
def test_a_step_does_not_look_at_all_labels_for_each_class(
    method: str, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 1,000 classes that took 30 times as long as the step itself."""
    from lamm_cl.prompts.vectors import ClassVectors

    looks = []
    real = ClassVectors.trainable.fget
    monkeypatch.setattr(ClassVectors, "trainable", property(lambda self: looks.append(1) or real(self)))
    counts = []
    for names in (["zero", "one", "two"], ["zero", "one", "two", "three", "four", "five", "six", "seven"]):
        model = build_model(method, tiny, class_names=names)
        looks.clear()
        model.losses(picture(tiny), LABELS)["total"].backward()
        counts.append(len(looks))
    assert counts[0] == counts[1]
