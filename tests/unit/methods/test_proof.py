"""PROOF's parts: what is averaged over a mini-batch, what trains, and where dropout acts."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

import lamm_cl
from lamm_cl import build_model
from lamm_cl.methods.stage import Step
from lamm_cl.seeds import seed_for

NAMES = ["zero", "one", "two", "three"]


def images(tiny: Any, batch: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, *tiny.image_size, generator=torch.Generator().manual_seed(seed))


def taught(tiny: Any, **options: Any) -> Any:
    model = build_model("proof", tiny, NAMES, **options)
    for classes in ([0, 1], [2, 3]):
        x = images(tiny, seed=classes[0])
        lamm_cl.fit_stage(model, x, torch.tensor(classes * 4), epochs=1, batch_size=4)
    return model


def test_a_prediction_depends_on_its_mini_batch_as_released_or_not(tiny: Any) -> None:
    x = images(tiny, seed=5)
    for average, depends in (("batch", True), ("image", False)):
        model = taught(tiny, average=average)
        alone = torch.cat([model(one) for one in x.split(1)])
        assert torch.allclose(model(x), alone, rtol=1e-4, atol=1e-3) != depends
    image, batch = taught(tiny, average="image"), taught(tiny)
    torch.testing.assert_close(image(x[:1]), batch(x[:1]))


def test_old_image_maps_and_tokens_are_frozen_and_text_maps_train_on(tiny: Any) -> None:
    model = taught(tiny)
    trains = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {"text_adapter.maps.0.weight", "text_adapter.maps.1.weight", "head.logit_scale"} <= trains
    assert {"adapter.maps.1.weight", "head.contexts.1", "head.attention.fc.bias"} <= trains
    assert not trains & {"adapter.maps.0.weight", "head.contexts.0"}
    assert not any("_adapter" in name for name in model.head.state_dict())


def test_classes_to_come_wait_and_exemplars_change_no_prototype(tiny: Any) -> None:
    model = build_model("proof", tiny, NAMES)
    assert torch.isfinite(model(images(tiny))).all()  # nothing is learned yet: the text's logits
    lamm_cl.fit_stage(model, images(tiny), torch.tensor([0, 1] * 4), epochs=1)
    assert torch.isneginf(model(images(tiny))[:, 2:]).all()
    before = model.head.prototypes.mean[:2].clone()
    x, labels = images(tiny, seed=2), torch.tensor([2, 3, 0, 1] * 2)
    lamm_cl.fit_stage(model, x, labels, epochs=1)
    assert torch.equal(model.head.prototypes.mean[:2], before)
    features = torch.nn.functional.normalize(model.features(x), dim=-1)
    torch.testing.assert_close(model.head.prototypes.mean[2], features[labels == 2].double().mean(0))


def test_dropout_acts_in_training_steps_alone(tiny: Any) -> None:
    model = taught(tiny, dropout=0.5)
    x, stage = images(tiny), model.next_stage([2, 3])

    def scores(step: int | None) -> Tensor:
        model.head.begin_step(None if step is None else Step(stage, 0, step, seed=1))
        return model.training_output(x, [2, 3]).logits.detach()

    assert torch.equal(scores(None), scores(None))
    assert torch.equal(scores(0), scores(0))
    assert not torch.equal(scores(0), scores(1))
    assert not torch.equal(scores(0), scores(None))
    model.head.begin_step(Step(stage, 0, 0))
    with torch.no_grad():
        assert torch.equal(model.training_output(x, [2, 3]).logits, scores(None))


def test_what_is_dropped_is_drawn_in_16_bits_and_the_same_everywhere(tiny: Any) -> None:
    model = build_model("proof", tiny, NAMES, dropout=0.25)
    step = Step(model.next_stage([0, 1]), 0, 0, seed=1)
    kept = model.head.attention.kept(step, 0, (50, 41, 37))
    assert kept.shape == (50, 41, 37)
    assert abs(float(kept.double().mean()) - 0.75) < 0.005  # three standard deviations
    drawn = np.random.SFC64(seed_for("attention dropout", *step.place, 0)).random_raw(2)
    low = [int(number) >> shift & 0xFFFF for number in drawn for shift in (0, 16, 32, 48)]
    assert kept.flatten()[:8].tolist() == [one >= 1 << 14 for one in low]
    assert not torch.equal(kept, model.head.attention.kept(step, 1, kept.shape))


def test_text_is_encoded_once_a_pass(tiny: Any, monkeypatch: Any) -> None:
    model, x = taught(tiny), images(tiny)
    encode, calls = model.text.encode, []
    monkeypatch.setattr(model.text, "encode", lambda columns: calls.append(columns) or encode(columns))
    model(x)
    model.training_output(x, [0, 1, 2, 3])
    assert calls == [(0, 1, 2, 3)] * 2
    model.output(x, [1])  # the attention sees all classes, whichever score
    assert calls[2:] == [(1,), (0, 1, 2, 3)]
