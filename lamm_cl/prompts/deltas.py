"""Learned low-rank deltas of frozen matrices inside the towers: W + s B A (LoRA, Hu et al. 2022)."""

from typing import Literal, cast

import torch
from torch import nn

from lamm_cl.clip import low_rank
from lamm_cl.clip.low_rank import LowRank, Shapes
from lamm_cl.prompts.vectors import Initial

Start = Literal["linear", "xavier"]


class Deltas(nn.Module):
    """Low-rank deltas of chosen matrices of chosen layers of either tower.

    A starts at random and B at zero: at first nothing is changed.
    In half precision both stay in float32 and are rounded where they enter a layer.

    Args:
        text: shapes (out, in) of the text tower's matrices, as `TextTower.matrices` gives them; empty: none.
        image: the same of the image tower.
        rank: r, of every delta.
        scale: s.
        initial: source of random values.
        dropout: share of its input that A does not see in a training step, drawn for each matrix by itself.
        start: of A: from U(-b, b) with b = 1/sqrt(in), as torch's linear layers, or Xavier's sqrt(6 / (in + r)).
    """

    def __init__(
        self,
        text: Shapes,
        image: Shapes,
        rank: int,
        scale: float,
        initial: Initial,
        dropout: float = 0.0,
        start: Start = "linear",
    ) -> None:
        super().__init__()
        self.scale, self.dropout = scale, dropout
        # Names the training step that is under way; None outside of one, where nothing is dropped.
        self.step: tuple[str | int, ...] | None = None
        self.text = _layers("text", text, rank, initial.at_least_float, start)
        self.image = _layers("image", image, rank, initial.at_least_float, start)

    def of(self, tower: Literal["text", "image"]) -> low_rank.Deltas:
        """Return the deltas of a tower, as it takes them."""
        drops = self.dropout > 0 and self.step is not None and self.training and torch.is_grad_enabled()
        found: dict[int, dict[str, LowRank]] = {}
        for layer, matrices in (self.text if tower == "text" else self.image).items():
            found[int(layer)] = {}
            for matrix, pair in cast(dict[str, nn.ParameterDict], matrices).items():
                names = (*(self.step or ()), tower, layer, matrix)
                dropout = self.dropout if drops else 0.0
                found[int(layer)][matrix] = LowRank(pair["a"], pair["b"], self.scale, dropout, names)
        return found


def _layers(tower: str, shapes: Shapes, rank: int, initial: Initial, start: Start) -> nn.ModuleDict:
    """Return a pair for each matrix of each layer."""
    layers = nn.ModuleDict()
    for layer, matrices in shapes.items():
        names = {matrix: f"delta/{tower}/{layer}/{matrix}" for matrix in matrices}
        pairs = {matrix: _pair(names[matrix], shape, rank, initial, start) for matrix, shape in matrices.items()}
        layers[str(layer)] = nn.ModuleDict(pairs)
    return layers


def _pair(name: str, shape: tuple[int, int], rank: int, initial: Initial, start: Start) -> nn.ParameterDict:
    """Return A (r, in) and B (out, r) of one matrix (out, in)."""
    outputs, inputs = shape
    a = initial.uniform(name, inputs**-0.5 if start == "linear" else (6 / (inputs + rank)) ** 0.5, rank, inputs)
    return nn.ParameterDict({"a": nn.Parameter(a), "b": nn.Parameter(a.new_zeros(outputs, rank))})
