"""What a prompted CLIP does with wrong images, features, labels and label spaces."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lamm_cl import build_model
from lamm_cl.errors import UsageError
from lamm_cl.methods import inputs
from lamm_cl.methods.prompted_clip import PromptedOutput
from lamm_cl.methods.registry import method_names

NAMES = ["zero", "one", "two"]
LABELS = torch.tensor([0, 1, 2, 1])
SMALL: dict[str, Any] = {"ranpac": {"M": 32}, "rail": {"hidden": 32}, "acil": {"buffer_size": 32}}


def features(batch: int = 4, width: int = 96) -> torch.Tensor:
    return F.normalize(torch.randn(batch, width, generator=torch.Generator().manual_seed(0)), dim=-1)


@pytest.fixture(scope="module")
def lamm(tiny: Any) -> Any:
    return build_model("lamm", tiny, NAMES)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 2, -1]), r"class ids \[-1\], but only \[0, 1, 2\] compete"),
        (torch.tensor([0, 1, 2, -100]), r"class ids \[-100\]"),
        (torch.tensor([0, 1, 7, 3]), r"class ids \[3, 7\]"),
        (torch.tensor([0, 1, 2, 6]), r"class ids \[6\]"),
        (LABELS.float(), "integers"),
        (LABELS > 0, "integers"),
        (F.one_hot(LABELS).float(), r"labels.argmax\(1\)"),
        (F.one_hot(LABELS), r"one class id an image; got \(4, 3\)"),
        (LABELS[:, None], r"got \(4, 1\)"),
        (LABELS[:3], r"must be \(4,\), one class id an image; got \(3,\)"),
        (LABELS[0], r"got \(\)"),
    ],
)
def test_bad_labels(labels: torch.Tensor, message: str, lamm: Any) -> None:
    with pytest.raises(UsageError, match=message):
        lamm.losses(None, labels, image_features=features())
    with pytest.raises(UsageError, match=message):
        lamm.objective(lamm.output(features()), labels)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16])
def test_labels_of_every_integer_type(dtype: torch.dtype, lamm: Any) -> None:
    found = lamm.losses(None, LABELS.to(dtype), image_features=features())
    assert torch.equal(found["total"], lamm.losses(None, LABELS, image_features=features())["total"])


@pytest.mark.parametrize("stranger", [1, 3, 4, 5, 6, 1000, -1, -2, -3, -6, -7, -1000])
def test_a_label_that_does_not_compete_never_passes_for_another_class(stranger: int, lamm: Any) -> None:
    labels = torch.tensor([0, 2, 0, stranger])
    message = rf"class ids \[{stranger}\], but only \[0, 2\] compete"
    with pytest.raises(UsageError, match=message):
        lamm.losses(None, labels, image_features=features(), classes=[0, 2])
    with pytest.raises(UsageError, match=message):
        lamm.objective(lamm.output(features()), labels, [0, 2])


@pytest.mark.parametrize("method", ["coop", "lamm"])
@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "label space is empty"),
        ([0, 1, 1], r"class ids \[1\] more than once"),
        ([0, 1, -1], r"class ids \[-1\]: give some of \[0, 1, 2\]"),
        ([0, 1, 7], r"class ids \[7\]: give some of \[0, 1, 2\]"),
        ([True, True, False], "not names or a mask"),
        ([0.0, 1.0], "must be integers"),
        (["zero", "one"], "not names or a mask"),
        (torch.tensor([True, True, False]), r"mask.nonzero\(\)"),
        (torch.tensor([[0, 1]]), r"integers \(n,\)"),
        (torch.tensor([0.0, 1.0]), r"integers \(n,\)"),
    ],
)
def test_bad_label_spaces(classes: Any, message: str, method: str, tiny: Any) -> None:
    model, labels = build_model(method, tiny, NAMES), torch.tensor([0, 1, 0, 1])
    with pytest.raises(UsageError, match=message):
        model.losses(None, labels, image_features=features(), classes=classes)
    with pytest.raises(UsageError, match=message):
        model.output(features(), classes)
    with pytest.raises(UsageError, match=message):
        model.objective(model.output(features()), labels, classes)


@pytest.mark.parametrize("classes", [(2, 0), torch.tensor([2, 0]), np.array([2, 0]), [torch.tensor(2), np.int64(0)]])
def test_label_spaces_of_every_kind(classes: Any, lamm: Any) -> None:
    labels = torch.tensor([0, 2, 2, 0])
    found = lamm.losses(None, labels, image_features=features(), classes=classes)
    logits = lamm(features())[:, [2, 0]]
    assert torch.allclose(found["ce"], F.cross_entropy(logits, torch.tensor([1, 0, 0, 1])))
    assert torch.equal(found["total"], lamm.objective(lamm.output(features(), classes), labels)["total"])


def test_a_label_space_first_met_in_inference_mode_trains_later(tiny: Any) -> None:
    model, labels = build_model("lamm", tiny, [*NAMES, "three"]), torch.tensor([3, 1, 1, 3])
    with torch.inference_mode():
        before = model.losses(None, labels, image_features=features(), classes=[3, 1])
        model.objective(model.output(features()), labels, [3, 1])
    after = model.losses(None, labels, image_features=features(), classes=[3, 1])
    after["total"].backward()
    model.objective(model.output(features()), labels, [3, 1])["total"].backward()
    assert torch.equal(before["total"], after["total"])


def test_the_objective_asks_for_classes_that_the_output_has(lamm: Any) -> None:
    with pytest.raises(UsageError, match=r"class ids \[2\]: give some of \[0, 1\]"):
        lamm.objective(lamm.output(features(), [0, 1]), torch.tensor([0, 1, 1, 0]), [0, 1, 2])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (features(width=95), r"must be \(batch, 96\).*got \(4, 95\)"),
        (features()[0], r"must be \(batch, 96\).*got \(96,\)"),
        (features()[:, None], r"must be \(batch, 96\).*got \(4, 1, 96\)"),
        (torch.zeros(4, 3, 32, 32), "give them as images"),
        ((features() * 10).long(), r"floating-point numbers; got int64 \(4, 96\)"),
        (features() * 1.02, r"length 1, but theirs goes from 1.02 to 1.02: divide"),
        (torch.cat([features(3), torch.zeros(1, 96)]), "goes from 0 to 1"),
        (features() * torch.tensor([[1.0], [float("nan")], [1.0], [1.0]]), "hold NaN"),
        (features() + float("inf"), "or infinity"),
    ],
)
def test_bad_image_features(given: torch.Tensor, message: str, lamm: Any) -> None:
    with pytest.raises(UsageError, match=message):
        lamm.losses(None, LABELS, image_features=given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (features(width=95), r"must be \(batch, 96\)"),
        (features() * 10, "goes from 10 to 10"),
        (features()[0], r"\(batch, 3, H, W\), or image features \(batch, 96\); got \(96,\).*x\[None\]"),
        (torch.zeros(3, 32, 32), r"got \(3, 32, 32\): for a batch of one write x\[None\]"),
    ],
)
def test_bad_images(given: torch.Tensor, message: str, lamm: Any) -> None:
    with pytest.raises(UsageError, match=message):
        lamm(given)
    with pytest.raises(UsageError, match=message):
        lamm.losses(given, LABELS)


@pytest.mark.parametrize("given", [features(), features()[0], torch.zeros(4, 3, 32, 32)])
def test_image_features_do_not_replace_images_that_prompts_enter(given: torch.Tensor, tiny: Any) -> None:
    model = build_model("maple", tiny, NAMES)
    message = "give them as images" if given.dim() == 4 else "give images, not features"
    with pytest.raises(UsageError, match=message):
        model.losses(None, LABELS, image_features=given)
    with pytest.raises(UsageError, match=r"images must be \(batch, 3, H, W\); got \(3, 32, 32\)"):
        model(torch.zeros(3, 32, 32))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_rounded_features_have_length_1_still(dtype: torch.dtype, lamm: Any) -> None:
    for width in (8, 96, 4096):
        inputs._check_lengths(inputs.Expected("unit", width, "lamm"), features(64, width).to(dtype))
    assert torch.allclose(lamm(features().to(dtype)), lamm(features()), atol=0.5)


@pytest.mark.parametrize("method", method_names())
def test_an_empty_batch_has_logits_but_no_loss(method: str, tiny: Any) -> None:
    model = build_model(method, tiny, NAMES, **SMALL.get(method.split("+")[0], {}))
    empty = [torch.zeros(0, 3, *tiny.image_size)] + ([] if model.needs_images else [torch.zeros(0, 96)])
    for given in empty:
        output, logits = model.output(given, [2, 0]), model(given)
        assert logits.shape == (0, len(NAMES))
        assert output.logits.shape == (0, 2)
        if isinstance(output, PromptedOutput):
            assert not len(output.image)
            assert output.text.shape[0] == (0 if output.text.dim() == 4 else 2)
        with pytest.raises(UsageError, match="batch is empty"):
            model.losses(given, LABELS[:0])
        with pytest.raises(UsageError, match="batch is empty"):
            model.objective(output, LABELS[:0])
        if logits.requires_grad:
            logits.sum().backward()
            assert all(p.grad is None or not p.grad.any() for p in model.parameters())  # a NaN would be "any"


def test_no_value_is_read_from_a_device() -> None:
    """The meta device has no values: a look at one would fail here as it would wait on a GPU."""
    inputs.check_values(inputs.Expected("unit", 96, "lamm"), torch.zeros(4, 96, device="meta"))
    assert inputs.label_rows(torch.zeros(4, dtype=torch.long, device="meta"), (0, 2), 4).shape == (4,)
    assert inputs._row_table((0, 2), torch.device("cpu")).tolist() == [0, -1, 1]  # -1: no loss takes it as a target
