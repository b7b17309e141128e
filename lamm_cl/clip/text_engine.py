"""The exact text engine: causal prompts that share a beginning, without the work that nobody reads.

Three facts make it exact. A causal tower's output at a position depends on nothing behind it, so a prompt ends at the
token that is read. All prompts begin alike, so the beginning's keys and values are computed once, and each prompt's
rest attends to them. And the last layer is only read at one position of each prompt.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lamm_cl.clip.blocks import FrozenBlock, each
from lamm_cl.clip.linear import writes
from lamm_cl.clip.low_rank import NONE, Delta, Deltas, at
from lamm_cl.clip.precision import number_type
from lamm_cl.clip.prompts_layout import Bucket, Layout

KeyValue = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Injection:
    """Vectors that replace the same positions of every prompt before one layer, each prompt's its own."""

    layer: int  # counted from 0; a tower with fewer layers never meets them
    tokens: Tensor  # (n, m, D); they replace positions start..start+m-1

    def of(self, layout: Layout) -> "Injection":
        """Return those of the prompts of a layout, which may be some of more."""
        return replace(self, tokens=self.tokens[layout.first : layout.first + layout.n])

    def into(self, x: Tensor, layout: Layout, start: int) -> tuple[Tensor, Layout]:
        """Put the vectors into rows (P + T, D); from here on prompts share no more than what stands before them.

        Returns the rows as the following layers have them, and their layout.
        """
        keep = min(start, layout.shared)
        opened, rows = layout.opened(keep)
        x = torch.cat([x[:keep], x.index_select(0, rows)])
        along = torch.arange(start, start + self.tokens.shape[1], device=x.device)  # keep + starts + (position - keep)
        places = (opened.starts[:, None] + along[None]).flatten()
        return x.index_copy(0, places, self.tokens.flatten(0, 1).to(x.dtype)), opened


@dataclass(frozen=True)
class PackedText:
    """A batch of prompts as the engine takes it, without positional embeddings.

    An image-conditioned context has one group of prompts an image, everything else G = 1. What deltas drop is dropped
    anew in every row, so that then nothing may be shared (P = 0). With an `injection`, G = 1 and there is no `deep`:
    before its layer the beginning is shared as ever; from it on, what stands behind the start token depends on the
    class, so that each prompt has keys and values of its own there, and only the start token's are shared.
    """

    prefix: Tensor  # (G, P, D) the shared beginning, one for each group of prompts
    suffix: Tensor  # (T, D) the packed rest, the same in every group
    deep: Sequence[Tensor]  # vectors (m, D) that replace positions start..start+m-1 before layer 1, 2, ...
    start: int  # first position that `deep` and `injection` replace
    constant: tuple[int, ...] | None  # names the beginning when nothing learned is in it, so that it is computed once
    deltas: Deltas
    injection: Injection | None

    def delta(self, layer: int, layout: Layout) -> Delta:
        """Return the deltas of a layer for the prompts of a layout."""
        return at(self.deltas.get(layer, NONE), layout.first)


@dataclass(frozen=True)
class Beginning:
    """What each prompt's rest attends to of the shared beginning."""

    seen: list[KeyValue]  # keys and values (G, h, P, d) of each layer but the last
    last: Tensor  # (G, P, D) normalised tokens before the last layer, which is read at one position only


