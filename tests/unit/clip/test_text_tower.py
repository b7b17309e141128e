"""The exact text engine against open_clip's own encoder and against the plain path, in values and gradients."""

import copy
from typing import Any

import pytest
import torch

from lamm_cl.clip.prompts_layout import A_CALL, Layout, slot
from lamm_cl.clip.text_engine import Injection, _Padded
from lamm_cl.clip.text_tower import TextTower, _Given
from lamm_cl.errors import UsageError
from tests.unit.clip.text_models import F64, NAMES, TEXTS, bpe, learned, photos, prompts, text_model, text_tower


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-10 * b.abs().max())


@pytest.mark.parametrize("kind", ["quick", "gelu", "custom"])
def test_equals_the_library(kind: str) -> None:
    model = text_model(kind)
    found = text_tower(model)
    layout = photos(found)
    assert found.exact
    assert layout.shared == 5  # the start token and "a photo of a"
    assert close(found.encode(layout), model.encode_text(bpe()(TEXTS)))
    assert close(found.encode(layout, plain=True), model.encode_text(bpe()(TEXTS)))


def compared(found: TextTower, layout: Layout) -> None:
    """Compare the engine with the plain path in all that prompts may have beside them, values and gradients."""
    results, tokens = [], []
    for plain in (False, True):
        inputs = [learned(7), learned(2, 1), learned(2, 2), learned(6, 3)]
        vectors, *deep, contexts = inputs
        every = [
            found.encode(layout, vectors, deep, plain=plain),
            found.encode(layout, vectors, groups=contexts.view(3, 2, 32), plain=plain),
        ]
        read, seen = found.encode_tokens(layout, vectors, deep[:1], plain=plain)
        assert not seen.requires_grad
        loss = sum((one * torch.linspace(-1, 1, one.numel(), dtype=F64).view_as(one)).sum() for one in (*every, read))
        gradients = torch.autograd.grad(loss, inputs, allow_unused=True)  # type: ignore[arg-type]
        results.append([*every, read, *(one for one in gradients if one is not None)])
        tokens.append(seen)
    assert all(close(a, b) for a, b in zip(*results, strict=True))
    for i, stop in enumerate(layout.read.tolist()):
        assert close(*(seen[i, : stop + 1] for seen in tokens))


@pytest.mark.parametrize("call", [0, A_CALL], ids=["many buckets", "few buckets"])
@pytest.mark.parametrize("chunk", [None, 2, 3])
def test_engine_equals_plain_path(chunk: int | None, call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamm_cl.clip.prompts_layout.A_CALL", call)
    found = text_tower()
    found.chunk = chunk
    layout = prompts(found)
    assert (len(layout.buckets) > 2) == (call == 0)
    compared(found, layout)


@pytest.mark.parametrize("same", ["", "pug "])  # what all names begin with lies behind the vectors that come in
@pytest.mark.parametrize("count", [2, 4, 5])
@pytest.mark.parametrize("layer", [0, 1, 2, 3])
@pytest.mark.parametrize("chunk", [None, 2])
def test_vectors_of_each_class_come_in_between(same: str, count: int, layer: int, chunk: int | None) -> None:
    found = text_tower()
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
    found = text_tower()
    layout = found.layout([[*found.words.ids(f"a {name}")] for name in NAMES])
    tokens = learned(len(NAMES) * 3, 1).view(len(NAMES), 3, 32)
    assert found._path(layout, _Given(injection=Injection(1, tokens)), False)[1]  # the end of "a pug" is at position 3
    assert not found._path(layout, _Given(injection=Injection(1, tokens[:, :2])), False)[1]


def test_chunks_hold_few_prompts_at_once() -> None:
    found = text_tower()
    seen: list[int] = []
    run = found._engine._run  # type: ignore[union-attr]
    found._engine._run = lambda text, layout, *more: seen.append(layout.n) or run(text, layout, *more)  # type: ignore
    found.chunk = 2
    vectors = learned(7)
    found.encode(prompts(found), vectors).sum().backward()
    assert seen == [2, 2, 1] * 2 or seen[:3] == [2, 2, 1]  # forward, then again in the backward pass
    assert len(seen) == 6


def test_half_precision_weights_keep_their_type() -> None:
    found = text_tower(copy.deepcopy(text_model()).float())
    assert found.encode(prompts(found), learned(7).float()).dtype == torch.float32


def test_image_conditioned_contexts() -> None:
    found = text_tower()
    layout, vectors = prompts(found), learned(7)
    contexts = torch.stack([learned(2, seed) for seed in range(3)])
    engine = found.encode(layout, vectors, groups=contexts)
    assert engine.shape == (3, len(NAMES), 32)
    assert close(engine[1], found.encode(layout, torch.cat([contexts[1], vectors[2:]])))


def test_prompts_that_share_nothing_take_the_plain_path_for_deep_prompts() -> None:
    found = text_tower()
    compared(found, found.layout([[slot(i), *found.words.ids(name)] for i, name in enumerate(NAMES)]))


def test_towers_without_causal_mask_fall_back_and_say_so() -> None:
    model = text_model("custom", no_causal_mask=True, pool_type="last")
    found = text_tower(model)
    assert not found.exact
    assert "not causal" in found.why_plain
    assert close(found.encode(photos(found)), model.encode_text(bpe()(TEXTS)))


@pytest.mark.parametrize("changes", [{}, {"no_causal_mask": True, "pool_type": "last"}], ids=["exact", "plain"])
def test_a_layout_first_met_in_inference_mode_trains_later(changes: dict[str, Any]) -> None:
    found = text_tower(text_model("custom", **changes))
    layout, vectors = prompts(found), learned(7)
    with torch.inference_mode():
        found.encode(layout, vectors)
    found.encode(layout, vectors).sum().backward()
    assert vectors.grad is not None


def test_too_long_prompt_is_refused() -> None:
    found = text_tower()
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
    found = text_tower()
    calls: list[int] = []
    original = found._engine._beginning  # type: ignore[union-attr]
    found._engine._beginning = lambda text: calls.append(1) or original(text)  # type: ignore
    layout = photos(found)
    for _ in range(3):
        found.encode(layout)
    assert len(calls) == 1
    found.encode(prompts(found), learned(7))
    assert len(calls) == 1  # what is learned runs with the rest


def test_gradients_of_padded_forms_are_read_and_not_summed() -> None:
    layout = Layout.of([[1, *range(2, 3 + length)] for length in (1, 2, 11, 12) * 40], window=16)
    buckets, rows = layout.buckets, [bucket.padded for bucket in layout.buckets]
    assert len(buckets) > 1
    places = layout.packed
    assert places is not None
    weight = [torch.randn(len(bucket.padded) // bucket.widest, bucket.widest, 4) for bucket in buckets]
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
