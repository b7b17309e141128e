"""Streams put together from stand-ins: what building the real ones would refuse, and what they would cost.

The catalogue knows how many classes and images a data set has, and the protocols are asked themselves: no rule of
theirs is repeated here.
"""

import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lamm_cl.data.catalogue import CATALOGUE, find
from lamm_cl.data.items import Dataset, Item
from lamm_cl.data.load import data_root, load_dataset
from lamm_cl.data.own_data import is_own
from lamm_cl.data.status import readable, state_of
from lamm_cl.errors import UsageError, refusal
from lamm_cl.experiments.document import Problem
from lamm_cl.experiments.names import datasets_beside, takes_all_datasets
from lamm_cl.experiments.spec import Environment, RunSpec
from lamm_cl.methods.values import Key
from lamm_cl.streams.build import build_layout
from lamm_cl.streams.layout import Layout

_PHOTOGRAPH = (500, 375)  # pixels: the median of ImageNet, of the pets and of most sets of photographs


def stream_problems(protocol: str, options: Mapping[str, Any], datasets: Sequence[str]) -> list[Problem]:
    """Return what building the streams of a config would refuse; its protocol is known, its options well-typed."""
    found: dict[tuple[Key, str], list[str]] = {}
    for names in [list(datasets)] if takes_all_datasets(protocol) else [[name] for name in datasets]:
        left = _checkable(protocol, options, names)
        while (error := _refusal(protocol, left, names)) is not None:
            option = error.option if error.option in left else None
            found.setdefault((("protocol", option) if option else ("datasets",), str(error)), []).extend(names)
            if option != "order":  # which sets there are to evaluate on does not depend on the order
                break
            del left[option]
    return [
        Problem(key, text if len(names) == len(datasets) else f"{text} Said of {', '.join(names)}.")
        for (key, text), names in found.items()
    ]


def _checkable(protocol: str, options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Leave out what only the data can tell: their class names, and how many classes one's own have."""
    left = {key: value for key, value in options.items() if value is not None}
    if protocol != "class_incremental":
        return left
    own = any(name not in CATALOGUE for name in names)
    order = left.get("order")
    if isinstance(order, list) and (own or any(isinstance(entry, str) for entry in order)):
        del left["order"]
    if own and "increment" in left:
        left.pop("evaluate", None)
    return left


def _refusal(protocol: str, options: Mapping[str, Any], names: Sequence[str]) -> UsageError | None:
    least = max([2, *(options[key] for key in ("steps", "base") if key in options)])

    def classes(name: str) -> int:
        if protocol == "domain_generalization":  # which classes of one set are in another is not known: one in all
            return 1
        return CATALOGUE[name].classes if name in CATALOGUE else least

    stand_ins = [_stand_in(name, classes(name)) for name in (*names, *datasets_beside(protocol, names))]
    return refusal(build_layout, protocol, stand_ins, 1, 1, None, check_images=False, **options)


class StandIn(Dataset):
    """A data set whose pictures are not there: each is opened as the same photograph."""

    def open(self, item: Item) -> Any:
        """Return a picture that takes as long to decode as a photograph."""
        from PIL import Image

        return Image.open(io.BytesIO(_photograph())).convert("RGB")


@functools.cache
def _photograph() -> bytes:
    from PIL import Image

    kept = io.BytesIO()
    Image.effect_noise(_PHOTOGRAPH, 40).convert("RGB").save(kept, "jpeg", quality=85)
    return kept.getvalue()


def layout_without_data(spec: RunSpec, environment: Environment) -> Layout:
    """Return the layout of a run, in which stand-ins take the places of data sets that are not wholly there.

    Their numbers of classes and images are those of their lists where these are there, else the catalogue's; raises
    `UsageError` where nothing tells them.
    """
    specs = environment.placed(spec.datasets)
    specs += datasets_beside(spec.protocol, specs)
    sets = [_as_far_as_there(one, data_root(environment.root), spec.shots) for one in specs]
    options = dict(spec.protocol_options)
    if spec.protocol == "class_incremental":
        options.pop("order", None)  # it may name classes, and costs nothing
    return build_layout(spec.protocol, sets, spec.shots, spec.seed, None, check_images=False, **options)


def _as_far_as_there(spec: Any, root: Path, shots: int | str) -> Dataset:
    if state_of(spec, root).usable:
        return load_dataset(spec, root)
    listed = readable(spec, root)
    if listed is not None:
        return StandIn(**vars(listed))
    if is_own(spec):
        return load_dataset(spec, root)  # says what is wrong with it
    entry = find(spec["name"] if isinstance(spec, Mapping) else spec)
    train, val, test = entry.sizes
    most = shots * entry.classes if isinstance(shots, int) else train
    return _stand_in(entry.name, entry.classes, (min(train, most), min(val, most), test), entry.template)


def _stand_in(
    name: str, classes: int, sizes: tuple[int, int, int] | None = None, template: str = "a photo of a {}."
) -> Dataset:
    """Return a data set of nobody's pictures, the classes of like size; without sizes, of one image per class."""
    names = [f"kind {label}" for label in range(classes)]
    train, val, test = (
        tuple(Item(f"{name}/{part}/{k}", k % classes, names[k % classes]) for k in range(size))
        for part, size in zip(("train", "val", "test"), sizes or (classes, 0, classes), strict=True)
    )
    return StandIn(name, tuple(names), train, val, test, template)
