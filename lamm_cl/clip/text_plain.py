"""The plain text path: every position of the text window in every layer, as open_clip computes it.

It serves the towers on which the exact engine would not be exact (no causal mask), and is what the engine is tested
and timed against.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from lamm_cl.clip.blocks import FrozenBlock
from lamm_cl.clip.low_rank import NOWHERE, Deltas, at
from lamm_cl.clip.prompts_layout import Layout
from lamm_cl.clip.text_engine import Injection


def run_window(
    tower: Any,
    embedded: Tensor,
    layout: Layout,
    deep: Sequence[Tensor],
    start: int,
    blocks: Sequence[FrozenBlock] = (),
    deltas: Deltas = NOWHERE,
    injection: Injection | None = None,
) -> Tensor:
    """Run embedded prompts through all layers of an open_clip text tower.

    Args:
        tower: the open_clip module that owns `transformer`, `positional_embedding` and `attn_mask`.
        embedded: (N, window, D) token embeddings without positions.
        layout: where the tokens are (for towers that mask padding).
        deep: vectors (m, D) or (N, m, D) that replace positions start..start+m-1 before layer 1, 2, ...
        start: first position that `deep` replaces.
        blocks: the layers once more, for those that have low-rank deltas.
        deltas: low-rank deltas of the layers.
        injection: vectors (N, m, D) that replace positions start..start+m-1 before one layer.

    Returns:
        (N, window, D), before the final normalisation.
    """
    window = embedded.shape[1]
    x: Tensor = embedded + tower.positional_embedding[:window].to(embedded.dtype)
    mask = attention_mask(tower, embedded, layout)
    for index, block in enumerate(tower.transformer.resblocks):
        if 0 < index <= len(deep):
            prompt = deep[index - 1].to(x.dtype)
            stop = start + prompt.shape[-2]
            x = torch.cat([x[:, :start], prompt.expand(len(x), -1, -1), x[:, stop:]], 1)
        if injection is not None and index == injection.layer:
            tokens = injection.tokens.to(x.dtype)
            x = torch.cat([x[:, :start], tokens, x[:, start + tokens.shape[1] :]], 1)
        if index in deltas:
            x = blocks[index].full(x, delta=at(deltas[index], layout.first), mask=mask)
        else:
            x = cast(Tensor, block(x, attn_mask=mask))
    return x


def attention_mask(tower: Any, embedded: Tensor, layout: Layout) -> Tensor | None:
    """Return the tower's own mask: causal, padding, both or none."""
    window = embedded.shape[1]
    causal: Tensor | None = tower.attn_mask
    if causal is not None:
        causal = causal[:window, :window]
    if not getattr(tower, "use_pad_mask", False):
        return causal
    groups = len(embedded) // layout.n
    padding: Tensor = tower._build_additive_mask(layout.codes.repeat(groups, 1), window, embedded.dtype)
    return padding if causal is None else torch.add(causal[None], padding)
