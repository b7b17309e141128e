"""The order in which methods and data sets are shown, and how their names read."""

from collections.abc import Mapping
from typing import Any

METHODS = {
    "zero_shot": "zero-shot CLIP",
    "coop": "CoOp",
    "cocoop": "CoCoOp",
    "kgcoop": "KgCoOp",
    "vpt": "VPT",
    "language_prompting": "deep language",
    "ivlp": "IVLP",
    "maple": "MaPLe",
    "align": "ALIGN",
    "prograd": "ProGrad",
    "clip_lora": "CLIP-LoRA",
    "mg_clip": "MG-CLIP",
    "lamm": "LAMM",
}
DATASETS = (
    "imagenet",
    "caltech101",
    "oxford_pets",
    "stanford_cars",
    "oxford_flowers",
    "food101",
    "fgvc_aircraft",
    "sun397",
    "dtd",
    "eurosat",
    "ucf101",
    "imagenetv2",
    "imagenet_sketch",
    "imagenet_a",
    "imagenet_r",
    "digits",
    "glyphs",
)
# What the papers call "11 data sets".
ELEVEN = frozenset(DATASETS[:11])
LABEL_SPACES = ("own", "seen", "all")
AVERAGE = "average"


def method_rank(name: str) -> tuple[int, int, str]:
    """Return a sort key: single methods in the order of the papers, then each `X+lamm`; variants `X_...` behind X.

    >>> sorted(["maple+lamm", "lamm_text", "lamm", "coop", "mine"], key=method_rank)
    ['coop', 'mine', 'lamm', 'lamm_text', 'maple+lamm']
    """
    order = list(METHODS)
    base = name.partition(" ")[0]
    head, plus, _ = base.partition("+")
    if head not in order:  # a variant: X_text
        head = next((known for known in order if head.startswith(f"{known}_")), head)
    place = order.index(head) if head in order else len(order)
    group = 1 if plus or head == "lamm" else 0
    return (group, -1 if head == "lamm" else place, name)


def dataset_rank(name: str) -> tuple[int, str]:
    """Return a sort key: the papers' order, then other names by the alphabet, averages last."""
    if name == AVERAGE:
        return (len(DATASETS) + 1, name)
    return (DATASETS.index(name) if name in DATASETS else len(DATASETS), name)


def shots_rank(shots: str) -> int:
    """Return a sort key for shots as words: none named, then numbers, then "full"."""
    return int(shots) if shots.isdigit() else 10**9 if shots else -1


def space_rank(name: str) -> tuple[int, str]:
    """Return a sort key for label spaces: own, seen, all."""
    return (LABEL_SPACES.index(name) if name in LABEL_SPACES else len(LABEL_SPACES), name)


def spelled_out(value: Any) -> Any:
    """Return JSON `value` with every half of a letter, which no file or terminal takes, spelled as an escape."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {spelled_out(key): spelled_out(item) for key, item in value.items()}
    return [spelled_out(item) for item in value] if isinstance(value, list) else value
