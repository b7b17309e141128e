"""The exact text engine against open_clip's own encoder and against the plain path, in values and gradients."""

from functools import cache
from typing import Any

import open_clip
import pytest
import torch

from lamm_cl.clip.prompts_layout import Layout, slot
from lamm_cl.clip.text_engine import Injection, _Padded, _Places
from lamm_cl.clip.text_tower import TextTower, _Given
from lamm_cl.errors import UsageError

TEXT = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3}
VISION = {"image_size": 16, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16}
NAMES = ["pug", "american bulldog", "staffordshire bull terrier", "wheaten terrier", "C++"]


def tower(kind: str = "quick", **changes: Any) -> tuple[Any, Any, TextTower]:
    torch.manual_seed(0)
    config = {**TEXT, **changes}
    if kind == "custom":
        model: Any = open_clip.CustomTextCLIP(32, VISION, config)
    else:
        model = open_clip.CLIP(32, VISION, config, quick_gelu=kind == "quick")
    model = model.double().eval().requires_grad_(False)
    return model, bpe(), TextTower(model, bpe())


@cache
def bpe() -> Any:
    return open_clip.SimpleTokenizer(context_length=20)


def prompts(found: TextTower, label: bool = True) -> Layout:
    """[c0][c1] of a [label] NAME. with learned vectors in the beginning and in each rest."""
    words = found.words
    bodies = []
    for i, name in enumerate(NAMES):
        mine = [slot(2 + i)] if label else []
        bodies.append([slot(0), slot(1), *words.ids("of a"), *mine, *words.ids(name + ".")])
    return found.layout(bodies)


def learned(rows: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(rows, 32, generator=generator, dtype=torch.float64) * 0.1).requires_grad_()


def both(found: TextTower, layout: Layout, **options: Any) -> list[list[torch.Tensor]]:
    """Features and gradients by the engine and by the plain path."""
    results = []
    for plain in (False, True):
        vectors, deep = learned(7), [learned(2, 1), learned(2, 2)]
        features = found.encode(layout, vectors, deep, plain=plain, **options)
        (features * torch.linspace(-1, 1, features.numel(), dtype=torch.float64).view_as(features)).sum().backward()
        results.append([features.detach(), vectors.grad, *(d.grad for d in deep)])
    return results


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-10 * b.abs().max())


@pytest.mark.parametrize("kind", ["quick", "gelu", "custom"])
def test_equals_the_library(kind: str) -> None:
    model, tokenizer, found = tower(kind)
    texts = [f"a photo of a {name}." for name in NAMES]
    layout = found.layout([found.words.ids(text) for text in texts])
    assert found.exact
    assert layout.shared == 5  # the start token and "a photo of a"
    assert close(found.encode(layout), model.encode_text(tokenizer(texts)))
    assert close(found.encode(layout, plain=True), model.encode_text(tokenizer(texts)))


@pytest.mark.parametrize("chunk", [None, 2])
def test_engine_equals_plain_path_with_gradients(chunk: int | None) -> None:
    _, _, found = tower()
    found.chunk = chunk
    engine, plain = both(found, prompts(found))
    assert all(close(a, b) for a, b in zip(engine, plain, strict=True))


