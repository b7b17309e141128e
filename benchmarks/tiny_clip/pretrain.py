"""Contrastive pre-training with soft targets: every caption that is true of a picture counts as its match."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.clip.tiny import build_model, build_tokenizer, token_table

from .captions import vocabulary
from .scene import Artist


@dataclass(frozen=True)
class Recipe:
    """What decides the weights. Change `version` with any change of drawing, captions or training."""

    version: int = 1
    seed: int = 1
    steps: int = 2700
    batch: int = 256
    rate: float = 1e-3
    warmup: int = 150
    weight_decay: float = 0.05
    largest_scale: float = 100.0

    def rate_at(self, step: int) -> float:
        """Learning rate: linear warm-up, then half a cosine to 1% of the peak."""
        ramp = min(1.0, (step + 1) / self.warmup)
        return self.rate * ramp * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / self.steps)))


class Student:
    """The model in training; of the token embedding only the rows of the vocabulary train."""

    def __init__(self, recipe: Recipe):
        self.tokenizer = build_tokenizer()
        torch.manual_seed(recipe.seed)  # the only draws from it are the initial weights
        self.model: Any = build_model()
        token_ids = torch.unique(self.tokenizer(vocabulary()))
        table = token_table(*self.model.token_embedding.weight.shape)
        self.model.token_embedding.weight.requires_grad_(False).copy_(table)
        self.token_ids = token_ids
        self.rows = nn.Parameter(table[token_ids].clone())
        self.position = torch.full((len(table),), -1).scatter(0, token_ids, torch.arange(len(token_ids)))
        self.tokens: dict[str, Tensor] = {}
        settings = self.model.visual.preprocess_cfg
        self.mean, self.std = (torch.tensor(settings[key]).view(1, 3, 1, 1) for key in ("mean", "std"))

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Decay matrices; leave embeddings, norms, biases and the logit scale alone."""
        trained = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        matrices = [p for name, p in trained if p.ndim >= 2 and "embedding" not in name]
        others = [p for name, p in trained if p.ndim < 2 or "embedding" in name]
        return [
            {"params": matrices, "weight_decay": weight_decay},
            {"params": [*others, self.rows], "weight_decay": 0.0},
        ]

    def encode_text(self, texts: list[str]) -> Tensor:
        """Encode captions with the trainable rows; positions after the end token are never computed."""
        for text in texts:
            if text not in self.tokens:
                self.tokens[text] = self.tokenizer(text)[0]
        ids = torch.stack([self.tokens[text] for text in texts])
        end = ids.argmax(-1)
        ids = ids[:, : int(end.max()) + 1]
        model, length = self.model, ids.shape[1]
        x = F.embedding(self.position[ids], self.rows) + model.positional_embedding[:length]
        x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
        x = model.ln_final(x)[torch.arange(len(x)), end] @ model.text_projection
        return F.normalize(x, dim=-1)

    def encode_image(self, pictures: Tensor) -> Tensor:
        """Encode pictures (batch, 3, 32, 32) in 0..1."""
        return F.normalize(self.model.encode_image((pictures - self.mean) / self.std), dim=-1)

    def finish(self) -> Any:
        """Put the trained rows into the token embedding and return the model in evaluation mode."""
        with torch.no_grad():
            self.model.token_embedding.weight[self.token_ids] = self.rows
        return self.model.eval()


def soft_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Symmetric cross-entropy whose targets are spread evenly over the true pairs.

    Args:
        logits: (pictures, captions).
        truth: The same shape, 1 where the caption is true of the picture.
    """
    by_picture = truth / truth.sum(1, keepdim=True)
    by_caption = truth / truth.sum(0, keepdim=True)
    return -0.5 * (
        (by_picture * logits.log_softmax(1)).sum(1).mean() + (by_caption * logits.log_softmax(0)).sum(0).mean()
    )


def pretrain(recipe: Recipe, report: Callable[[str], None], look: Callable[[Student], str]) -> Student:
    """Train for exactly `recipe.steps` steps; `look` describes the model every 300 steps."""
    student, artist = Student(recipe), Artist(recipe.seed)
    model = student.model.train()
    optimizer = torch.optim.AdamW(student.parameter_groups(recipe.weight_decay), lr=recipe.rate, betas=(0.9, 0.98))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    began, correct = time.perf_counter(), []
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate_at(step)
        pictures, facts, captions = artist.batch(recipe.batch)
        truth = torch.from_numpy(captions.true_of(facts)).float()
        logits = model.logit_scale.exp() * student.encode_image(pictures) @ student.encode_text(captions.texts).T
        loss = soft_loss(logits, truth)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(recipe.largest_scale))
            correct.append(truth[torch.arange(len(truth)), logits.argmax(1)].mean().item())
        if (step + 1) % 300 == 0:
            student.finish()
            seen = look(student)
            model.train()
            report(
                f"step {step + 1:5d}  {time.perf_counter() - began:5.0f} s  loss {loss.item():.3f}  "
                f"true caption first {np.mean(correct[-300:]):.3f}  "
                f"scale {model.logit_scale.exp().item():.1f}  {seen}"
            )
    student.finish()
    return student
