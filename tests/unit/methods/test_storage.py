"""A model from its file alone: it predicts, grows and learns on, without Avalanche."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import lamm_cl
from lamm_cl.errors import UsageError
from lamm_cl.methods.registry import get_method, method_names

NAMES = ["zero", "one", "two", "three"]
FEW: dict[str, dict[str, Any]] = {
    "coop": {"n_ctx": 4},
    "ranpac": {"M": 32},
    "acil": {"buffer_size": 32},
    "rail": {"hidden": 32},
    "tip_adapter": {"augment_epoch": 2, "search_step": (4, 3)},
    "tip_adapter_f": {"augment_epoch": 2, "search_step": (4, 3)},
}
RECIPE: dict[str, Any] = {"epochs": 1, "batch_size": 4}
METHODS = [name for name in method_names() if "+" not in name] + ["coop+lamm", "maple+lamm"]


def learn(model: Any, classes: list[int]) -> None:
    labels = torch.tensor(classes).repeat(4)
    images = torch.randn(len(labels), 3, *model.backbone.image_size, generator=torch.Generator().manual_seed(0))
    recipe = RECIPE if get_method(model.method).trains else {}
    lamm_cl.fit_stage(model, images, labels, val=(images, labels), test=(images, labels), **recipe)


@pytest.mark.parametrize("method", METHODS)
def test_a_file_alone_gives_the_model_back(method: str, tiny: Any, tmp_path: Path) -> None:
    templates = ["a photo of the digit {}."] * 3
    few = FEW.get(method.split("+")[0], {})
    model = lamm_cl.build_model(method, tiny, NAMES[:3], shots=4, seed=2, class_templates=templates, **few)
    learn(model, [0, 1])
    model.add_classes(NAMES[3:])
    learn(model, [2, 3])
    lamm_cl.save_learner(model, tmp_path / "m.safetensors")
    again = lamm_cl.load_model(tmp_path / "m.safetensors")
    images = torch.randn(3, 3, *tiny.image_size)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
    assert (again.method, again.class_names, again.stages) == (model.method, tuple(NAMES), [(0, 1), (2, 3)])
    assert again.built == model.built
    assert [n for n, p in again.named_parameters() if p.requires_grad] == [
        n for n, p in model.named_parameters() if p.requires_grad
    ]


def test_half_precision_comes_back(tiny: Any, tmp_path: Path) -> None:
    model = lamm_cl.build_model("coop", tiny, NAMES, half=True)
    lamm_cl.save_learner(model, tmp_path / "m.safetensors")
    again = lamm_cl.load_model(tmp_path / "m.safetensors")
    assert again.dtype == torch.float16
    assert again.backbone.fingerprint == model.backbone.fingerprint


def test_sentences_of_a_file_are_in_the_model(tiny: Any, tmp_path: Path) -> None:
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps({name: [f"a drawing of a {name}."] for name in NAMES}))
    model = lamm_cl.build_model("zero_shot", tiny, NAMES, text={"descriptions": str(texts)})
    lamm_cl.save_learner(model, tmp_path / "m.safetensors")
    images = torch.randn(3, 3, *tiny.image_size)
    before = model(images)
    texts.unlink()
    assert torch.equal(lamm_cl.load_model(tmp_path / "m.safetensors")(images), before)


def test_a_backbone_without_a_name_is_given(tiny: Any, tmp_path: Path) -> None:
    mine = lamm_cl.ClipBackbone(tiny.model, tiny.tokenizer, tiny.preprocess, name="mine")
    lamm_cl.save_learner(lamm_cl.build_model("coop", mine, NAMES), tmp_path / "m.safetensors")
    with pytest.raises(UsageError, match=r"load_model\(path, backbone\)"):
        lamm_cl.load_model(tmp_path / "m.safetensors")
    assert lamm_cl.load_model(tmp_path / "m.safetensors", mine).backbone is mine
    other = lamm_cl.load_clip("tiny", precision="fp64")
    with pytest.raises(UsageError, match="other weights"):
        lamm_cl.load_model(tmp_path / "m.safetensors", other)
    with pytest.raises(UsageError, match="not both"):
        lamm_cl.load_model(tmp_path / "m.safetensors", mine, device="cpu")


def test_a_model_of_squeezed_images_is_loaded_with_its_transform(tiny: Any, tmp_path: Path) -> None:
    squeezed = lamm_cl.load_clip("tiny", resize_mode="squash")
    lamm_cl.save_learner(lamm_cl.build_model("coop", squeezed, NAMES), tmp_path / "m.safetensors")
    again = lamm_cl.load_model(tmp_path / "m.safetensors").backbone
    assert again.source[1]["resize_mode"] == "squash"
    with pytest.raises(UsageError, match="in resize_mode 'squash': load the backbone with it"):
        lamm_cl.load_model(tmp_path / "m.safetensors", lamm_cl.load_clip("tiny"))


def test_growing_takes_four_lines_and_no_avalanche(tiny: Any, tmp_path: Path, python_elsewhere: Any) -> None:
    path = tmp_path / "m.safetensors"
    model = lamm_cl.build_model("lamm", tiny, NAMES[:2])
    learn(model, [0, 1])
    lamm_cl.save_learner(model, path)
    code = f"""