@pytest.mark.parametrize("chunk", [None, 3])
def test_prompts_of_like_lengths_attend_together(chunk: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamm_cl.clip.prompts_layout.A_CALL", 0)  # as many groups as there may be
    _, _, found = tower()
    found.chunk = chunk
    layout = prompts(found)
    assert len(layout.buckets) > 2
    engine, plain = both(found, layout)
    assert all(close(a, b) for a, b in zip(engine, plain, strict=True))
    contexts = torch.stack([learned(2, seed) for seed in range(3)])
    features = found.encode(layout, learned(7), groups=contexts)
    assert close(features, found.encode(layout, learned(7), groups=contexts, plain=True))
    every, plain_every = (found.encode_tokens(layout, learned(7), [learned(2, 1)], plain=p)[1] for p in (False, True))
    for i, stop in enumerate(layout.read.tolist()):
        assert close(every[i, : stop + 1], plain_every[i, : stop + 1])


@pytest.mark.parametrize("same", ["", "pug "])  # what all names begin with lies behind the vectors that come in
@pytest.mark.parametrize("count", [2, 4, 5])
@pytest.mark.parametrize("layer", [0, 1, 2, 3])
@pytest.mark.parametrize("chunk", [None, 2])
def test_vectors_of_each_class_come_in_between(same: str, count: int, layer: int, chunk: int | None) -> None:
    _, _, found = tower()
    found.chunk = chunk
    bodies = [[slot(0), slot(1), *found.words.ids(f"of a {same}{name}.")] for name in NAMES]
    layout, results = found.layout(bodies), []
    assert layout.shared == 5 + bool(same)
    for plain in (False, True):
        vectors = learned(2)
        tokens = learned(len(NAMES) * count, 1).view(len(NAMES), count, 32).detach().requires_grad_()
        features = found.encode(layout, vectors, plain=plain, injection=Injection(layer, tokens))
        (features * torch.linspace(-1, 1, features.numel(), dtype=torch.float64).view_as(features)).sum().backward()
        results.append([features.detach(), *(v.grad for v in (vectors, tokens) if v.grad is not None)])
    assert len(results[0]) == len(results[1]) == (3 if layer < 3 else 2)  # a tower of three layers has no fourth
    # Without gradient where all that was learned is replaced before the first layer: then it is zero, not missing.
    assert all(bool((a - b).abs().max() <= 1e-10 * b.abs().max()) for a, b in zip(*results, strict=True))


def test_vectors_that_reach_the_end_take_the_plain_path() -> None:
    _, _, found = tower()
    layout = found.layout([[*found.words.ids(f"a {name}")] for name in NAMES])
    tokens = learned(len(NAMES) * 3, 1).view(len(NAMES), 3, 32)
    assert found._path(layout, _Given(injection=Injection(1, tokens)), False)[1]  # the end of "a pug" is at position 3
    assert not found._path(layout, _Given(injection=Injection(1, tokens[:, :2])), False)[1]


def test_chunks_hold_few_prompts_at_once() -> None:
    _, _, found = tower()
    seen: list[int] = []
    run = found._engine._run  # type: ignore[union-attr]
    found._engine._run = lambda text, layout, beginning: seen.append(layout.n) or run(text, layout, beginning)  # type: ignore
    found.chunk = 2
    vectors = learned(7)
    found.encode(prompts(found), vectors).sum().backward()
    assert seen == [2, 2, 1] * 2 or seen[:3] == [2, 2, 1]  # forward, then again in the backward pass
    assert len(seen) == 6


def test_half_precision_weights_keep_their_type() -> None:
    model, tokenizer, _ = tower()
    found = TextTower(model.float(), tokenizer)
    assert found.encode(prompts(found), learned(7).float()).dtype == torch.float32


def test_image_conditioned_contexts() -> None:
    _, _, found = tower()
    layout, vectors = prompts(found), learned(7)
    contexts = torch.stack([learned(2, seed) for seed in range(3)])
    engine = found.encode(layout, vectors, groups=contexts)
    assert engine.shape == (3, len(NAMES), 32)
    assert close(engine, found.encode(layout, vectors, groups=contexts, plain=True))
    single = found.encode(layout, torch.cat([contexts[1], vectors[2:]]))
    assert close(engine[1], single)


@pytest.mark.parametrize("chunk", [None, 2])
def test_every_token_without_gradient(chunk: int | None) -> None:
    _, _, found = tower()
    found.chunk = chunk
    layout = prompts(found)
    results = []
    for plain in (False, True):
        vectors, deep = learned(7), learned(2, 1)
        features, tokens = found.encode_tokens(layout, vectors, [deep], plain=plain)
        assert not tokens.requires_grad
        (features * torch.linspace(-1, 1, features.numel(), dtype=torch.float64).view_as(features)).sum().backward()
        results.append((features.detach(), vectors.grad, deep.grad, tokens))
    assert all(close(a, b) for a, b in zip(results[0][:3], results[1][:3], strict=True))
    for i, stop in enumerate(layout.read.tolist()):
        assert close(results[0][3][i, : stop + 1], results[1][3][i, : stop + 1])


def test_prompts_that_share_nothing_take_the_plain_path_for_deep_prompts() -> None:
    _, _, found = tower()
    bodies = [[slot(i), *found.words.ids(name)] for i, name in enumerate(NAMES)]
    engine, plain = both(found, found.layout(bodies))
    assert all(close(a, b) for a, b in zip(engine, plain, strict=True))


def test_towers_without_causal_mask_fall_back_and_say_so() -> None:
    model, tokenizer, found = tower("custom", no_causal_mask=True, pool_type="last")
    assert not found.exact
    assert "not causal" in found.why_plain
    texts = [f"a photo of a {name}." for name in NAMES]
    layout = found.layout([found.words.ids(text) for text in texts])
    assert close(found.encode(layout), model.encode_text(tokenizer(texts)))


def test_eos_pooling() -> None:
    model, tokenizer, found = tower("custom", pool_type="eos", eos_id=49407)
    texts = [f"a photo of a {name}." for name in NAMES]
    layout = found.layout([found.words.ids(text) for text in texts])
    assert found.exact
    assert close(found.encode(layout), model.encode_text(tokenizer(texts)))


def test_too_long_prompt_is_refused() -> None:
    _, _, found = tower()
    with pytest.raises(UsageError, match="longer than the text window of 20"):
        found.layout([[320] * 30])


def test_layout_shares_what_all_prompts_share_but_the_end() -> None:
    layout = Layout.of([[1, 2, 3, 9], [1, 2, 4, 5, 9]], window=8)
    assert layout.prefix.tolist() == [1, 2]
    assert layout.suffix.tolist() == [3, 9, 4, 5, 9]
    assert layout.last.tolist() == [1, 4]
    assert layout.read.tolist() == [3, 4]
    assert layout.position.tolist() == [2, 3, 2, 3, 4]
    assert layout.codes.tolist() == [[1, 2, 3, 9, 0, 0, 0, 0], [1, 2, 4, 5, 9, 0, 0, 0]]
    assert Layout.of([[1, 2, 9]], window=8).prefix.tolist() == [1, 2]


def test_fixed_beginning_is_computed_once() -> None:
    _, _, found = tower()
    calls: list[int] = []
    original = found._engine._beginning  # type: ignore[union-attr]
    found._engine._beginning = lambda text: calls.append(1) or original(text)  # type: ignore
    layout = found.layout([found.words.ids(f"a photo of a {name}.") for name in NAMES])
    for _ in range(3):
        found.encode(layout)
    assert len(calls) == 1
    found.encode(prompts(found), learned(7))
    assert len(calls) == 1  # what is learned runs with the rest


def test_gradients_of_padded_forms_are_read_and_not_summed() -> None:
    layout = Layout.of([[1, *range(2, 3 + length)] for length in (1, 2, 11, 12) * 40], window=16)
    buckets, rows = layout.buckets, [bucket.padded for bucket in layout.buckets]
    assert len(buckets) > 1
    places = _Places.of(layout, 1).packed
    assert places is not None
    weight = [torch.randn(bucket.count, bucket.widest, 4) for bucket in buckets]
    for one, bucket in zip(weight, buckets, strict=True):  # places behind a prompt's end are not read
        one.view(-1, 4)[torch.ones(len(bucket.padded), dtype=torch.bool).index_fill(0, bucket.places, value=False)] = 0
    found = []
    for pad in (lambda x: _Padded.apply(x, places, *rows), lambda x: [x.index_select(0, one) for one in rows]):
        x = torch.randn(len(layout.suffix), 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
        loss = sum((one.flatten() ** 3 @ more.flatten()) for one, more in zip(pad(x), weight, strict=True))
        (first,) = torch.autograd.grad(loss, x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
        found.append((first, second))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
