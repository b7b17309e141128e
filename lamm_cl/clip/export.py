"""The image side as a program of its own: torch.export, or ONNX where its packages are installed."""

import importlib.util
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.clip.backbone import ClipBackbone
from lamm_cl.errors import UsageError, unknown

FORMATS = ("torch", "onnx")


class ImageSide(nn.Module):
    """Preprocessed images (batch, 3, H, W) -> features (batch, E) of length 1."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.visual: nn.Module = model.visual

    def forward(self, images: Tensor) -> Tensor:
        """Return the features."""
        return F.normalize(cast(Tensor, self.visual(images)), dim=-1)


def export_images(backbone: ClipBackbone, path: str | Path, form: str = "torch") -> None:
    """Write the frozen image tower as a program that takes preprocessed images, any number of them.

    With `model.export_text` it is all that an application needs: logits = scale * features @ text.T. It is right for
    methods that leave the image tower alone.

    Args:
        backbone: the frozen CLIP, such as `model.backbone`.
        path: file to write.
        form: "torch" (`torch.export.load(path).module()`) or "onnx" (`pip install "lamm_cl[onnx]"`).

    Raises:
        UsageError: another format, no backbone with an image tower, or packages that are not installed.
    """
    given: object = backbone
    if not isinstance(given, ClipBackbone):
        raise UsageError(f"export_images takes a backbone with an image tower, such as model.backbone, not {given!r}")
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    side = ImageSide(backbone.model).eval()
    example = torch.zeros(2, 3, *backbone.image_size, dtype=backbone.dtype, device=backbone.device)
    batch = {0: torch.export.Dim("batch", min=1, max=4096)}
    if form == "torch":
        torch.export.save(torch.export.export(side, (example,), dynamic_shapes=(batch,)), str(path))
        return
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise UsageError(f'ONNX needs the package {package}: pip install "lamm_cl[onnx]"')
    torch.onnx.export(side, (example,), str(path), dynamo=True, dynamic_shapes=(batch,), input_names=["images"])
