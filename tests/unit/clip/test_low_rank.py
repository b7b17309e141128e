"""Low-rank deltas in either tower against the same deltas merged into a copy of the weights, values and gradients."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lamm_cl.clip import text_engine
from lamm_cl.clip.image_tower import ImageTower
from lamm_cl.clip.low_rank import MATRICES, Deltas, LowRank, drops
from lamm_cl.errors import UsageError
from tests.unit.clip.image_models import TOWERS, images, tower_prompts
from tests.unit.clip.text_models import F64, TEXTS, bpe, learned, photos, prompts, text_model, text_tower

CHOICES = {"q": ["q"], "k": ["k"], "v": ["v"], "k and v": ["k", "v"], "q, k, v": ["q", "k", "v"], "all": list(MATRICES)}


def deltas(shapes: Any, dtype: torch.dtype = F64) -> dict[int, dict[str, LowRank]]:
    """Deltas with drawn values that train."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return (torch.randn(*shape, generator=generator, dtype=F64) * 0.2).to(dtype).requires_grad_()

    return {
        layer: {name: LowRank(draw(2, inputs), draw(outputs, 2), 0.7) for name, (outputs, inputs) in named.items()}
        for layer, named in shapes.items()
    }


def merged(model: Any, tower: str, given: Deltas) -> Any:
    """A copy of the model whose weights are W + s B A, with gradients to A and B."""
    model = copy.deepcopy(model)
    blocks = model.visual.transformer.resblocks if tower == "image" else model.transformer.resblocks
    for layer, named in given.items():
        block = blocks[layer]
        width = block.attn.embed_dim
        places = {"o": block.attn.out_proj, "c_fc": block.mlp.c_fc, "c_proj": block.mlp.c_proj}
        sums = {name: low.scale * low.b @ low.a for name, low in named.items()}
        whole = [sums.get(name, torch.zeros(width, width, dtype=F64)) for name in ("q", "k", "v")]
        put(block.attn, "in_proj_weight", block.attn.in_proj_weight.detach() + torch.cat(whole))
        for name in set(sums) & set(places):
            put(places[name], "weight", places[name].weight.detach() + sums[name])
    return model


def put(module: Any, name: str, value: Tensor) -> None:
    del module._parameters[name]
    setattr(module, name, value)


def parts_of(given: Deltas) -> list[Tensor]:
    return [part for named in given.values() for low in named.values() for part in (low.a, low.b)]


def same(ours: Tensor, theirs: Tensor, inputs: list[Tensor]) -> None:
    """Compare values and gradients."""
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(3), dtype=F64)
    found, expected = (torch.autograd.grad((out * weight).sum(), inputs, retain_graph=True) for out in (ours, theirs))
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() <= 1e-10 * b.norm()


