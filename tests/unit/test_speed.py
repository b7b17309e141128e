"""The speed suite compares like with like: its plain reference computes the same numbers, the long way."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import lamm_cl
from benchmarks.speed.floor import flops, peak_flops
from benchmarks.speed.measure import in_turn
from benchmarks.speed.products import PRODUCTS, recorded
from benchmarks.speed.reference import as_published, exact_step, published_step
from benchmarks.speed.steps import METHODS, built, names
from lamm_cl.clip.linear import FrozenLinear

CLASSES = ["red circle", "star", "green cross", "small blue square"]


@pytest.fixture(scope="module")
def backbone() -> lamm_cl.ClipBackbone:
    return lamm_cl.load_clip("tiny").to(dtype=torch.float64)


def batch(backbone: lamm_cl.ClipBackbone) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, *backbone.image_size, generator=generator, dtype=torch.float64)
    return images, F.normalize(backbone.encode_images(images), dim=-1), torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize("method", METHODS)
def test_reference_gives_the_engines_loss_and_gradients(method: str, backbone: lamm_cl.ClipBackbone) -> None:
    images, features, labels = batch(backbone)
    model = built(method, backbone, CLASSES)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".b"):  # a delta of zero would not show
                parameter.copy_(torch.linspace(-0.1, 0.1, parameter.numel()).view_as(parameter))
    results = []
    for exact in (True, False):
        model.zero_grad()
        loss = exact_step(model, images, features, labels) if exact else published_step(model, images, labels)
        results.append([loss, *(p.grad for p in model.parameters() if p.requires_grad and p.grad is not None)])
    assert len(results[0]) == len(results[1]) > 1
    for mine, plain in zip(*results, strict=True):
        assert float((mine - plain).norm()) <= 1e-9 * float(plain.norm())


def test_reference_runs_every_position_and_forgets_everything(backbone: lamm_cl.ClipBackbone) -> None:
    images, features, labels = batch(backbone)
    model = lamm_cl.build_model("lamm", backbone, class_names=CLASSES)
    seen: list[tuple[str, tuple[int, ...]]] = []
    towers = {"text": backbone.model.transformer.resblocks[0], "image": backbone.model.visual.transformer.resblocks[0]}
    hooks = [
        block.register_forward_pre_hook(lambda _, given, name=name: seen.append((name, tuple(given[0].shape[:2]))))
        for name, block in towers.items()
    ]
    for _ in range(2):
        published_step(model, images, labels)
    exact_step(model, images, features, labels)
    for hook in hooks:
        hook.remove()
    once = [("image", (4, 17)), ("text", (4, 77)), ("text", (4, 77))]  # learned and original names
    assert [sorted(seen[:3]), sorted(seen[3:])] == [once, once]


def test_reference_leaves_no_trace(backbone: lamm_cl.ClipBackbone) -> None:
    model = lamm_cl.build_model("align", backbone, class_names=CLASSES)
    text = backbone.text
    before = (text._engine, text.chunk, text._blocks, backbone.image, model.matching)
    with pytest.raises(ZeroDivisionError), as_published(model):
        raise ZeroDivisionError
    assert (text._engine, text.chunk, text._blocks, backbone.image, model.matching) == before


@pytest.mark.parametrize("count", [10, 47, 102, 1000])
def test_names_are_distinct(count: int) -> None:
    assert len(set(names(count))) == count


def test_products_are_counted_by_hand() -> None:
    x, weight = torch.randn(2, 5, 384), torch.randn(512, 384)
    assert flops(lambda: FrozenLinear(lambda: (weight, None))(x)) == 2 * 10 * 384 * 512
    assert flops(lambda: x[0] @ weight.t()) == 2 * 5 * 384 * 512
    q = torch.randn(2, 3, 7, 8, requires_grad=True)
    product = 2 * 2 * 3 * 7 * 7 * 8
    assert flops(lambda: F.scaled_dot_product_attention(q, q, q)) == 2 * product  # scores, and what they gather
    there_and_back = flops(lambda: F.scaled_dot_product_attention(q, q, q).sum().backward())
    assert there_and_back == (2 + 5) * product  # the scores once more, and the gradients of both products' factors
    assert peak_flops(64, 1) > 0


def test_ratio_is_that_of_the_best_repetitions() -> None:
    timing = in_turn(lambda: sum(range(300_000)), lambda: sum(range(1000)), 2)
    assert len(timing.reference) == 2
    assert len(timing.exact) == 6
    assert timing.ratio == min(timing.reference) / min(timing.exact)
    low, high = timing.spread
    assert 0 < low <= timing.ratio <= high


@pytest.mark.parametrize("method", ["lamm", "coop"])
def test_the_products_of_a_step_are_all_that_its_floor_counts(method: str) -> None:
    plain = lamm_cl.load_clip("tiny")
    model, labels = built(method, plain, CLASSES), torch.tensor([0, 1, 2, 3])
    images = torch.randn(4, 3, *plain.image_size, generator=torch.Generator().manual_seed(0))
    features = F.normalize(plain.encode_images(images), dim=-1)

    def step() -> Tensor:
        return exact_step(model, images, features, labels)

    step()
    assert flops(recorded(step, PRODUCTS)) == flops(step)
