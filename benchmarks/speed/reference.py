"""The plain reference: one training step done the way the papers' codes do it, on the same model and numbers.

The whole text window for every class in every step, the original names encoded again in every step, every image encoded
again in every epoch, every layer computed at every position, and transport in a loop over images and classes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.clip.low_rank import NOWHERE, LowRank
from lamm_cl.methods.prompted_clip import PromptedCLIP
from lamm_cl.prompts.matching import Side, Transport
from lamm_cl.prompts.text_side import TextSide


def plain_sinkhorn(kernel: Tensor, rows: Tensor, columns: Tensor, max_iter: int, thresh: float) -> Tensor:
    """Scale one group of problems the released way: each iteration copies the transpose and looks at the error.

    Args:
        kernel: (p, m, k).
        rows: (p, m) row marginals.
        columns: (p, k) column marginals.
        max_iter: most iterations.
        thresh: it stops when the mean change of the row scalings falls below it.

    Returns:
        (p, m, k) plans.
    """
    r, c = torch.ones_like(rows), torch.ones_like(columns)
    for _ in range(max_iter):
        before = r
        r = rows / torch.bmm(kernel, c[..., None])[..., 0]
        c = columns / torch.bmm(kernel.transpose(1, 2).contiguous(), r[..., None])[..., 0]
        if float((r - before).abs().mean()) < thresh:
            break
    return torch.bmm(r[..., None], c[:, None]) * kernel


class PlainBlock:
    """A layer with low-rank deltas as CLIP-LoRA's code has it: each product by itself, and beside it x (B A)^T."""

    def __init__(self, block: Any) -> None:
        self.block, self.heads = block, int(block.attn.num_heads)

    def full(self, x: Tensor, delta: Mapping[str, LowRank], mask: Tensor | None = None) -> Tensor:
        """Compute the layer at every position of x (N, L, D)."""
        block, y = self.block, self.block.ln_1(x)
        weights = zip("qkv", block.attn.in_proj_weight.chunk(3), block.attn.in_proj_bias.chunk(3), strict=True)
        query, key, value = (
            self._beside(F.linear(y, weight, bias), y, delta.get(name)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name, weight, bias in weights
        )
        attended = F.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2)
        x = x + self._beside(block.attn.out_proj(attended), attended, delta.get("o"))
        return cast(Tensor, x + block.mlp(block.ln_2(x)))

    @staticmethod
    def _beside(out: Tensor, x: Tensor, low: LowRank | None) -> Tensor:
        return out if low is None else out + x @ (low.b @ low.a).t() * low.scale


class PlainImageTower:
    """open_clip's image tower with prompts, every layer at every position."""

    supports_prompts = True

    def __init__(self, tower: Any) -> None:
        self.visual, self.width, self.layers = tower.visual, tower.width, tower.layers

    def __call__(
        self, images: Tensor, prompts: Tensor | None = None, deep: Any = (), tokens: bool = False, deltas: Any = NOWHERE
    ) -> Tensor | tuple[Tensor, Tensor]:
        visual = self.visual
        if prompts is not None and prompts.dim() == 3:  # each image once a set of prompts
            images = images.repeat_interleave(len(prompts) // len(images), 0)
        x = visual._embeds(images)
        if prompts is not None:
            x = torch.cat([x, visual.ln_pre(prompts).expand(len(x), -1, -1)], 1)
        for index, block in enumerate(visual.transformer.resblocks):
            if 0 < index <= len(deep):
                count = deep[index - 1].shape[-2]
                x = torch.cat([x[:, :-count], deep[index - 1].expand(len(x), -1, -1)], 1)
            x = PlainBlock(block).full(x, deltas[index]) if index in deltas else block(x)
        every = visual.ln_post(x if tokens else x[:, :1]) @ visual.proj
        return (every[:, 0], every.detach()) if tokens else every[:, 0]


class LoopedTransport(Transport):
    """Token-level transport, one image and one class at a time."""

    @torch.no_grad()
    def token_term(self, image: Side, text: Side) -> Tensor:
        assert image.tokens is not None
        assert text.tokens is not None
        assert text.used is not None
        batch, v, patches, _ = image.tokens.shape
        n, w = text.tokens.shape[:2]
        term = image.features.new_zeros(batch, n, v, w)
        for b in range(batch):
            for c in range(n):
                tokens = text.tokens[c, :, : int(text.used[c].sum())]
                similarity = torch.einsum("vpd,wkd->vwpk", image.tokens[b], tokens).flatten(0, 1)
                kernel = torch.exp(-(1 - similarity) / self.eps)
                rows = torch.full_like(kernel[..., 0], 1 / patches)
                columns = torch.full_like(kernel[:, 0], 1 / tokens.shape[1])
                plan = plain_sinkhorn(kernel, rows, columns, self.max_iter, self.thresh)
                assert not torch.isnan(plan).any()  # the released code looks as well
                term[b, c] = (plan * similarity).sum((1, 2)).view(v, w)
        return term


def looped(matching: Transport) -> LoopedTransport:
    """Return the same matching, one image and one class at a time."""
    return LoopedTransport(matching.tokens, matching.eps, matching.max_iter, matching.thresh, matching.sign)


@contextmanager
def as_published(model: PromptedCLIP) -> Iterator[None]:
    """Compute `model` the papers' way for a while; the numbers are the same."""
    backbone, text = model.backbone, model.backbone.text
    engine, chunk, blocks, image, matching = text._engine, text.chunk, text._blocks, backbone.image, model.matching
    text._engine, text.chunk, backbone.image = None, 0, PlainImageTower(image)  # type: ignore[assignment]
    text._blocks = [PlainBlock(block.block) for block in blocks]  # type: ignore[misc]
    if isinstance(matching, Transport):
        model.matching = looped(matching)
    try:
        yield
    finally:
        text._engine, text.chunk, text._blocks = engine, chunk, blocks
        backbone.image, model.matching = image, matching


def published_step(model: PromptedCLIP, images: Tensor, labels: Tensor) -> Tensor:
    """One loss and its gradients, everything computed again."""
    with as_published(model):
        assert isinstance(model.text, TextSide)
        once = {bank: known for bank, known in model.text._original.items() if bank is not None}
        model.text.forget()
        model.text._original.update(once)  # PromptSRC's and TCP's codes encode their teachers once a run
        loss = model.losses(images, labels)["total"]
        loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def exact_step(model: PromptedCLIP, images: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    """The same loss and gradients by the engine, from remembered image features where no prompt enters the tower."""
    given = images if model.needs_images else features
    beside = features if model.wants_plain else None
    loss = model.losses(given, labels, image_features=beside)["total"]
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()
