"""What a learner may be given: images or their features, labels, and the class ids that compete.

Shapes and types are checked everywhere. Values are looked at only where they lie in the CPU's memory: a training step
must not wait for its device.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from operator import index
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamm_cl.clip.backbone import ClipBackbone
from lamm_cl.clip.feature_backbone import Backbone
from lamm_cl.clip.precision import lasting
from lamm_cl.errors import UsageError, unknown

if TYPE_CHECKING:
    from PIL import Image

LENGTH_TOLERANCE = 1e-2  # rounding to float16 or bfloat16 changes a length by less
SHOWN = 5


@dataclass(frozen=True)
class Expected:
    """What a learner takes.

    Attributes:
        takes: "unit", "raw" or "unprojected" image features, or "images" alone.
        width: of its features; 0 where it takes images alone.
        method: its name.
    """

    takes: str
    width: int
    method: str


def label_space(classes: Sequence[int] | Tensor | None, n_classes: int) -> tuple[int, ...]:
    """Return the class ids that compete, checked; all where `classes` is None.

    Raises:
        UsageError: see `class_ids` and `check_space`.
    """
    if classes is None:
        return tuple(range(n_classes))
    ids = class_ids(classes)
    check_space(ids, range(n_classes))
    return ids


def class_ids(classes: Sequence[int] | Tensor) -> tuple[int, ...]:
    """Return class ids as a tuple of int.

    Args:
        classes: integers of any kind, or an integer tensor (n,).

    Raises:
        UsageError: they are something else, such as a mask.
    """
    if isinstance(classes, Tensor):
        if classes.dim() != 1 or not _holds_integers(classes):
            raise UsageError(f"class ids must be integers (n,), for a mask mask.nonzero()[:, 0]; got {_kind(classes)}")
        return tuple(classes.tolist())
    ids = tuple(classes)
    if set(map(type, ids)) <= {int}:
        return ids
    try:
        return tuple(_class_id(class_id) for class_id in ids)
    except TypeError as error:
        raise UsageError(f"class ids must be integers, not names or a mask; got {list(ids[:SHOWN])}") from error


def ids_of(labels: Tensor | Sequence[str], class_names: Sequence[str]) -> Tensor:
    """Return class ids (n,) of labels that may be class names.

    Raises:
        UsageError: a name that the model does not have.
    """
    if isinstance(labels, Tensor):
        return labels
    ids = {name: class_id for class_id, name in enumerate(class_names)}
    for name in labels:
        if name not in ids:
            raise UsageError(
                f"{unknown('class', name, class_names)} A model learns a new one after add_classes([...])."
            )
    return torch.tensor([ids[name] for name in labels], dtype=torch.long)


def preprocessed(backbone: Backbone, images: "Tensor | Sequence[Image.Image | Tensor]") -> Tensor:
    """Return images (n, 3, H, W) of pictures in the evaluation transform; tensors stay as they are.

    Raises:
        UsageError: neither pictures nor tensors, or a backbone without an image tower.
    """
    if isinstance(images, Tensor):
        return images
    if not isinstance(backbone, ClipBackbone):
        raise UsageError("this model has given features and no image tower: give features as one tensor (n, width)")
    found = []
    for one in images:
        picture: Any = one
        if not isinstance(picture, Tensor) and not hasattr(picture, "convert"):
            raise UsageError(f"images are pictures, as PIL.Image.open(path) gives them, or tensors, not {picture!r}")
        found.append(picture if isinstance(picture, Tensor) else backbone.preprocess(picture.convert("RGB")))
    return torch.stack(found)


@lru_cache(maxsize=64)
def check_space(ids: tuple[int, ...], known: range | tuple[int, ...]) -> None:
    """Check the class ids that compete; done once, not every step.

    Args:
        ids: what `class_ids` returned.
        known: class ids that there are.

    Raises:
        UsageError: there is none, or one that is not known or given twice.
    """
    if not ids:
        raise UsageError("the label space is empty: give at least one class id, or None for all")
    strange = sorted(set(ids).difference(known))
    if strange:
        raise UsageError(f"the label space holds class ids {_some(strange)}: give some of {_some(known)}")
    if len(set(ids)) < len(ids):
        twice = sorted({class_id for class_id in ids if ids.count(class_id) > 1})
        raise UsageError(f"the label space holds class ids {_some(twice)} more than once: give each class id once")


def label_rows(labels: Tensor, space: tuple[int, ...], batch: int) -> Tensor:
    """Return each label's row (batch,) in the label space, where the labels lie.

    Args:
        labels: (batch,) class ids of any integer type.
        space: class ids that compete, checked.
        batch: number of images.

    Raises:
        UsageError: the batch is empty, the labels are not one class id an image, or one is not in the label space. In
            a device's memory such a label is too large for an index or becomes row -1: the device refuses both.
    """
    labels = _one_an_image(torch.as_tensor(labels), batch)
    try:
        # A negative label would count from the table's end; shifted, it is -1 in every bit, and any other one 0.
        rows = _row_table(space, labels.device)[labels] | labels >> 63
    except IndexError as error:
        raise _stranger(labels, space) from error
    if rows.is_cpu and int(rows.amin()) < 0:
        raise _stranger(labels, space)
    return rows


def pictures(expected: Expected, images: Tensor | None, image_features: Tensor | None) -> Tensor:
    """Return the one of the two that is given, its values checked as well; features go before images.

    Raises:
        UsageError: also for neither, and for images that are given as features.
    """
    if image_features is None:
        if images is None:
            raise UsageError("losses() needs images or image_features")
        check_values(expected, images)
        return images
    if image_features.dim() == 4:
        raise UsageError(f"image_features of shape {_shape(image_features)} look like images: give them as images")
    _check_features(expected, image_features)
    _check_lengths(expected, image_features)
    return image_features


def plain_features(given: Tensor, batch: int, width: int, method: str) -> Tensor:
    """Return features of the plain tower (batch, width) that are given beside images, checked.

    Raises:
        UsageError: others than one unit feature an image.
    """
    check_values(Expected("unit", width, method), given)
    if len(given) != batch:
        raise UsageError(f"there are {batch} images, but {len(given)} image features beside them")
    return given


def check_pictures(expected: Expected, given: Tensor) -> None:
    """Check the shape and the type of images or their features; the image tower checks the sizes of images.

    Args:
        expected: what the learner takes.
        given: images (batch, 3, H, W), or features (batch, width) where the learner takes them.

    Raises:
        UsageError: says what to give instead.
    """
    if given.dim() == 2:
        _check_features(expected, given)
    elif given.dim() != 4:
        other = "" if expected.takes == "images" else f", or image features (batch, {expected.width})"
        raise UsageError(
            f"images must be (batch, 3, H, W){other}; got {_shape(given)}: for a batch of one write x[None]"
        )


def check_values(expected: Expected, given: Tensor) -> None:
    """Check as `check_pictures` does, and the lengths of features; a NaN in an image shows in the loss.

    Raises:
        UsageError: also for features of another length, or with NaN in them.
    """
    check_pictures(expected, given)
    if given.dim() == 2:
        _check_lengths(expected, given)


def _check_lengths(expected: Expected, features: Tensor) -> None:
    if not features.is_cpu or not len(features):
        return
    exact = features.dtype if features.dtype == torch.float64 else torch.float32
    shortest, longest = torch.linalg.vector_norm(features.detach(), dim=1, dtype=exact).aminmax()
    low, high = float(shortest), float(longest)
    if not isfinite(high):
        raise UsageError("image features hold NaN or infinity: look at the images, and at how they were encoded")
    if expected.takes != "unit" or (low >= 1 - LENGTH_TOLERANCE and high <= 1 + LENGTH_TOLERANCE):
        return
    raise UsageError(
        f"image features must have length 1, but theirs goes from {low:.4g} to {high:.4g}: divide by it, "
        "features / features.norm(dim=-1, keepdim=True)"
    )


def _check_features(expected: Expected, features: Tensor) -> None:
    if expected.takes == "images":
        raise UsageError(f"{expected.method} acts inside the image tower: give images, not features")
    if features.dim() != 2 or features.shape[1] != expected.width:
        how = "" if expected.takes == "unit" else f'(images, "{expected.takes}")'
        raise UsageError(
            f"image features must be (batch, {expected.width}), as backbone.encode_images{how} gives them; "
            f"got {_shape(features)}"
        )
    if not features.is_floating_point():
        raise UsageError(f"image features must be floating-point numbers; got {_kind(features)}")


def _one_an_image(labels: Tensor, batch: int) -> Tensor:
    """Return labels (batch,) as int64, the only integer type that every index and loss takes."""
    if not batch:
        raise UsageError("the batch is empty, and a loss is a mean over images: leave this batch out")
    if not _holds_integers(labels):
        raise UsageError(
            f"labels must be class ids, integers ({batch},); got {_kind(labels)}: for one-hot labels write "
            "labels.argmax(1)"
        )
    if labels.shape != (batch,):
        raise UsageError(f"labels must be ({batch},), one class id an image; got {_shape(labels)}")
    return labels.long()


@lru_cache(maxsize=64)
def _row_table(space: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the row of each class id, -1 where it has none; made once, not every step."""
    with lasting():
        table = torch.full((max(space) + 1,), -1)
        table[list(space)] = torch.arange(len(space))
        return table.to(device)


def _stranger(labels: Tensor, space: tuple[int, ...]) -> UsageError:
    strange = sorted(set(labels.tolist()).difference(space))
    return UsageError(
        f"labels hold class ids {_some(strange)}, but only {_some(space)} compete: leave their images out, or give "
        "a label space that holds them"
    )


def _class_id(value: object) -> int:
    if isinstance(value, bool) or getattr(value, "dtype", None) == torch.bool:
        raise TypeError("a mask")
    return index(value)  # type: ignore[arg-type]  # raises the TypeError that is wanted


def _holds_integers(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {_shape(tensor)}"


def _some(ids: Collection[int]) -> str:
    """Show a few class ids."""
    first = ", ".join(str(class_id) for class_id, _ in zip(ids, range(SHOWN), strict=False))
    return f"[{first}, ... ({len(ids)} in all)]" if len(ids) > SHOWN else f"[{first}]"
