"""What a model remembers never changes what it computes next."""

import pytest
import torch
from torch import Tensor

import lamm_cl
from lamm_cl.methods.prompted_clip import PromptedCLIP
from lamm_cl.prompts import text_side

METHODS = ["zero_shot", "coop", "cocoop", "lamm", "maple", "align", "cocoop+lamm", "maple+lamm", "align+lamm"]
NAMES = ["zero", "one", "two", "three"]


def made(method: str, backbone: lamm_cl.ClipBackbone | None = None) -> tuple[PromptedCLIP, Tensor, Tensor]:
    backbone = backbone or lamm_cl.load_clip("tiny")
    images = torch.randn(4, 3, *backbone.image_size, generator=torch.Generator().manual_seed(0))
    return lamm_cl.build_model(method, backbone, class_names=NAMES, shots=4), images, torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize("method", METHODS[1:])
def test_trains_after_an_evaluation_in_inference_mode(method: str) -> None:
    model, images, labels = made(method)
    with torch.inference_mode():
        model(images)
    model.losses(images, labels)["total"].backward()
    other, _, _ = made(method)
    other.losses(images, labels)["total"].backward()
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert mine.grad is not None
        assert torch.equal(mine.grad, theirs.grad)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("freeze", [False, True])
def test_another_number_type_is_computed_anew(method: str, freeze: bool) -> None:
    model, images, _ = made(method)
    if freeze:
        model.freeze_classes()
    with torch.no_grad():
        before = model(images)
        with torch.autocast("cpu", torch.bfloat16):
            model(images)
        assert torch.equal(model(images), before)


def test_label_spaces_drawn_at_every_step_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_side, "LAYOUTS", 2)
    model, images, labels = made("coop")
    whole = model.losses(images, labels)["total"]
    for space in [(0, 1), (1, 2), (2, 3), (3, 0)]:
        model.losses(images[list(space)], labels[list(space)], classes=space)
        assert len(model.text._layouts) <= 2
    assert torch.equal(model.losses(images, labels)["total"], whole)


def test_a_weight_that_is_written_to_is_read_again() -> None:
    model, images, _ = made("lamm")
    with torch.no_grad():
        before = model(images)
        model.backbone.model.transformer.resblocks[0].mlp.c_fc.weight.mul_(2)
        model.forget_features()
        after = model(images)
        model.backbone.text._engine._beginnings.clear()  # type: ignore[union-attr]
        model.forget_features()
        assert torch.equal(model(images), after)
    assert not torch.equal(before, after)
    model.backbone.model.transformer.resblocks[0].mlp.c_fc.weight.div_(2)


def test_moving_a_backbone_keeps_its_chunk() -> None:
    backbone = lamm_cl.load_clip("tiny")
    backbone.text.chunk = 3
    benchmark = lamm_cl.base_to_novel("digits", shots=1, seed=1)
    strategy = lamm_cl.build_strategy("coop", backbone, benchmark, device="cpu")
    assert strategy.model.backbone.text.chunk == 3


@pytest.mark.parametrize("method", ["align", "align+lamm", "maple", "lamm"])
@pytest.mark.parametrize("plain", [False, True])
def test_chunks_change_nothing(method: str, plain: bool) -> None:
    results = []
    for chunk in (0, 3):
        backbone = lamm_cl.load_clip("tiny").to(dtype=torch.float64)
        model, images, labels = made(method, backbone)
        backbone.text.chunk = chunk
        if plain:
            backbone.text._engine = None
        loss = model.losses(images.double(), labels)["total"]
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)


def test_chunks_of_align_keep_less_for_the_backward_pass() -> None:
    kept: dict[int, int] = {}
    for chunk in (0, 2):
        backbone = lamm_cl.load_clip("tiny")
        backbone.text.chunk = chunk
        names = [f"{a} {b}" for a in ("red", "blue", "green", "black") for b in ("circle", "square", "star", "cross")]
        model = lamm_cl.build_model("align", backbone, class_names=names)
        count = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal count
            count += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.text.encode(range(len(names)))  # type: ignore[arg-type]
        kept[chunk] = count
    assert kept[2] < kept[0] / 3
