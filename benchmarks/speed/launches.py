"""Operators that a training step and an evaluation batch would launch on a GPU, counted on a pretended one.

On a GPU a small step takes as long as its launches, whatever they compute. The counts are of torch's operators, a lower
bound of the kernels; they depend on layers and classes, hardly on the width. Text is encoded in one piece.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from torch import Tensor

from benchmarks.speed.pretended_gpu import Seen, pretended_gpu
from benchmarks.speed.steps import BATCH, names
from lamm_cl import ClipBackbone, build_model
from lamm_cl.methods.fit import TensorData
from lamm_cl.methods.learner import Learner
from lamm_cl.methods.optimizer import recipe_optimizer, restart, trainable
from lamm_cl.methods.registry import recipe_for
from lamm_cl.strategies.loss import LossGuard
from lamm_cl.strategies.precision import Precision

GPU = torch.device("cuda", 0)
METHODS = {
    "lamm": (10, 47, 102, 1000),
    "coop": (10, 47, 102, 1000),
    "maple": (10, 47, 102, 1000),
    "align": (10, 47),
}
# Options that make a small learner of a method.
SMALL: dict[str, dict[str, Any]] = {
    "align": {"max_iter": 5},
    "acil": {"buffer_size": 16},
    "ranpac": {"M": 16},
    "rail": {"hidden": 16},
    "tip_adapter": {"search_step": [2, 2]},
    "tip_adapter_f": {"search_step": [2, 2]},
}
OPTIONS: dict[str, dict[str, Any]] = {"coop": {"ctx_init": "a photo of a"}}


@dataclass(frozen=True)
class Launches:
    """One row of the table.

    Attributes:
        step: Operators that a training step launches: forward, loss, backward and optimizer.
        evaluation: Operators of an evaluation batch whose values are those of the one before.
        waits: Times that such a batch waits for the GPU.
    """

    method: str
    layers: int
    classes: int
    batch: int
    step: int
    evaluation: int
    waits: int


@dataclass
class Counted:
    """What one training step and one evaluation batch did, and what they computed.

    Attributes:
        step: Of the second training step: index maps are built by then. Empty where nothing trains.
        evaluation: Of the second evaluation batch.
        loss: Of the second step; 0 where nothing trains.
        logits: Of the evaluation batch.
    """

    step: Seen
    evaluation: Seen
    loss: float
    logits: Tensor


def small_backbone(layers: int, width: int = 64) -> ClipBackbone:
    """Return a CLIP with random weights, narrow towers of so many layers each, and CLIP's own vocabulary."""
    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=layers, width=width, head_width=32, patch_size=16, image_size=32)
    text = CLIPTextCfg(layers=layers, width=width, heads=2)
    model = open_clip.CLIP(width, vision, text, quick_gelu=True)
    return ClipBackbone(model, open_clip.get_tokenizer("ViT-B-16"), name="small")


def course(
    model: Learner, device: torch.device, classes: int, precision: str = "fp32", seen: Seen | None = None
) -> Counted:
    """Train a stage of two steps and evaluate two batches, as a strategy does.

    Args:
        model: On the device.
        device: Where to work.
        classes: How many compete.
        precision: As strategies name it.
        seen: Counts on the pretended GPU.
    """
    method = model.method
    batch = BATCH.get(method, 32)
    images = torch.randn(batch, 3, *model.backbone.image_size, generator=torch.Generator().manual_seed(0)).to(device)
    x = images if model.takes == "images" else model.backbone.encode_images(images, model.takes)
    x = F.normalize(x, dim=-1) if model.takes == "unit" else x
    labels, space = (torch.arange(batch) % classes).to(device), tuple(range(classes))
    data = TensorData(dict.fromkeys(("train", "val", "test"), (lambda epoch: x, labels)))
    stage = model.next_stage(space)
    model.begin_stage(stage, data)
    numbers, guard = Precision(precision, device), LossGuard(device)
    optimizer = recipe_optimizer(recipe_for(method, "small").but(lr=0.01), device)
    restart(optimizer, model)
    loss, found = 0.0, []
    for step in range(2 if trainable(model) else 0):
        if seen is not None:
            seen.clear()
        optimizer.zero_grad()
        with numbers.autocast():
            terms = model.objective(model.training_output(x, space), labels, space)
        guard.see(step, terms)
        model.backward(numbers.scaled(terms["total"]), terms)
        numbers.step(optimizer)
        found.append(_copy(seen))
        loss = float(terms["total"].detach())
    model.end_stage(stage, data)
    counted = found[-1] if found else Seen()
    for _ in range(2):
        if seen is not None:
            seen.clear()
        with torch.no_grad(), numbers.autocast():
            logits = model(x)
        found.append(_copy(seen))
    return Counted(counted, found[-1], loss, logits.detach().cpu())


def _copy(seen: Seen | None) -> Seen:
    return Seen() if seen is None else Seen(*(Counter(one) for one in (seen.launched, seen.waits, seen.copies)))


def launches(method: str, classes: int, layers: int = 12) -> Launches:
    """Count a method's launches."""
    with pretended_gpu() as seen:
        model = build_model(method, small_backbone(layers).to(GPU), names(classes), **OPTIONS.get(method, {}))
        counted = course(model, GPU, classes, seen=seen)
    step, evaluation = counted.step, counted.evaluation
    batch = BATCH.get(method, 32)
    return Launches(method, layers, classes, batch, step.launches, evaluation.launches, evaluation.waits.total())