class TextEngine:
    """Runs packed prompts through the layers of a causal text tower with positional embeddings (window, D)."""

    def __init__(self, blocks: Sequence[FrozenBlock], positional: Tensor) -> None:
        self.blocks = blocks
        self.positional = positional
        self._beginnings: dict[object, Beginning] = {}
        self._changes = 0  # how often the weights had been written to when these were run

    def run(self, text: PackedText, layout: Layout, chunk: int | None = None, every: int = 0) -> tuple[Tensor, Tensor]:
        """Compute the residual stream (G, n, D) at the token that is read, before the final normalisation.

        With a `chunk`, so many prompts are in memory at once; with gradients, a chunk is computed again in the backward
        pass. Second comes, without gradient and for one group only, the stream at `every` first tokens (n, every, D) of
        all prompts: zero behind a prompt's end.
        """
        beginning = None if text.constant is None else self._remembered(text)
        if chunk is None or chunk >= layout.n:
            return self._run(text, layout, beginning, every)
        if layout.shared and text.injection is None and not every:
            beginning = beginning or self._beginning(text)
            text = replace(text, deep=())  # the deep prompts are in the beginning
        pieces = [recomputed(self._run, *piece, beginning, every) for piece in _pieces(text, layout, chunk)]
        read, tokens = zip(*pieces, strict=True)
        return torch.cat(read, 1), torch.cat(tokens)

    def _remembered(self, text: PackedText) -> Beginning:
        """Return a beginning with nothing learned in it: it is run once."""
        changes = sum(writes(weight) for block in self.blocks for weight in block.weights) + writes(self.positional)
        if changes != self._changes:
            self._changes = changes
            self._beginnings.clear()
        key = (text.constant, text.prefix.dtype, number_type(text.prefix.device))
        if key not in self._beginnings:
            with torch.no_grad():
                self._beginnings[key] = self._beginning(text)
        return self._beginnings[key]

    def _beginning(self, text: PackedText) -> Beginning:
        """Run the shared beginning alone."""
        groups, length, _ = text.prefix.shape
        x = self._lead(text)
        seen: list[KeyValue] = []
        for index, block in enumerate(self.blocks[:-1]):
            x, delta = _replaced(x, text, index), text.deltas.get(index, NONE)
            attended, key_value = _causal(block, block.projected(block.norm_1(x), delta), groups)
            seen.append(key_value)
            x = block.finish(x, attended, delta)
        y = self.blocks[-1].norm_1(_replaced(x, text, len(self.blocks) - 1))
        return Beginning(seen, y.view(groups, length, -1))

    def _lead(self, text: PackedText) -> Tensor:
        """Return the rows (G * P, D) of the shared beginning, with positions."""
        return (text.prefix + self.positional[: text.prefix.shape[1]].to(text.prefix.dtype)).flatten(0, 1)

    def _run(self, text: PackedText, layout: Layout, beginning: Beginning | None, every: int) -> tuple[Tensor, Tensor]:
        """Return what `run` does: run the rest, and with it the shared beginning where nothing is known of that.

        All rows go through the weights together: with few classes, reading the weights is what takes the time.
        """
        groups = len(text.prefix)
        x = text.suffix + self.positional[layout.position].to(text.suffix.dtype)
        x = x.repeat(groups, 1) if groups > 1 else x
        x = torch.cat([self._lead(text), x]) if beginning is None and layout.shared else x
        every_group = layout.repeated(groups)
        for index, block in enumerate(self.blocks):
            if text.injection is not None and text.injection.layer == index:
                x, layout = text.injection.into(x, layout, text.start)
                every_group = layout
            x, delta = _replaced(x, text, index, layout), text.delta(index, layout)
            if index < len(self.blocks) - 1:
                x = self._layer(block, x, every_group, None if beginning is None else beginning.seen[index], delta)
        tokens = x.detach()[:0]
        if every:
            with torch.no_grad():
                tokens = layout.spread(self._layer(block, x.detach(), every_group, None, delta), every)
        lead = every_group.lead if beginning is None else 0
        y = block.norm_1(x)
        shared = None if beginning is None else beginning.last
        if lead:
            first, y = torch.split(y, [lead, len(y) - lead])
            shared = first.view(groups, -1, y.shape[-1])
        last = every_group.last
        attended = block.gather(y[last], every_group.padded(y), shared, every_group.last_mask, delta)
        x = x[every_group.last_of_all if lead else last]
        return block.finish(x, attended, delta).view(groups, layout.n, -1), tokens

    def _layer(self, block: FrozenBlock, x: Tensor, layout: Layout, seen: KeyValue | None, delta: Delta) -> Tensor:
        """Compute a layer at every row; the first rows are the shared beginning where nothing is `seen` of it."""
        projected = block.projected(block.norm_1(x), delta)
        first = []
        packed, buckets = layout.packed, layout.buckets
        if seen is None and layout.lead:
            lead, projected = torch.split(projected, [layout.lead, len(projected) - layout.lead])
            if x.is_cuda and packed is None:
                return block.finish(x, _attend_together(block, lead, projected, layout), delta)
            attended, seen = _causal(block, lead, layout.groups)
            first.append(attended)
        rows = (bucket.padded for bucket in buckets)
        padded = (projected,) if packed is None else _Padded.apply(projected, packed, *rows)
        gathered = [_attend(block, one, seen, bucket) for one, bucket in zip(padded, buckets, strict=True)]
        rest = torch.cat(gathered) if len(gathered) > 1 else gathered[0]
        rest = rest if packed is None else rest.index_select(0, packed)
        return block.finish(x, torch.cat([*first, rest]) if first else rest, delta)