# -- text ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("choice", CHOICES)
def test_text_engine_is_that_of_merged_weights(choice: str, chunk: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamm_cl.clip.prompts_layout.A_CALL", 0)  # as many groups of like lengths as there may be
    model = text_model()
    tower, vectors = text_tower(model), learned(7)
    tower.chunk = chunk
    given = deltas(tower.matrices(CHOICES[choice]))
    layout = prompts(tower)
    assert layout.shared > 4
    assert len(layout.buckets) > 2
    other = text_tower(merged(model, "text", given))
    same(
        tower.encode(layout, vectors, deltas=given),
        other.encode(layout, vectors, plain=True),
        [vectors, *parts_of(given)],
    )


@pytest.mark.parametrize("layers", [[0], [2], [0, 2], [1]])
def test_some_layers_of_the_text_tower(layers: list[int]) -> None:
    model = text_model()
    tower = text_tower(model)
    given = deltas(tower.matrices(["q", "k", "v", "o"], layers))
    assert sorted(given) == layers
    layout = photos(tower)
    before = tower.encode(layout)
    tokens = bpe()(TEXTS)
    same(tower.encode(layout, deltas=given), merged(model, "text", given).encode_text(tokens), parts_of(given))
    assert torch.equal(tower.encode(layout), before)  # nothing of it stays in the tower


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("chunk", [None, 3])
def test_deltas_beside_deep_prompts_contexts_of_images_and_token_features(chunk: int | None, plain: bool) -> None:
    model = text_model()
    tower = text_tower(model)
    given = deltas(tower.matrices(MATRICES))
    other = text_tower(merged(model, "text", given))
    tower.chunk = other.chunk = chunk
    layout, vectors, deep = prompts(tower), learned(7), [learned(2, 1), learned(2, 2)]
    inputs = [vectors, *deep, *parts_of(given)]
    same(
        tower.encode(layout, vectors, deep, plain=plain, deltas=given),
        other.encode(layout, vectors, deep, plain=True),
        inputs,
    )
    contexts = torch.stack([learned(2, seed) for seed in range(3)]).detach().requires_grad_()
    ours = tower.encode(layout, vectors, groups=contexts, plain=plain, deltas=given)
    same(ours, other.encode(layout, vectors, groups=contexts, plain=True), [contexts, *parts_of(given)])
    read, tokens = tower.encode_tokens(layout, vectors, deep, plain=plain, deltas=given)
    expected, every = other.encode_tokens(layout, vectors, deep, plain=True)
    same(read, expected, inputs)
    assert not tokens.requires_grad
    for i, stop in enumerate(layout.read.tolist()):
        torch.testing.assert_close(tokens[i, : stop + 1], every[i, : stop + 1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("padding", [False, True])
def test_towers_that_the_engine_does_not_fit(padding: bool) -> None:
    model = copy.deepcopy(text_model("custom", no_causal_mask=True, pool_type="last"))
    model.text.use_pad_mask = padding  # one mask a sequence and head
    tower = text_tower(model)
    given = deltas(tower.matrices(MATRICES))
    layout = photos(tower)
    plain = tower.encode(layout, deltas=given, plain=True)
    copied = copy.deepcopy(model)
    copied.text = merged(model.text, "text", given)
    same(plain, copied.encode_text(bpe()(TEXTS)), parts_of(given))
    torch.testing.assert_close(tower.encode(layout, deltas=given), plain, rtol=1e-10, atol=1e-12)


def test_a_beginning_with_deltas_is_not_remembered() -> None:
    tower = text_tower()
    given = deltas(tower.matrices(["k"]))
    layout = photos(tower)
    first = tower.encode(layout, deltas=given).detach()
    with torch.no_grad():
        given[0]["k"].b.mul_(2)
    assert not torch.allclose(tower.encode(layout, deltas=given), first)


# -- images --------------------------------------------------------------------------------------------------------

KINDS = ("GELU", "QuickGELU", "averaged", "layer scale", "attention pool")


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("kind", KINDS)
def test_image_tower_is_that_of_merged_weights(kind: str, choice: str, small: Callable[..., Any]) -> None:
    model = small(**TOWERS[kind]).eval().requires_grad_(False).double()
    tower = ImageTower(model)
    x, given = images(tower), deltas(tower.matrices(CHOICES[choice]))
    before = tower(x)
    found = tower(x, deltas=given)
    assert isinstance(found, Tensor)
    same(found, merged(model, "image", given).encode_image(x), parts_of(given))
    assert torch.equal(tower(x), before)
    assert not tower(x).requires_grad


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("layers", [None, [1]])
@pytest.mark.parametrize("several", [False, True])
def test_deltas_beside_prompts_in_the_image_tower(
    several: bool, layers: list[int] | None, depth: int, small: Callable[..., Any]
) -> None:
    model = small().eval().requires_grad_(False).double()
    tower = ImageTower(model)
    given = deltas(tower.matrices(MATRICES, layers))
    other = ImageTower(merged(model, "image", given))
    x, shape = images(tower), (6, 2) if several else (2,)
    sets = [tower_prompts(tower, *shape, seed=seed) for seed in range(depth)]
    found, tokens = tower(x, sets[0], sets[1:], tokens=True, deltas=given)
    expected, every = other(x, sets[0], sets[1:], tokens=True)
    same(found, expected, [*sets, *parts_of(given)])
    torch.testing.assert_close(tokens, every, rtol=1e-10, atol=1e-12)


# -- what is dropped -----------------------------------------------------------------------------------------------


def dropping(given: dict[int, dict[str, LowRank]], step: int = 0, rate: float = 0.3) -> dict[int, dict[str, LowRank]]:
    return {
        layer: {n: LowRank(low.a, low.b, low.scale, rate, (step, layer, n)) for n, low in named.items()}
        for layer, named in given.items()
    }


def test_what_is_dropped_is_a_function_of_names() -> None:
    x, low = torch.ones(200, 300), LowRank(torch.zeros(0), torch.zeros(0), 1.0, 0.25, ("a", 1))
    dropped = low.dropped(x)
    assert torch.equal(dropped, low.dropped(x))
    assert not torch.equal(dropped, replace(low, names=("a", 2)).dropped(x))
    assert set(dropped.unique().tolist()) == {0.0, 1.0}
    assert abs(float(dropped.mean()) - 0.75) < 0.01


def test_the_engine_drops_in_the_deltas_input_alone(monkeypatch: pytest.MonkeyPatch, small: Callable[..., Any]) -> None:
    """With draws that are the same in every row, dropping inputs is dropping columns of A."""

    def columns(self: LowRank, x: Tensor) -> Tensor:
        return x * kept(self.names[:3], x.shape[-1]) if self.rate else x

    def kept(names: Any, width: int) -> Tensor:
        generator = torch.Generator().manual_seed(sum(map(ord, repr(names))))
        return (torch.rand(width, generator=generator) > 0.3).to(F64)

    monkeypatch.setattr(LowRank, "dropped", columns)
    model = text_model()
    tower = text_tower(model)
    vision = ImageTower(small().eval().requires_grad_(False).double())
    for name, encode, shapes in (
        ("text", lambda given: tower.encode(prompts(tower), learned(7), deltas=given), tower.matrices(MATRICES)),
        (
            "plain",
            lambda given: tower.encode(prompts(tower), learned(7), deltas=given, plain=True),
            tower.matrices(MATRICES),
        ),
        ("image", lambda given: vision(images(vision), deltas=given), vision.matrices(MATRICES)),
        ("beside", lambda given: vision(images(vision), *beside(vision), deltas=given), vision.matrices(MATRICES)),
    ):
        given = dropping(deltas(shapes))
        fewer = {
            layer: {
                n: LowRank(low.a * kept((0, layer, n), low.a.shape[1]), low.b, low.scale / 0.7)
                for n, low in named.items()
            }
            for layer, named in given.items()
        }
        found, expected = encode(given), encode(fewer)
        assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12), name


def beside(tower: ImageTower) -> tuple[Tensor, list[Tensor]]:
    return tower_prompts(tower, 2), [tower_prompts(tower, 2, seed=4)]


def test_every_prompt_drops_for_itself() -> None:
    tower = text_tower()
    given = deltas(tower.matrices(["q", "k", "v"]))
    layout = tower.layout([tower.words.ids("a photo of a pug.")] * 3)
    alike = tower.encode(layout, deltas=given)
    assert torch.allclose(alike[0], alike[1], rtol=0, atol=1e-12)
    assert drops(dropping(given))
    assert not drops(given)
    unlike = tower.encode(layout, deltas=dropping(given))
    again = tower.encode(layout, deltas=dropping(given))
    assert torch.equal(unlike, again)
    assert not torch.allclose(unlike[0], unlike[1], rtol=0, atol=1e-6)
    assert not torch.allclose(unlike[0], tower.encode(layout, deltas=dropping(given, step=1))[0], rtol=0, atol=1e-6)
    every = tower.encode_tokens(layout, deltas=dropping(given))[1]
    assert not torch.allclose(every[0, 0], every[1, 0], rtol=0, atol=1e-6)  # the start token too
    assert tower.same_tokens(layout, deltas=dropping(given)) == 0
    assert tower.same_tokens(layout, deltas=given) > 0


def test_chunks_drop_the_same_when_they_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tower = text_tower()
    tower.chunk = 2
    given = dropping(deltas(tower.matrices(["q", "k", "v"])))
    found = []
    for again in (True, False):
        if not again:
            monkeypatch.setattr(text_engine, "recomputed", lambda call, *arguments: call(*arguments))
        features = tower.encode(prompts(tower), learned(7), deltas=given)
        found.append(torch.autograd.grad(features.square().sum(), parts_of(given)))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    alike = tower.layout([tower.words.ids("a photo of a pug.")] * 4)
    features = tower.encode(alike, deltas=given)
    assert not torch.allclose(features[0], features[2], rtol=0, atol=1e-6)  # the same place in another chunk


def test_the_mean_over_draws_is_the_product_without() -> None:
    generator = torch.Generator().manual_seed(0)
    x, a, b = (torch.randn(*shape, generator=generator, dtype=F64) for shape in ((4, 50), (2, 50), (6, 2)))
    from lamm_cl.clip.low_rank import plus

    zero = torch.zeros(4, 6, dtype=F64)
    draws = [plus(zero, x, [LowRank(a, b, 0.5, 0.25, (i,))]) for i in range(1500)]
    expected = plus(zero, x, [LowRank(a, b, 0.5)])
    torch.testing.assert_close(expected, 0.5 * x @ a.T @ b.T)
    assert (torch.stack(draws).mean(0) - expected).abs().max() < 0.08 * expected.abs().max()


# -- number types, wrong use ---------------------------------------------------------------------------------------


def test_half_precision_weights_and_autocast_keep_the_deltas_type(small: Callable[..., Any]) -> None:
    from lamm_cl.clip.precision import cast

    model = small().eval().requires_grad_(False)
    tower = ImageTower(model)
    given = deltas(tower.matrices(MATRICES))
    given = deltas(tower.matrices(MATRICES), dtype=torch.float32)
    x = images(tower).float()
    expected = tower(x, deltas=given)
    assert isinstance(expected, Tensor)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(tower(x, deltas=given).float(), expected, rtol=0.1, atol=0.1)  # type: ignore[union-attr]
    cast(model, torch.bfloat16)
    out = ImageTower(model)(x.bfloat16(), deltas=given)
    assert isinstance(out, Tensor)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=0.1, atol=0.1)
    out.float().sum().backward()
    assert all(part.grad is not None and part.grad.dtype == torch.float32 for part in parts_of(given))


def test_wrong_use_is_named(small: Callable[..., Any]) -> None:
    tower = ImageTower(small().eval().requires_grad_(False))
    with pytest.raises(UsageError, match=r"unknown matrix 'w'"):
        tower.matrices(["w"])
    with pytest.raises(UsageError, match="has layers 0 to 2, no layer 3"):
        tower.matrices(["q"], [3])
    with pytest.raises(UsageError, match="ModifiedResNet takes no low-rank deltas: use deltas in the text tower"):
        ImageTower(small(**TOWERS["ResNet"])).matrices(["q"])
    with pytest.raises(UsageError, match="this image tower has others"):
        ImageTower(small(**TOWERS["custom blocks"])).matrices(["q"])
    with pytest.raises(UsageError, match="this text tower has others"):
        text_tower(text_model("custom", qk_norm=True)).matrices(["q"])
