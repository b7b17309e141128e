"""One frozen transformer layer, written so that only what is read is computed.

open_clip's layers compute every position and keep gradients for every weight. The weights here never train, so a
layer is a pure function of its input: the same mathematics, without the positions nobody reads.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

QUICK_GELU = 1.702


class FrozenBlock:
    """A residual attention layer of open_clip, read from the module that owns the weights.

    Args:
        block: an `open_clip.transformer.ResidualAttentionBlock` (self-attention, batch first).
    """

    def __init__(self, block: nn.Module) -> None:
        owner: Any = block
        self.block = owner
        self.heads = int(owner.attn.num_heads)
        self._folded: tuple[Tensor, Tensor, Tensor] | None = None
        self._folded_for: tuple[Any, ...] = ()

    @staticmethod
    def supports(block: nn.Module) -> bool:
        """Tell whether `block` is the plain layer whose formula is written here."""
        from open_clip.transformer import ResidualAttentionBlock

        plain = type(block) is ResidualAttentionBlock and not hasattr(block, "ln_1_kv")
        attention = getattr(block, "attn", None)
        return plain and isinstance(attention, nn.MultiheadAttention) and attention.in_proj_weight is not None

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the matrix weights (normalisations may keep a wider one)."""
        return cast(torch.dtype, self.block.attn.in_proj_weight.dtype)

    def norm_1(self, x: Tensor) -> Tensor:
        """Apply the normalisation before attention."""
        return _layer_norm(self.block.ln_1, x)

    def query(self, y: Tensor) -> Tensor:
        """Project normalised tokens (..., D) to queries (..., D)."""
        width = y.shape[-1]
        attention = self.block.attn
        return F.linear(y, attention.in_proj_weight[:width], _slice(attention.in_proj_bias, 0, width))

    def key_value(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Project normalised tokens (..., D) to keys and values (..., D) each."""
        width = y.shape[-1]
        attention = self.block.attn
        bias = _slice(attention.in_proj_bias, width, 3 * width)
        key, value = F.linear(y, attention.in_proj_weight[width:], bias).chunk(2, -1)
        return key, value

    def projected(self, y: Tensor) -> Tensor:
        """Project normalised tokens (..., D) to queries, keys and values side by side (..., 3 D)."""
        return F.linear(y, self.block.attn.in_proj_weight, self.block.attn.in_proj_bias)

    def query_key_value(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project normalised tokens (..., D) to queries, keys and values (..., D) each."""
        query, key, value = self.projected(y).chunk(3, -1)
        return query, key, value

    def split(self, x: Tensor) -> Tensor:
        """Turn (..., L, D) into heads (..., h, L, D / h)."""
        return x.reshape(*x.shape[:-1], self.heads, -1).transpose(-3, -2)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add the attention's output and the feed-forward part to the residual stream.

        Args:
            x: residual stream (..., D).
            attended: values gathered by attention, heads joined (..., D).
        """
        block = self.block
        x = x + cast(Tensor, block.ls_1(F.linear(attended, block.attn.out_proj.weight, block.attn.out_proj.bias)))
        return x + cast(Tensor, block.ls_2(self._feed_forward(_layer_norm(block.ln_2, x))))

    def full(self, x: Tensor, causal: bool = False, mask: Tensor | None = None) -> Tensor:
        """Compute the layer at every position.

        Args:
            x: (N, L, D).
            causal: each position sees itself and what is before it.
            mask: boolean (True = visible) or additive, broadcastable to (N, h, L, L).
        """
        query, key, value = (self.split(part) for part in self.query_key_value(self.norm_1(x)))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        return self.finish(x, attended.transpose(1, 2).flatten(2))

    def rows(self, x: Tensor, rows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute the layer at one position of each sequence, the only one that will be read.

        Args:
            x: (N, L, D).
            rows: (N,) position to compute in each sequence.
            mask: boolean (True = visible), broadcastable to (N, h, 1, L).

        Returns:
            (N, D).
        """
        y = self.norm_1(x)
        every = torch.arange(len(x), device=x.device)
        query = self.split(self.query(y[every, rows]).unsqueeze(1))
        key, value = (self.split(part) for part in self.key_value(y))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.finish(x[every, rows], attended.transpose(1, 2).flatten(2).squeeze(1))

    def _feed_forward(self, x: Tensor) -> Tensor:
        from open_clip.transformer import QuickGELU

        mlp = self.block.mlp
        if not isinstance(mlp.gelu, QuickGELU):
            hidden = mlp.gelu(F.linear(x, mlp.c_fc.weight, mlp.c_fc.bias))
            return F.linear(hidden, mlp.c_proj.weight, mlp.c_proj.bias)
        # x * sigmoid(1.702 x) = silu(1.702 x) / 1.702: with the constant in the weights, the activation is one kernel.
        first, bias, second = self._fold(mlp)
        return F.linear(F.silu(F.linear(x, first, bias)), second, mlp.c_proj.bias)

    def _fold(self, mlp: Any) -> tuple[Tensor, Tensor, Tensor]:
        first, bias, second = mlp.c_fc.weight, mlp.c_fc.bias, mlp.c_proj.weight
        state = tuple((id(w), w._version, w.dtype, w.device) for w in (first, bias, second))
        if self._folded is None or self._folded_for != state:
            with torch.no_grad():
                self._folded = (first * QUICK_GELU, bias * QUICK_GELU, second / QUICK_GELU)
            self._folded_for = state
        return self._folded


def _layer_norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    wide = x.to(norm.weight.dtype)
    return F.layer_norm(wide, norm.normalized_shape, norm.weight, norm.bias, norm.eps).to(x.dtype)


def _slice(bias: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if bias is None else bias[start:stop]
