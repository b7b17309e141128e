"""The evaluation transform of a backbone, and the numbers that the training views need from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

# open_clip's words for how a picture comes to the tower's size: its shorter edge resized and the middle cut out; its
# longer edge resized and the rest filled; or squeezed to the size whatever its shape.
RESIZE_MODES = ("shortest", "longest", "squash")


@dataclass(frozen=True)
class ImageSettings:
    """What a transform does to the pixels.

    Attributes:
        mean: subtracted from each channel (of pixels in 0..1).
        std: each channel is divided by it.
        interpolation: `bicubic` or `bilinear`.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str


def evaluation_transform(model: nn.Module, resize_mode: str | None = None) -> Callable[[Any], Tensor]:
    """Return open_clip's evaluation transform for `model`: PIL image -> (3, H, W).

    Args:
        model: whose size, mean, standard deviation and interpolation it has.
        resize_mode: of `RESIZE_MODES`; None = the one that the weights were trained for.
    """
    from open_clip.transform import PreprocessCfg, image_transform_v2

    settings = _model_settings(model) | ({"resize_mode": resize_mode} if resize_mode else {})
    transform: Callable[[Any], Tensor] = image_transform_v2(PreprocessCfg(**settings), is_train=False)
    return transform


def image_settings(model: nn.Module, preprocess: Callable[[Any], Tensor]) -> ImageSettings:
    """Read mean, std and interpolation from the transform itself; the model's own where it doesn't tell."""
    settings = _model_settings(model)
    for step in getattr(preprocess, "transforms", ()):
        mean, std = getattr(step, "mean", None), getattr(step, "std", None)
        if mean is not None and std is not None:
            settings["mean"], settings["std"] = mean, std
        mode = getattr(step, "interpolation", None)
        if mode is not None:
            settings["interpolation"] = str(getattr(mode, "value", mode))
    mean, std = (_three(settings[key]) for key in ("mean", "std"))
    return ImageSettings(mean, std, settings["interpolation"])


def _model_settings(model: Any) -> dict[str, Any]:
    from open_clip import get_model_preprocess_cfg

    known = {key: value for key, value in (get_model_preprocess_cfg(model) or {}).items() if value is not None}
    size = getattr(model.visual, "image_size", None) or 224
    default: dict[str, Any] = {
        "size": size,
        "mean": (0.48145466, 0.4578275, 0.40821073),  # OpenAI's, as in open_clip.constants
        "std": (0.26862954, 0.26130258, 0.27577711),
        "interpolation": "bicubic",
    }
    return default | known


def _three(values: Any) -> tuple[float, float, float]:
    r, g, b = (float(v) for v in (values if hasattr(values, "__len__") else [values] * 3))
    return r, g, b