def recomputed(call: Callable[..., Any], *given: Any) -> Any:
    """Call; with gradients, keep only what is given and compute the rest again in the backward pass."""
    if not torch.is_grad_enabled():
        return call(*given)
    return checkpoint(call, *given, use_reentrant=False, preserve_rng_state=False)  # nothing draws from torch's own


def _pieces(text: PackedText, layout: Layout, chunk: int) -> Iterator[tuple[PackedText, Layout]]:
    """Yield a text and its layout, `chunk` prompts at a time."""
    row = 0
    for part in layout.parts(chunk):
        rows = len(part.suffix)
        injection = None if text.injection is None else text.injection.of(part)
        yield replace(text, suffix=text.suffix[row : row + rows], injection=injection), part
        row += rows


class _Padded(torch.autograd.Function):
    """Packed rows in the padded forms of all buckets; the gradient is read there, and not summed.

    A place behind a prompt's end repeats some row, and nothing reads what comes of it: its gradient is zero.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, packed: Tensor, places: Tensor, *rows: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.places = places  # type: ignore[attr-defined]
        return tuple(packed.index_select(0, one) for one in rows)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        every = torch.cat(grads) if len(grads) > 1 else grads[0]
        return every.index_select(0, ctx.places), None, *(None for _ in grads)  # type: ignore[attr-defined]


def _attend(block: FrozenBlock, padded: Tensor, seen: KeyValue | None, bucket: Bucket) -> Tensor:
    """Let the prompts of a bucket attend to what is `seen` of the beginning and to themselves.

    Takes queries, keys and values side by side (G * b * M, 3 D), padded; gives gathered values (G * b * M, D).
    """
    padded = padded.view(-1, bucket.widest, padded.shape[-1])
    query, key, value = (block.split(part) for part in padded.chunk(3, -1))
    if seen is not None:
        key, value = (torch.cat([each(one, len(key)), own], 2) for one, own in zip(seen, (key, value), strict=True))
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bucket.mask(query.dtype))
    return attended.transpose(1, 2).flatten(2).flatten(0, 1)


def _attend_together(block: FrozenBlock, lead: Tensor, rest: Tensor, layout: Layout) -> Tensor:
    """Let each prompt attend to itself with a beginning of its own: more arithmetic in fewer operations.

    Takes queries, keys and values of the shared beginning (G * P, 3 D) and of all prompts (G * n * M, 3 D), of one
    length; gives gathered values (G * P + G * n * M, D).
    """
    groups, width = layout.groups, rest.shape[-1]
    own = rest.view(groups, -1, layout.widest, width)
    lead = lead.view(groups, 1, -1, width).expand(-1, own.shape[1], -1, -1)
    query, key, value = (block.split(part) for part in torch.cat([lead, own], 2).flatten(0, 1).chunk(3, -1))
    attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return attended.transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, layout.together)


def _causal(block: FrozenBlock, projected: Tensor, groups: int) -> tuple[Tensor, KeyValue]:
    """Let the shared beginning attend to itself: gathered values (G * P, D), and its keys and values (G, h, P, d)."""
    query, key, value = (block.split(part) for part in projected.view(groups, -1, projected.shape[-1]).chunk(3, -1))
    attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return attended.transpose(1, 2).flatten(2).flatten(0, 1), (key, value)


def _replaced(x: Tensor, text: PackedText, layer: int, layout: Layout | None = None) -> Tensor:
    """Put the deep prompt of `layer` where it belongs; layer 0 takes its from the input.

    That is the shared beginning, the first rows, or each prompt of a layout that shares nothing (with suffixes of one
    length then).
    """
    if not 0 < layer <= len(text.deep):
        return x
    groups, length, width = text.prefix.shape
    deep, start = text.deep[layer - 1], text.start
    if layout is not None and not layout.shared:
        return exchanged(x.view(layout.n, layout.widest, width), deep, start).flatten(0, 1)
    if groups == 1:
        return exchanged(x[None], deep, start)[0]
    lead, rest = torch.split(x, [groups * length, len(x) - groups * length])
    return torch.cat([exchanged(lead.view(groups, length, width), deep, start).flatten(0, 1), rest])


def exchanged(x: Tensor, tokens: Tensor, start: int) -> Tensor:
    """Return sequences (N, L, D) with tokens (m, D) or (N, m, D) at positions start..start+m-1."""
    count = tokens.shape[-2]
    before, _, behind = torch.split(x, [start, count, x.shape[1] - start - count], 1)
    return torch.cat([before, tokens.to(x.dtype).expand(len(x), -1, -1), behind], 1)
