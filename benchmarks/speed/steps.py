"""Seconds a training step: engine against plain reference, for each method and number of classes."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.speed.floor import flops, peak_flops
from benchmarks.speed.measure import Timing, in_turn
from benchmarks.speed.reference import exact_step, looped, published_step
from lamm_cl import ClipBackbone, build_model
from lamm_cl.methods.learner import Learner
from lamm_cl.prompts.matching import Transport

BATCH = {"cocoop": 1, "maple": 4, "maple+lamm": 4, "align": 4, "vpt": 4, "ivlp": 4, "promptsrc": 4}
OPTIONS: dict[str, dict[str, Any]] = {
    "coop": {"ctx_init": "a photo of a"},
    "coop+lamm": {"ctx_init": "a photo of a"},
    "align": {"n_prompts": 2},  # with four, as for most data sets, the image tower's share doubles
    "clip_lora (text)": {"encoder": "text"},
}
METHODS = (
    *("lamm", "coop", "coop+lamm", "cocoop", "maple", "maple+lamm", "align", "clip_lora", "clip_lora (text)"),
    *("promptsrc", "tcp"),
)
# The numbers of classes are those of EuroSAT, DTD and Flowers102; so are the first two lists of names. The third is
# nouns with an adjective or two, as long as flowers' names are.
EUROSAT = (
    "annual crop land, forest, herbaceous vegetation land, highway or road, industrial buildings, pasture land, "
    "permanent crop land, residential buildings, river, sea or lake"
)
DTD = (
    "banded, blotchy, braided, bubbly, bumpy, chequered, cobwebbed, cracked, crosshatched, crystalline, "
    "dotted, fibrous, flecked, freckled, frilly, gauzy, grid, grooved, honeycombed, interlaced, knitted, "
    "lacelike, lined, marbled, matted, meshed, paisley, perforated, pitted, pleated, polka-dotted, "
    "porous, potholed, scaly, smeared, spiralled, sprinkled, stained, stratified, striped, studded, "
    "swirly, veined, waffled, woven, wrinkled, zigzagged"
)
NOUNS = ("beagle", "pug", "airbus a380", "water lily", "apple pie", "ferry boat", "golf course", "persian cat")
KINDS = ("small", "old", "wild", "dwarf", "common", "giant", "northern", "red", "striped", "spotted", "royal", "plain")


@dataclass(frozen=True)
class Step:
    """One row of the table."""

    method: str
    classes: int
    batch: int
    reference_seconds: float
    reference_system_seconds: float
    exact_seconds: float
    ratio: float
    ratio_low: float
    ratio_high: float
    share_of_floor: float
    loss_difference: float


def names(count: int) -> list[str]:
    """Return `count` distinct class names of the lengths that data sets have."""
    for known in (EUROSAT, DTD):
        if count == len(known.split(", ")):
            return known.split(", ")
    first = list(NOUNS)
    second = [f"{kind} {noun}" for kind in KINDS for noun in NOUNS]
    third = [f"{a} {b} {noun}" for a in KINDS for b in KINDS if a != b for noun in NOUNS]
    return (first + second + third)[:count]


def built(row: str, backbone: ClipBackbone, class_names: list[str]) -> Learner:
    """Build the method of a row of the table: a name, and in brackets which of its forms."""
    return build_model(row.partition(" (")[0], backbone, class_names, **OPTIONS.get(row, {}))


def measure_step(backbone: ClipBackbone, method: str, classes: int, repeat: int) -> Step:
    """Time one method at one number of classes."""
    torch.manual_seed(0)
    batch = BATCH.get(method, 32)
    model = built(method, backbone, names(classes))
    images = torch.randn(batch, 3, *backbone.image_size)
    labels = torch.arange(batch) % classes
    features = F.normalize(backbone.encode_images(images), dim=-1)
    losses: dict[str, float] = {}

    def reference() -> None:
        losses["reference"] = float(published_step(model, images, labels))

    def exact() -> None:
        losses["exact"] = float(exact_step(model, images, features, labels))

    timing = in_turn(reference, exact, repeat)
    difference = abs(losses["exact"] - losses["reference"]) / abs(losses["reference"])
    return _row(method, classes, timing, flops(exact), difference)


def measure_transport(backbone: ClipBackbone, classes: int, repeat: int) -> Step:
    """Time ALIGN's transport alone, on what its towers give: no encoding, no gradient."""
    torch.manual_seed(0)
    batch = BATCH["align"]
    model = built("align", backbone, names(classes))
    exact = model.matching
    assert isinstance(exact, Transport)
    with torch.no_grad():
        sides = (
            model._encoded_images(torch.randn(batch, 3, *backbone.image_size)),
            model.text.encode(tuple(range(classes)))[0],
        )
        timing = in_turn(lambda: looped(exact)(*sides), lambda: exact(*sides), repeat)
        difference = (looped(exact)(*sides) - exact(*sides)).abs().max()
    return _row("align", classes, timing, flops(lambda: exact(*sides)), float(difference))


def _row(method: str, classes: int, timing: Timing, products: int, difference: float) -> Step:
    low, high = timing.spread
    return Step(
        method=method,
        classes=classes,
        batch=BATCH.get(method, 32),
        reference_seconds=min(timing.reference),
        reference_system_seconds=timing.reference_system,
        exact_seconds=min(timing.exact),
        ratio=timing.ratio,
        ratio_low=low,
        ratio_high=high,
        share_of_floor=products / peak_flops() / min(timing.exact),
        loss_difference=difference,
    )