import sys
for name in [name for name in sys.modules if name.partition(".")[0] in ("lamm_cl", "avalanche")]:
    del sys.modules[name]
sys.modules["avalanche"] = None  # whoever imports it from here on fails
import torch, lamm_cl
images, labels = torch.randn(4, 3, 32, 32), torch.tensor([2, 3, 2, 3])
model = lamm_cl.load_model({str(path)!r})
model.add_classes(["two", "three"])
lamm_cl.fit_stage(model, images, labels, epochs=1)
lamm_cl.save_learner(model, {str(path)!r})
"""
    said = python_elsewhere(code)
    assert said.returncode == 0, said.stderr
    grown = lamm_cl.load_model(path)
    assert grown.class_names == tuple(NAMES)
    assert grown.stages == [(0, 1), (2, 3)]
    with torch.no_grad():
        images = torch.randn(2, 3, *tiny.image_size)
        assert torch.equal(grown.output(images, [0, 1]).logits, model(images))


def test_predicts_pictures_and_tensors_alike(tiny: Any) -> None:
    dataset = lamm_cl.load_dataset("digits")
    pictures = [dataset.open(item) for item in dataset.test[:3]]
    model = lamm_cl.build_model("zero_shot", tiny, dataset.class_names, class_templates=[dataset.template] * 10)
    found = lamm_cl.predict(model, pictures, top=2)
    assert found == lamm_cl.predict(model, torch.stack([tiny.preprocess(one) for one in pictures]), top=2)
    assert [len(row) for row in found] == [2, 2, 2]
    logits = model(torch.stack([tiny.preprocess(one) for one in pictures])).double().softmax(1)
    for row, expected in zip(found, logits, strict=True):
        assert row[0].class_name == dataset.class_names[int(expected.argmax())]
        assert row[0].probability == float(expected.max())
    assert lamm_cl.predict(model, []) == []


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda model, picture: lamm_cl.predict("model.safetensors", [picture]), "takes a model first"),
        (lambda model, picture: lamm_cl.predict(model, picture), "list of pictures"),
        (lambda model, picture: lamm_cl.predict(model, "a.png"), "list of pictures"),
        (lambda model, picture: lamm_cl.predict(model, [picture], top=0), "at least 1"),
        (lambda model, picture: lamm_cl.save_learner("x.safetensors", model), "takes a model first"),
    ],
)
def test_wrong_use_says_what_is_wanted(call: Any, said: str, tiny: Any) -> None:
    dataset = lamm_cl.load_dataset("digits")
    model = lamm_cl.build_model("zero_shot", tiny, NAMES)
    with pytest.raises(UsageError, match=said):
        call(model, dataset.open(dataset.test[0]))
