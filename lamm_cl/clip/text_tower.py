"""The frozen text tower: from token sequences with learned vectors in them to text features.

The plain path computes every position of the text window in every layer, as open_clip does. It serves
the towers on which the exact engine would not be exact (no causal mask), and is what the engine is tested against.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.clip.blocks import FEW_ROWS, FrozenBlock, matrix_shapes
from lamm_cl.clip.families import text_module, text_pool
from lamm_cl.clip.linear import Rounded
from lamm_cl.clip.low_rank import NOWHERE, Deltas, Shapes, at, drops
from lamm_cl.clip.precision import lasting
from lamm_cl.clip.prompts_layout import Layout
from lamm_cl.clip.room import room
from lamm_cl.clip.text_engine import Injection, PackedText, TextEngine, exchanged, recomputed
from lamm_cl.clip.words import Words

ACTIVATIONS_PER_TOKEN = 17  # values that one layer keeps for the backward pass, in units of the tower's width
KEPT_BYTES = 1 << 30  # activations above this are computed again in the backward pass instead of kept,
PIECE_BYTES = 1 << 28  # in pieces of this size; on a GPU, both are what `room` says


class _Given(NamedTuple):
    """What acts on prompts beside their words; see `TextTower.encode`."""

    learned: Tensor | None = None
    deep: Sequence[Tensor] = ()
    groups: Tensor | None = None
    deltas: Deltas = NOWHERE
    injection: Injection | None = None


class TextTower:
    """The text side of an open_clip `CLIP` or `CustomTextCLIP`, frozen.

    Attributes:
        words: turns names and templates into token ids.
        width: width D of a token.
        layers: number of layers.
        exact: whether the exact engine applies; otherwise `why_plain` says why not.
        chunk: number of prompts whose activations are kept at once: None = chosen by size, 0 = all.
    """

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        self.module: Any = text_module(model)
        self.pool = text_pool(model)
        self.words = Words(tokenizer, self.module, self.pool)
        self.width = int(self.module.token_embedding.weight.shape[1])
        blocks = list(self.module.transformer.resblocks)
        self.layers = len(blocks)
        self.why_plain = _why_plain(self.module, blocks)
        self.exact = not self.why_plain
        self.chunk: int | None = None
        self._blocks = [FrozenBlock(b) for b in blocks] if all(FrozenBlock.supports(b) for b in blocks) else []
        self._projection = Rounded(self._read_projection)
        self._engine = TextEngine(self._blocks, self.module.positional_embedding) if self.exact else None

    @property
    def dtype(self) -> torch.dtype:
        """Data type in which the layers compute."""
        return cast(torch.dtype, self.module.transformer.get_cast_dtype())

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return cast(torch.device, self.module.token_embedding.weight.device)

    def matrices(self, names: Sequence[str], layers: Sequence[int] | None = None) -> Shapes:
        """Return the shapes of matrices that may have low-rank deltas; see `blocks.matrix_shapes`."""
        return matrix_shapes(self._blocks or [None] * self.layers, names, layers, "this text tower")

    def embed(self, ids: Sequence[int] | Tensor) -> Tensor:
        """Return the embeddings (n, D) of vocabulary ids, without gradient."""
        index = torch.as_tensor(ids, dtype=torch.long, device=self.device)
        return cast(Tensor, self.module.token_embedding.weight.detach()[index])

    def layout(self, bodies: Sequence[Sequence[int]]) -> Layout:
        """Lay out sequences of vocabulary ids and `slot(k)` codes, given without their start and end tokens.

        Raises:
            UsageError: a sequence does not fit the text window.
        """
        framed = [[*self.words.head, *body, *self.words.end] for body in bodies]
        layout = Layout.of(framed, self.words.window, self.words.pad)
        return (layout.filled() if self.device.type == "cuda" else layout).to(self.device)

    @lasting()  # layouts and beginnings are kept
    def encode(
        self,
        layout: Layout,
        learned: Tensor | None = None,
        deep: Sequence[Tensor] = (),
        groups: Tensor | None = None,
        plain: bool = False,
        deltas: Deltas = NOWHERE,
        injection: Injection | None = None,
    ) -> Tensor:
        """Encode prompts to text features.

        Args:
            layout: n prompts.
            learned: (K, D) vectors for the layout's slots.
            deep: vectors (m, D) for layers 1, 2, ...: they replace the first m tokens after the start token.
            groups: (G, K', D) vectors for the slots of the shared beginning, one set a group: every prompt is then
                encoded once a group (image-conditioned contexts).
            plain: take the plain path even where the exact engine applies.
            deltas: low-rank deltas of the layers. Where they drop parts of their input, each prompt has draws of its
                own, so that nothing is shared: a beginning is computed with every prompt.
            injection: vectors of each prompt that replace the first tokens after the start token before one layer.

        Returns:
            (n, E), or (G, n, E) with `groups`; not normalised.
        """
        features = self._encode(layout, _Given(learned, deep, groups, deltas, injection), plain)[0]
        return features if groups is not None else features[0]

    @lasting()
    def encode_tokens(
        self,
        layout: Layout,
        learned: Tensor | None = None,
        deep: Sequence[Tensor] = (),
        plain: bool = False,
        deltas: Deltas = NOWHERE,
    ) -> tuple[Tensor, Tensor]:
        """Encode prompts to text features (n, E) and, without gradient, to features of every token (n, L, E).

        L is the length of the longest prompt, and neither is normalised. What stands behind a prompt's end is
        undefined: the caller masks it.
        """
        longest = layout.shared + layout.widest
        features, tokens = self._encode(layout, _Given(learned, deep, deltas=deltas), plain, longest)
        with torch.no_grad():
            tokens = self._read(tokens)[:, :longest]
        return features[0], tokens

    def _encode(self, layout: Layout, given: _Given, plain: bool, every: int = 0) -> tuple[Tensor, Tensor]:
        """Return features (G, n, E), and at least `every` first tokens (n, L, D) before the final normalisation."""
        layout, plain = self._path(layout, given, plain)
        if self._engine is None or plain:
            features, tokens = zip(*self._plain_parts(layout, given), strict=True)
            return torch.cat(features, 1), torch.cat([rows.detach()[: len(rows) if every else 0] for rows in tokens])
        _, deep, groups, deltas, injection = given
        # One prompt alone is all beginning: remembering it would remember every class that ever was alone.
        alone = groups is None and not deep and not deltas and injection is None and not every
        fixed = alone and layout.n > 1 and layout.shared
        constant = layout.beginning if fixed and all(code >= 0 for code in layout.beginning) else None
        text = PackedText(*self._vectors(layout, given), deep, self.words.start, constant, deltas, injection)
        read, rows = self._engine.run(text, layout, self._chunk(layout, layout.widest * len(text.prefix)), every)
        return self._read(read), rows

    def same_tokens(self, layout: Layout, deep: Sequence[Tensor] = (), deltas: Deltas = NOWHERE) -> int:
        """Return how many first tokens of all prompts have the same features: none where they see what follows."""
        plain = self._path(layout, _Given(deep=deep, deltas=deltas), False)[1]
        return 0 if plain or drops(deltas) else layout.shared

    def _path(self, layout: Layout, given: _Given, plain: bool) -> tuple[Layout, bool]:
        """Return the layout to run, and whether on the plain path.

        Deep prompts and those of an image must lie in what all prompts share; where something is dropped, nothing is.
        What is injected must lie before the token that is read, and meets neither.
        """
        _, deep, groups, deltas, injection = given
        fits = not deep or layout.shared >= self.words.start + max(prompt.shape[-2] for prompt in deep)
        if injection is not None:
            stop = self.words.start + injection.tokens.shape[1]
            fits = not deep and groups is None and layout.shared + layout.shortest > stop
        if plain or self._engine is None or not fits or (drops(deltas) and (deep or groups is not None)):
            return layout, True
        if groups is not None:
            return layout, False
        # On a GPU, a beginning that is computed with every prompt takes fewer operations than one that is shared, where
        # it is not remembered; and few rows take no longer than fewer.
        learned = any(code < 0 for code in layout.beginning) and layout.prefix.is_cuda and injection is None
        few = layout.n * (layout.shared + layout.widest) <= FEW_ROWS
        return (layout.opened(0)[0] if drops(deltas) or (learned and few) else layout), False

    def _vectors(self, layout: Layout, given: _Given) -> tuple[Tensor, Tensor]:
        """Return the prefix (G, P, D) and the packed suffix (T, D) in the layers' data type."""
        first, rest = layout.parsed
        prefix = self._fill(*first, given.learned, given.groups)
        return prefix.to(self.dtype), self._fill(*rest, given.learned, None)[0].to(self.dtype)

    def _fill(self, ids: Tensor, rows: Tensor, index: Tensor, learned: Tensor | None, groups: Tensor | None) -> Tensor:
        """Return embeddings (G, L, D) with the learned vectors of an index in some rows."""
        base = self.embed(ids)
        if len(rows) == 0:
            return base.expand(1 if groups is None else len(groups), -1, -1)
        if groups is not None:
            if learned is not None:  # a prompt that stands alone has its label in what "all" share
                own = learned[groups.shape[1] :].expand(len(groups), -1, -1)
                groups = torch.cat([groups, own.to(groups.dtype)], 1)
            return base.expand(len(groups), -1, -1).index_copy(1, rows, groups[:, index].to(base.dtype))
        assert learned is not None, "the layout has slots: give the learned vectors"
        return base.index_copy(0, rows, learned[index].to(base.dtype))[None]

    def _plain(self, layout: Layout, given: _Given) -> tuple[Tensor, Tensor]:
        """Run the whole window: features (G, n, E), and tokens (G * n, window, D) before normalisation."""
        prefix, suffix = self._vectors(layout, given)
        count = len(prefix)
        tail = self.embed([layout.tail])[0].to(self.dtype)
        embedded = tail.expand(layout.n, layout.window, -1)
        embedded = embedded.index_put((layout.prompt, layout.position), suffix)
        embedded = embedded.expand(count, -1, -1, -1)[:, :, layout.shared :]
        beginning = prefix[:, None].expand(-1, layout.n, -1, -1)
        whole = torch.cat([beginning, embedded], 2).flatten(0, 1)
        tokens = self._run_window(whole, layout, given)
        read = torch.full_like(layout.read, layout.window - 1) if self.pool == "last" else layout.read
        features = self._read(tokens[torch.arange(len(tokens), device=self.device), read.repeat(count)])
        return features.view(count, layout.n, -1), tokens

    def _run_window(self, embedded: Tensor, layout: Layout, given: _Given) -> Tensor:
        """Run embedded prompts (N, window, D) without positions through all layers, before the final normalisation."""
        x: Tensor = embedded + self.module.positional_embedding[: embedded.shape[1]].to(embedded.dtype)
        mask, start, injection = self._mask(embedded, layout), self.words.start, given.injection
        for index, block in enumerate(self.module.transformer.resblocks):
            if 0 < index <= len(given.deep):
                x = exchanged(x, given.deep[index - 1], start)
            if injection is not None and index == injection.layer:
                x = exchanged(x, injection.of(layout).tokens.repeat(len(x) // layout.n, 1, 1), start)
            if index in given.deltas:
                x = self._blocks[index].full(x, delta=at(given.deltas[index], layout.first), mask=mask)
            else:
                x = cast(Tensor, block(x, attn_mask=mask))
        return x

    def _mask(self, embedded: Tensor, layout: Layout) -> Tensor | None:
        """Return the tower's own mask: causal, padding, both or none."""
        window = embedded.shape[1]
        causal: Tensor | None = self.module.attn_mask
        causal = None if causal is None else causal[:window, :window]
        if not getattr(self.module, "use_pad_mask", False):
            return causal
        codes = layout.codes.repeat(len(embedded) // layout.n, 1)
        padding: Tensor = self.module._build_additive_mask(codes, window, embedded.dtype)
        return padding if causal is None else torch.add(causal[None], padding)

    def _read(self, tokens: Tensor) -> Tensor:
        """Normalise and project tokens (..., D) to features (..., E)."""
        x: Tensor = self.module.ln_final(tokens)
        if self.module.text_projection is None:
            return x
        weight, bias = self._projection()
        return F.linear(x, weight, bias) if isinstance(self.module.text_projection, nn.Linear) else x @ weight

    def _read_projection(self) -> tuple[Tensor, Tensor | None]:
        projection = self.module.text_projection
        return (projection.weight, projection.bias) if isinstance(projection, nn.Linear) else (projection, None)

    def _plain_parts(self, layout: Layout, given: _Given) -> list[tuple[Tensor, Tensor]]:
        """Run the whole window, some prompts at a time where there are many: what `_plain` gives, of each part."""
        size = self._chunk(layout, layout.window * (1 if given.groups is None else len(given.groups)))
        if size is None or size >= layout.n:
            return [self._plain(layout, given)]
        return [recomputed(self._plain, part, given) for part in layout.parts(size)]

    def _chunk(self, layout: Layout, rows: int) -> int | None:
        """Choose how many prompts to keep in memory at once, of which each has so many rows; None: all."""
        if self.chunk is not None:
            return self.chunk or None
        bytes_each = rows * self.layers * ACTIVATIONS_PER_TOKEN * self.width * self.dtype.itemsize
        found = room(self.device)
        kept, piece = (KEPT_BYTES, PIECE_BYTES) if found is None else (found, found)
        return None if bytes_each * layout.n <= kept else max(1, piece // bytes_each)


def _why_plain(module: Any, blocks: Sequence[nn.Module]) -> str:
    """Say why the exact engine would not be exact on a tower of the families A to F; empty when it is."""
    if module.attn_mask is None:
        return "its attention is not causal, so padding changes what is read"
    if not all(FrozenBlock.supports(block) for block in blocks):
        return f"its layers ({type(blocks[0]).__name__}) are not the plain residual attention layer"
    return ""
