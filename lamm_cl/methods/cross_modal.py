"""Cross-modal fusion: an image looks at the texts, the prototypes and learned context of all classes (PROOF)."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.clip.linear import mixed
from lamm_cl.methods.adapters import Adapter
from lamm_cl.methods.head import Head, Text, TextLogits
from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.objective import Batch
from lamm_cl.methods.stage import Stage, Step
from lamm_cl.methods.statistics import ClassStatistics
from lamm_cl.prompts.vectors import Initial
from lamm_cl.seeds import seed_for

TO_TEXT, TO_PROTOTYPES = "fused text", "fused prototypes"


class SharedAttention(nn.Module):
    """One head of self-attention over sequences that differ in their first token alone: an image before others.

    A training step drops some of its weights and of its outputs; a residual and a LayerNorm stand behind. What all
    images share is projected once, and the last map is taken of the values, before they are summed and not behind:
    fc(sum of w_s v_s) = sum of w_s fc(v_s), so that no matrix of width x width meets every token of every image.

    Args:
        width: of the tokens.
        initial: source of random values.
        dropout: share of the weights, and of the outputs, that a training step drops.

    Attributes:
        step: where training is; None outside of training steps, where nothing is dropped.
    """

    step: Step | None = None

    def __init__(self, width: int, initial: Initial, dropout: float) -> None:
        super().__init__()
        self._dropout, self._temperature = dropout, width**0.5
        for name in ("w_qs", "w_ks", "w_vs"):
            layer = initial.linear(f"attention/{name}", width, width, bias=False)
            layer.weight.data = initial.normal(f"attention/{name}", width, width, std=width**-0.5)
            self.add_module(name, layer)
        self.fc = initial.linear("attention/fc", width, width)
        self.fc.weight.data = initial.normal("attention/fc/weight", width, width, std=width**-0.5)
        self.layer_norm = nn.LayerNorm(width, device=initial.device, dtype=initial.dtype)

    def forward(self, images: Tensor, others: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Return the outputs of the images (b, width) and, for each, of the first n others (b, n, width).

        Args:
            images: (b, width), the first token of each sequence.
            others: (m, width), which follow in every sequence.
            n: how many of them are wanted; the rest are looked at alone.
        """
        b, m, everything = len(images), len(others), torch.cat([images, others])
        q, k, v = (self.get_submodule(name)(everything) for name in ("w_qs", "w_ks", "w_vs"))
        pairs = (q[: b + n] / self._temperature) @ k.T
        with_image = torch.cat([pairs[:b, :b].diagonal()[None], pairs[b:, :b]]).T
        with_others = torch.cat([pairs[:b, None, b:], pairs[b:, b:].expand(b, n, m)], 1)
        weights = torch.cat([with_image[..., None], with_others], 2).softmax(-1)
        kept = [x.to(weights.device).to(weights.dtype) for x in self._masks(b, n, m)]
        left = 1 - self._dropout if kept else 1.0
        values = F.linear(v, self.fc.weight / left**2)
        if kept:
            weights = weights * kept[0]
        of_image, of_others = weights.split_with_sizes([1, m], -1)
        out = mixed(of_others.reshape(-1, m), values[b:], self.fc.bias / left).view(b, 1 + n, -1)
        out = out.baddbmm(of_image, values[:b, None])
        if kept:
            out = out.mul_(kept[1])
        first, rest = out.split_with_sizes([1, n], 1)
        return self.layer_norm(first[:, 0] + images), self.layer_norm(rest + others[:n])

    def _masks(self, batch: int, n: int, m: int) -> list[Tensor]:
        """Return what stays of weights (batch, 1 + n, 1 + m) and of outputs (batch, 1 + n, width); [] if all."""
        if not self._dropout or self.step is None or not torch.is_grad_enabled():
            return []
        shapes = (batch, 1 + n, 1 + m), (batch, 1 + n, self.fc.out_features)
        return [self.kept(self.step, call, shape) for call, shape in enumerate(shapes)]

    def kept(self, step: Step, call: int, shape: Sequence[int]) -> Tensor:
        """Return True where a value stays; drawn for each step and call by itself, the share rounded to 1 / 65536.

        Four draws of 16 bits from each number of NumPy's SFC64 cost a tenth of torch's.
        """
        source, size = np.random.SFC64(seed_for("attention dropout", *step.place, call)), math.prod(shape)
        drawn = source.random_raw(-(-size // 4)).astype("<u8", copy=False).view("<u2")[:size]
        return torch.from_numpy(drawn >= round(self._dropout * (1 << 16))).view(*shape)


class CrossModal(Head):
    """Scores by three products: mapped image and text, and the same two, and image and prototype, behind an attention.

    An image stands in one sequence with the texts and the prototypes of all classes that were learned, and with a few
    learned tokens a stage, of which older ones are frozen. Prototypes are means of features of length 1, mapped as
    images are. In training all that enters has length 1; in evaluation the released code forgets it for images.

    Args:
        adapter: maps images and prototypes; it is the learner's, and no child of this part.
        width: of the features.
        tokens: learned tokens a stage.
        scale: CLIP's factor of cosines, which trains (its logarithm does).
        average: over which images the outputs of texts and prototypes are averaged in evaluation: those of the
            "batch", as in training and in the released code, so that a prediction depends on its mini-batch; or none
            but the "image" itself.
        initial: source of random values.
        dropout: of the attention.
    """

    takes = "raw"
    in_front = True
    trains = True

    def __init__(
        self,
        adapter: Adapter,
        width: int,
        tokens: int,
        scale: Tensor,
        average: Literal["batch", "image"],
        initial: Initial,
        dropout: float,
    ) -> None:
        super().__init__()
        self._adapter = (adapter,)  # in a tuple: its values are the learner's
        self._width, self._tokens, self._average, self._initial = width, tokens, average, initial
        self.scores_by_batch = average == "batch"
        self.attention = SharedAttention(width, initial, dropout)
        self.contexts = nn.ParameterList()
        self.logit_scale = nn.Parameter(scale.detach().log().to(initial.dtype).clone())
        self.prototypes = ClassStatistics(width)

    def grow(self, n_classes: int) -> None:
        """Make room for more classes."""
        self.prototypes.grow(n_classes)

    def begin_stage(self, stage: Stage, data: PartData | None) -> None:
        """Take the prototypes of the stage's new classes, and start new tokens."""
        self.contexts.requires_grad_(False)
        name = f"fusion/context/{len(self.contexts)}"
        self.contexts.append(nn.Parameter(self._initial.normal(name, self._tokens, self._width, std=1.0)))
        if data is None:
            return
        if stage.cumulative:
            self.prototypes.reset()
        features, labels = data.collect("train", None)
        mine = stage.classes if stage.cumulative else stage.new
        rows = torch.isin(labels, torch.tensor(mine, device=labels.device))
        self.prototypes.add(F.normalize(features[rows], dim=-1), labels[rows])

    def begin_step(self, step: Step | None) -> None:
        """Say where training is, or that no step is under way."""
        self.attention.step = step

    def factor(self) -> Tensor:
        """Return the factor of the mapped features' cosines."""
        return self.logit_scale.exp()

    def to_text(self, batch: Batch) -> Tensor:
        """Return the cross entropy of images and texts behind the attention: plain products, no temperature."""
        return self._ce(batch, TO_TEXT)

    def to_prototypes(self, batch: Batch) -> Tensor:
        """Return the cross entropy of images and prototypes behind the attention."""
        return self._ce(batch, TO_PROTOTYPES)

    def forward(self, features: Tensor, columns: Sequence[int], text: TextLogits) -> Tensor:
        """Return the sum of the three products (batch, len(columns)); before any stage, the text's logits."""
        assert isinstance(text, Text)
        seen = self.prototypes.known.nonzero()[:, 0].tolist()
        if not seen:
            text.found[TO_TEXT] = text.found[TO_PROTOTYPES] = text(columns)
            return text(columns)
        words, means = text.features(seen), self.prototypes.mean[seen].to(features)
        image, means = self._adapter[0](torch.cat([features, means])).split((len(features), len(means)))
        image, means = F.normalize(image, dim=-1) if text.training else image, F.normalize(means, dim=-1)
        fused, to_text, to_prototypes = self._fused(image, words, means, text.training or self._average == "batch")
        products = {
            TO_TEXT: _product(fused, to_text),
            TO_PROTOTYPES: _product(fused, to_prototypes),
            "mapped text": image @ words.T,
        }
        place = torch.tensor([seen.index(c) if c in seen else -1 for c in columns], device=image.device)
        for name, product in products.items():
            text.found[name] = torch.where(place >= 0, product[:, place], -torch.inf)
        return sum((text.found[name] for name in products), torch.zeros((), dtype=image.dtype, device=image.device))

    def _fused(self, image: Tensor, words: Tensor, means: Tensor, average: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return images (b, E), and texts and prototypes: (n, E), or (b, n, E) where each image has its own."""
        others, n = torch.cat([words, means, *self.contexts]), len(words)
        fused, rest = self.attention(image, others, 2 * n)
        if average:
            rest = rest.mean(0)
        return fused, rest[..., :n, :], rest[..., n:, :]

    @staticmethod
    def _ce(batch: Batch, name: str) -> Tensor:
        return F.cross_entropy(batch.output.found(name)[:, batch.keep], batch.rows)


def _product(image: Tensor, other: Tensor) -> Tensor:
    return image @ other.T if other.dim() == 2 else (image[:, None] * other).sum(-1)
