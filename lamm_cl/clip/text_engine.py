"""The exact text engine: causal prompts that share a beginning, without the work that nobody reads.

Three facts make it exact. A causal tower's output at a position depends on nothing behind it, so a prompt ends at the
token that is read. All prompts begin alike, so the beginning's keys and values are computed once, and each prompt's
rest attends to them. And the last layer is only read at one position of each prompt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lamm_cl.clip.blocks import FrozenBlock
from lamm_cl.clip.prompts_layout import Layout

KeyValue = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class PackedText:
    """A batch of prompts as the engine takes it, without positional embeddings.

    Attributes:
        prefix: (G, P, D) the shared beginning, one for each group of prompts (an image-conditioned context has one
            group an image, everything else has G = 1).
        suffix: (T, D) the packed rest, the same in every group.
        deep: vectors (m, D) that replace positions start..start+m-1 before layer 1, 2, ...
        start: first position that `deep` replaces.
        constant: names the beginning when nothing learned is in it, so that it is computed once and for all.
    """

    prefix: Tensor
    suffix: Tensor
    deep: Sequence[Tensor] = ()
    start: int = 1
    constant: tuple[int, ...] | None = None


class TextEngine:
    """Runs packed prompts through the layers of a causal text tower.

    Args:
        blocks: the tower's layers.
        positional: (window, D) positional embeddings.
    """

    def __init__(self, blocks: Sequence[FrozenBlock], positional: Tensor) -> None:
        self.blocks = blocks
        self.positional = positional
        self._beginnings: dict[object, list[KeyValue]] = {}

    def last_tokens(self, text: PackedText, layout: Layout, chunk: int | None = None) -> Tensor:
        """Compute the residual stream at the token that is read.

        Args:
            text: the prompts.
            layout: where their tokens are.
            chunk: number of prompts to keep in memory at once; with gradients, a chunk is computed again in the
                backward pass. None: all.

        Returns:
            (G, n, D), before the final normalisation.
        """
        beginning = self._beginning(text)
        groups = len(text.prefix)
        if chunk is None or chunk >= layout.n:
            return self._suffix(text.suffix, beginning, layout, groups)
        pieces, row = [], 0
        for part in layout.parts(chunk):
            rows = len(part.suffix)
            pieces.append(self._remember(text.suffix[row : row + rows], beginning, part, groups))
            row += rows
        return torch.cat(pieces, 1)

    def all_tokens(self, text: PackedText, layout: Layout) -> tuple[Tensor, Tensor]:
        """Compute the token that is read with gradient, and every token of every prompt without.

        Returns:
            (G, n, D) tokens that are read and (G, n, P + M, D) all tokens (zero behind a prompt's end), both before the
            final normalisation.
        """
        beginning, prefix = self._prefix(text, with_tokens=True)
        groups = len(text.prefix)
        every: list[Tensor] = []
        read = self._suffix(text.suffix, beginning, layout, groups, keep=every.append)
        assert prefix is not None
        padded = torch.zeros(groups, layout.n * layout.widest, read.shape[-1], dtype=read.dtype, device=read.device)
        padded[:, layout.packed] = every[0].reshape(groups, -1, read.shape[-1])
        suffix = padded.view(groups, layout.n, layout.widest, -1)
        return read, torch.cat([prefix[:, None].expand(-1, layout.n, -1, -1), suffix], 2)

    def _beginning(self, text: PackedText) -> list[KeyValue]:
        """Return the beginning's keys and values, from memory when nothing in it is learned."""
        if text.constant is None:
            return self._prefix(text, with_tokens=False)[0]
        key = (text.constant, text.prefix.dtype, torch.is_autocast_enabled(text.prefix.device.type))
        if key not in self._beginnings:
            with torch.no_grad():
                self._beginnings[key] = self._prefix(text, with_tokens=False)[0]
        return self._beginnings[key]

    def _prefix(self, text: PackedText, with_tokens: bool) -> tuple[list[KeyValue], Tensor | None]:
        """Return each layer's keys and values (G, h, P, d) of the shared beginning, and its last layer's output."""
        x = text.prefix + self.positional[: text.prefix.shape[1]].to(text.prefix.dtype)
        seen: list[KeyValue] = []
        for index, block in enumerate(self.blocks):
            x = _replace(x, text, index)
            y = block.norm_1(x)
            if index == len(self.blocks) - 1:
                key, value = (block.split(part) for part in block.key_value(y))
                seen.append((key, value))
                break
            query, key, value = (block.split(part) for part in block.query_key_value(y))
            seen.append((key, value))
            attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = block.finish(x, attended.transpose(1, 2).flatten(2))
        if not with_tokens:
            return seen, None
        with torch.no_grad():
            return seen, self.blocks[-1].full(x.detach(), causal=True)

    def _suffix(
        self,
        suffix: Tensor,
        beginning: list[KeyValue],
        layout: Layout,
        groups: int,
        keep: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Run the packed rest; `keep` receives the last layer's output at every packed row (G * T, D), no gradient."""
        x = suffix + self.positional[layout.position].to(suffix.dtype)
        if groups > 1:
            x = x.repeat(groups, 1)
        places = _Places(layout, groups)
        for block, (key, value) in zip(self.blocks[:-1], beginning[:-1], strict=True):
            x = self._layer(block, x, key, value, places)
        block, (key, value) = self.blocks[-1], beginning[-1]
        if keep is not None:
            with torch.no_grad():
                keep(self._layer(block, x.detach(), key.detach(), value.detach(), places))
        y = block.norm_1(x)
        query = block.split(block.query(y[places.last]).unsqueeze(1))
        own = places.padded_form(torch.cat(block.key_value(y), -1))
        own_key, own_value = (block.split(part) for part in own.chunk(2, -1))
        attended = F.scaled_dot_product_attention(
            query, places.join(key, own_key), places.join(value, own_value), attn_mask=places.last_mask
        )
        x = block.finish(x[places.last], attended.transpose(1, 2).flatten(2).squeeze(1))
        return x.view(groups, layout.n, -1)

    def _layer(self, block: FrozenBlock, x: Tensor, key: Tensor, value: Tensor, places: "_Places") -> Tensor:
        padded = places.padded_form(block.projected(block.norm_1(x)))
        query, own_key, own_value = (block.split(part) for part in padded.chunk(3, -1))
        attended = F.scaled_dot_product_attention(
            query,
            places.join(key, own_key),
            places.join(value, own_value),
            attn_mask=places.layout.causal_mask,
        )
        joined = attended.transpose(1, 2).flatten(2).flatten(0, 1)
        return block.finish(x, joined.index_select(0, places.packed))

    def _remember(self, suffix: Tensor, beginning: list[KeyValue], layout: Layout, groups: int) -> Tensor:
        """Run one chunk; with gradients, keep only its input and compute it again in the backward pass."""
        if not torch.is_grad_enabled():
            return self._suffix(suffix, beginning, layout, groups)
        result: Tensor = checkpoint(self._suffix, suffix, beginning, layout, groups, use_reentrant=False)
        return result


class _Places:
    """The layout's index maps, repeated for every group of prompts."""

    def __init__(self, layout: Layout, groups: int) -> None:
        self.layout = layout
        total = len(layout.suffix)
        self.padded = _repeat(layout.padded, groups, total)
        self.packed = _repeat(layout.packed, groups, layout.n * layout.widest)
        self.last = _repeat(layout.last, groups, total)
        self.last_mask = layout.last_mask.repeat(groups, 1, 1, 1) if groups > 1 else layout.last_mask

    def padded_form(self, packed: Tensor) -> Tensor:
        """Turn packed rows (G * T, D) into (G * n, M, D)."""
        return packed.index_select(0, self.padded).view(-1, self.layout.widest, packed.shape[-1])

    def join(self, shared: Tensor, own: Tensor) -> Tensor:
        """Put the keys or values of the beginning (G, h, P, d) before each prompt's own (G * n, h, M, d)."""
        one = len(shared) == 1
        before = shared.expand(len(own), -1, -1, -1) if one else shared.repeat_interleave(self.layout.n, 0)
        return torch.cat([before, own], 2)


def _repeat(index: Tensor, groups: int, step: int) -> Tensor:
    if groups == 1:
        return index
    return (index[None] + step * torch.arange(groups, device=index.device)[:, None]).flatten()


def _replace(x: Tensor, text: PackedText, layer: int) -> Tensor:
    """Put the deep prompt of `layer` in place; layer 0 takes its prompts from the input."""
    if not 0 < layer <= len(text.deep):
        return x
    deep = text.deep[layer - 1].to(x.dtype)
    stop = text.start + deep.shape[-2]
    return torch.cat([x[:, : text.start], deep.expand(len(x), -1, -1), x[:, stop:]], 1)
