"""One frozen transformer layer, written so that only what is read is computed.

open_clip's layers compute every position and keep gradients for every weight. The weights here never train, so a
layer is a pure function of its input: the same mathematics, without the positions nobody reads.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.clip.linear import Derived, FrozenLinear
from lamm_cl.clip.low_rank import MATRICES, NONE, Delta, Shapes, at, plus, raised, reduced
from lamm_cl.errors import UsageError, unknown

QUICK_GELU = 1.702
FEW_ROWS = 2048  # up to which a GPU spends less time on computing rows than on starting operations


class FrozenBlock:
    """A residual attention layer of open_clip (self-attention, batch first), read from the module with the weights.

    Its matrices can have low-rank deltas, given with each call: gradients flow to them as well.
    """

    def __init__(self, block: nn.Module) -> None:
        from open_clip.transformer import QuickGELU

        owner: Any = block
        self.block = owner
        self.heads = int(owner.attn.num_heads)
        self.weights = list(owner.parameters())
        self._quick = isinstance(owner.mlp.gelu, QuickGELU)
        self._folded = Derived[tuple[Tensor, Tensor, Tensor]]()
        self._in = FrozenLinear(lambda: (owner.attn.in_proj_weight, owner.attn.in_proj_bias))
        self._out = FrozenLinear(lambda: (owner.attn.out_proj.weight, owner.attn.out_proj.bias))
        self._wide = FrozenLinear(lambda: self._fold()[:2])
        self._narrow = FrozenLinear(lambda: (self._fold()[2], owner.mlp.c_proj.bias))

    @staticmethod
    def supports(block: nn.Module) -> bool:
        """Tell whether `block` is the plain layer whose formula is written here."""
        from open_clip.transformer import ResidualAttentionBlock

        plain = type(block) is ResidualAttentionBlock and not hasattr(block, "ln_1_kv")
        attention = getattr(block, "attn", None)
        return plain and isinstance(attention, nn.MultiheadAttention) and attention.in_proj_weight is not None

    def norm_1(self, x: Tensor) -> Tensor:
        """Apply the normalisation before attention."""
        return layer_norm(self.block.ln_1, x)

    def query(self, y: Tensor, delta: Delta = NONE) -> Tensor:
        """Project normalised tokens (..., D) to queries (..., D)."""
        width = y.shape[-1]
        weight, bias = self._in.read()
        query = F.linear(y, weight[:width], _slice(bias, 0, width))
        return plus(query, y, [delta.get("q")])

    def key_value(self, y: Tensor, delta: Delta = NONE) -> tuple[Tensor, Tensor]:
        """Project normalised tokens (..., D) to keys and values (..., D) each."""
        width = y.shape[-1]
        weight, bias = self._in.read()
        both = F.linear(y, weight[width:], _slice(bias, width, 3 * width))
        key, value = plus(both, y, [delta.get("k"), delta.get("v")]).chunk(2, -1)
        return key, value

    def projected(self, y: Tensor, delta: Delta = NONE) -> Tensor:
        """Project normalised tokens (..., D) to queries, keys and values side by side (..., 3 D)."""
        return plus(self._in(y), y, [delta.get("q"), delta.get("k"), delta.get("v")])

    def split(self, x: Tensor) -> Tensor:
        """Turn (..., L, D) into heads (..., h, L, D / h)."""
        return x.reshape(*x.shape[:-1], self.heads, -1).transpose(-3, -2)

    def finish(self, x: Tensor, attended: Tensor, delta: Delta = NONE) -> Tensor:
        """Add to the residual stream x (..., D) what attention gathered (..., D) and the feed-forward part."""
        block = self.block
        out = plus(self._out(attended), attended, [delta.get("o")])
        x = x + cast(Tensor, block.ls_1(out))
        return x + cast(Tensor, block.ls_2(self._feed_forward(layer_norm(block.ln_2, x), delta)))

    def full(self, x: Tensor, beside: Tensor | None = None, delta: Delta = NONE, mask: Tensor | None = None) -> Tensor:
        """Compute the layer at every position of x (N, L, D): (N, L, D), or (N * v, L, D).

        Args:
            x: the residual stream.
            beside: (1 or N * v, n, D) tokens that every position sees and whose own output nobody reads; with N * v,
                each sequence of `x` is computed v times.
            delta: of the layer's matrices.
            mask: what is added to the scores, as open_clip's layers take it: (L, L) or (N * h, L, L).
        """
        if beside is not None and x.is_cuda and not delta and len(beside) <= len(x):
            # A GPU computes these few outputs sooner than it starts the operations that would leave them out.
            return self.full(behind(x, beside))[:, : x.shape[1]]
        projected = self.projected(self.norm_1(x), delta)
        if beside is not None:
            x, projected = (repeated(each, beside) for each in (x, projected))
        query, key, value = projected.chunk(3, -1)
        if beside is not None:
            more_keys, more_values = self.key_value(self.norm_1(beside), at(delta, "beside"))
            key = torch.cat([key, more_keys.expand(len(key), -1, -1)], 1)
            value = torch.cat([value, more_values.expand(len(value), -1, -1)], 1)
        if mask is not None:
            mask = mask.to(query.dtype).view(-1, self.heads if mask.dim() == 3 else 1, *mask.shape[-2:])
        attended = F.scaled_dot_product_attention(self.split(query), self.split(key), self.split(value), mask)
        return self.finish(x, attended.transpose(1, 2).flatten(2), delta)

    def rows(self, x: Tensor, rows: Tensor, delta: Delta = NONE) -> Tensor:
        """Compute the layer (N, D) at one position `rows` (N,) of each sequence of x (N, L, D), the only one read."""
        y = self.norm_1(x)
        every = torch.arange(len(x), device=x.device)
        return self.finish(x[every, rows], self.gather(y[every, rows], y, delta=delta), delta)

    def gather(
        self,
        reader: Tensor,
        tokens: Tensor,
        shared: Tensor | None = None,
        mask: Tensor | None = None,
        delta: Delta = NONE,
    ) -> Tensor:
        """Let one position of each sequence attend, without projecting every token to a key and a value.

        A head's score q . (W_k y + b_k) is (W_k^T q) . y plus a constant, which softmax drops; and what it gathers is
        W_v applied to the weighted mean of the y. So both projections are needed once a reader, not once a token.
        A delta B A adds B to the columns of W and A y to the values of y.

        Args:
            reader: (N, D) normalised tokens that attend.
            tokens: (N, L, D) normalised tokens that are attended to.
            shared: (G, P, D) further ones, each for N / G consecutive sequences; they stand before `tokens`.
            mask: boolean (True = visible), broadcastable to (N, h, P + L).
            delta: of the layer's matrices.

        Returns:
            (N, D) gathered values, heads joined.
        """
        if tokens.is_cuda and tokens.shape[0] * tokens.shape[1] <= FEW_ROWS:
            return self._gather_directly(reader, tokens, shared, mask, delta)
        count, width = reader.shape
        weight, bias = self._in.read()[0][width:], self.block.attn.in_proj_bias  # autocast does not round a sum's terms
        query = self.query(reader, delta).view(count, self.heads, -1).transpose(0, 1)
        low = [delta.get("k"), delta.get("v")]
        if any(low):
            weight = torch.cat([weight, raised(low, width, weight)], 1)
            tokens = torch.cat([tokens, reduced(tokens, low)], -1)
            shared = None if shared is None else torch.cat([shared, reduced(shared, low)], -1)
        to_key, to_value = weight.view(2, self.heads, -1, weight.shape[1])
        wanted = (query @ to_key / query.shape[-1] ** 0.5).transpose(0, 1)  # (N, h, D), wider with a delta
        scores = wanted @ tokens.transpose(1, 2)
        if shared is not None:
            grouped = wanted.reshape(len(shared), -1, weight.shape[1])
            before = (grouped @ shared.transpose(1, 2)).view(count, self.heads, -1)
            scores = torch.cat([before, scores], -1)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        share = scores.softmax(-1).to(tokens.dtype)
        mean = share[..., -tokens.shape[1] :] @ tokens
        if shared is not None:
            of_shared = share[..., : shared.shape[1]].reshape(len(shared), -1, shared.shape[1])
            mean = mean + (of_shared @ shared).view_as(mean)
        value = mean.transpose(0, 1) @ to_value.transpose(1, 2)  # (h, N, D / h)
        joined: Tensor = value.transpose(0, 1).flatten(1)
        return joined if bias is None else joined + bias[2 * width :]

    def _gather_directly(
        self, reader: Tensor, tokens: Tensor, shared: Tensor | None, mask: Tensor | None, delta: Delta
    ) -> Tensor:
        """Return what `gather` does, with a key and a value of every token: more arithmetic in fewer operations."""
        key, value = self.key_value(tokens, delta)
        if shared is not None:
            before = [each(one, len(tokens)) for one in self.key_value(shared, delta)]
            key, value = torch.cat([before[0], key], 1), torch.cat([before[1], value], 1)
        query, key, value = self.split(self.query(reader, delta)[:, None]), self.split(key), self.split(value)
        attended = F.scaled_dot_product_attention(query, key, value, None if mask is None else mask[:, None])
        return attended.flatten(1)

    def shape(self, matrix: str) -> tuple[int, int]:
        """Return the shape (out, in) of one of the layer's matrices, by its name in `MATRICES`."""
        mlp, width = self.block.mlp, self.block.attn.embed_dim
        shapes = {"c_fc": mlp.c_fc.weight.shape, "c_proj": mlp.c_proj.weight.shape}
        return tuple(shapes.get(matrix, (width, width)))

    def _feed_forward(self, x: Tensor, delta: Delta) -> Tensor:
        fold = QUICK_GELU if self._quick else 1.0  # what `_fold` has put into the weights
        wide, narrow = delta.get("c_fc"), delta.get("c_proj")
        hidden = plus(self._wide(x), x, [None if wide is None else wide.times(fold)])
        hidden = F.silu(hidden) if self._quick else cast(Tensor, self.block.mlp.gelu(hidden))
        return plus(self._narrow(hidden), hidden, [None if narrow is None else narrow.times(1 / fold)])

    def _fold(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the feed-forward part's first weight, its bias, and the second weight, as they are multiplied.

        x * sigmoid(1.702 x) = silu(1.702 x) / 1.702: with the constant in the weights, QuickGELU is one kernel.
        """
        mlp = self.block.mlp
        first, bias, second = mlp.c_fc.weight, mlp.c_fc.bias, mlp.c_proj.weight
        if not self._quick:
            return first, bias, second
        return self._folded.of(
            first, bias, second, make=lambda: (first * QUICK_GELU, bias * QUICK_GELU, second / QUICK_GELU)
        )


def matrix_shapes(
    blocks: Sequence[object], matrices: Sequence[str], layers: Sequence[int] | None, tower: str
) -> Shapes:
    """Return the shapes (out, in) of some of `MATRICES` that may have low-rank deltas, by layer and name.

    The layers are some of a tower's blocks, counted from 0; None: all.

    Raises:
        UsageError: an unknown matrix or layer, or layers other than open_clip's plain ones.
    """
    for matrix in matrices:
        if matrix not in MATRICES:
            raise unknown("matrix", matrix, MATRICES)
    found: dict[int, dict[str, tuple[int, int]]] = {}
    for layer in range(len(blocks)) if layers is None else layers:
        if not 0 <= layer < len(blocks):
            raise UsageError(f"{tower} has layers 0 to {len(blocks) - 1}, no layer {layer}")
        block = blocks[layer]
        if not isinstance(block, FrozenBlock):
            raise UsageError(
                f"low-rank deltas need open_clip's plain residual attention layer, but {tower} has others: "
                "use another backbone, or deltas in the other tower only"
            )
        found[layer] = {matrix: block.shape(matrix) for matrix in matrices}
    return found


def repeated(x: Tensor, like: Tensor) -> Tensor:
    """Repeat each sequence of `x` (N, ...) v times where `like` has N * v of them."""
    times = len(like) // len(x)
    return x.repeat_interleave(times, 0) if times > 1 else x


def behind(x: Tensor, prompts: Tensor) -> Tensor:
    """Put prompts (1 or N * v, n, D) behind the tokens x (N, L, D), each sequence v times."""
    x = repeated(x, prompts)
    return torch.cat([x, prompts.expand(len(x), -1, -1)], 1)


def each(shared: Tensor, total: int) -> Tensor:
    """Give each of `total` sequences what its group shares (G, ...)."""
    if len(shared) == 1:
        return shared.expand(total, *(-1,) * (shared.dim() - 1))
    return shared.repeat_interleave(total // len(shared), 0)


def layer_norm(norm: nn.LayerNorm | nn.Identity, x: Tensor) -> Tensor:
    """Apply a layer norm in the type of its weights (float32 beside half-precision matrices) or an identity."""
    if isinstance(norm, nn.Identity):
        return x
    wide = x.to(norm.weight.dtype)
    return F.layer_norm(wide, norm.normalized_shape, norm.weight, norm.bias, norm.eps).to(x.dtype)


def _slice(bias: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if bias is None else bias[start:stop]
