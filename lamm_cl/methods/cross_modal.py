"""Cross-modal fusion: an image looks at the texts, the prototypes and learned context of all classes (PROOF)."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.methods.adapters import Adapter
from lamm_cl.methods.head import Head, Text, TextLogits
from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.objective import Batch
from lamm_cl.methods.stage import Stage, Step
from lamm_cl.methods.statistics import ClassStatistics
from lamm_cl.prompts.vectors import Initial
from lamm_cl.seeds import seed_for

TO_TEXT, TO_PROTOTYPES = "fused text", "fused prototypes"


class SelfAttention(nn.Module):
    """One head over a sequence, with dropout in its weights and behind it, a residual and a LayerNorm.

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

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (batch, n, width)."""
        q, k, v = (self.get_submodule(name)(tokens) for name in ("w_qs", "w_ks", "w_vs"))
        weights = self._dropped(((q @ k.mT) / self._temperature).softmax(-1), 0)
        mixed: Tensor = self.layer_norm(self._dropped(self.fc(weights @ v), 1) + tokens)
        return mixed

    def _dropped(self, x: Tensor, call: int) -> Tensor:
        if not self._dropout or self.step is None or not torch.is_grad_enabled():
            return x
        return x * self.kept(self.step, call, x.shape).to(x) / (1 - self._dropout)

    def kept(self, step: Step, call: int, shape: Sequence[int]) -> Tensor:
        """Return 1 where a value stays, else 0; drawn for each step and call by itself."""
        generator = torch.Generator().manual_seed(seed_for("attention dropout", *step.place, call))
        return torch.rand(tuple(shape), generator=generator) >= self._dropout


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
        self.attention = SelfAttention(width, initial, dropout)
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
        image, words = self._adapter[0](features), text.features(seen)
        means = F.normalize(self._adapter[0](self.prototypes.mean[seen].to(features)), dim=-1)
        image = F.normalize(image, dim=-1) if text.training else image
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
        mixed = self.attention(torch.cat([image[:, None], others.expand(len(image), *others.shape)], 1))
        texts, prototypes = mixed[:, 1 : 1 + n], mixed[:, 1 + n : 1 + 2 * n]
        if average:
            texts, prototypes = texts.mean(0), prototypes.mean(0)
        return mixed[:, 0], texts, prototypes

    @staticmethod
    def _ce(batch: Batch, name: str) -> Tensor:
        return F.cross_entropy(batch.output.found(name)[:, batch.keep], batch.rows)


def _product(image: Tensor, other: Tensor) -> Tensor:
    return image @ other.T if other.dim() == 2 else (image[:, None] * other).sum(-1)
