"""A frozen CLIP behind one small interface: the only thing that the rest of the package knows of open_clip."""

import copy
import hashlib
import importlib.util
import json
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.clip.families import Family, family_of, require_text, text_module
from lamm_cl.clip.image_tower import ImageTower, evaluation_transform, image_settings
from lamm_cl.clip.linear import Derived
from lamm_cl.clip.precision import at_least_float, cast
from lamm_cl.clip.text_tower import TextTower
from lamm_cl.errors import UsageError, unknown

# What stands for an image: its feature of length 1, before it was normalised, or before CLIP's projection.
FeatureKind = Literal["unit", "raw", "unprojected"]
FEATURE_KINDS: tuple[FeatureKind, ...] = ("unit", "raw", "unprojected")
TEXT_BATCH = 256
FORMATS = ("torch", "onnx")  # of an exported image side
_LIVE: "weakref.WeakValueDictionary[str, ClipBackbone]" = weakref.WeakValueDictionary()


class Uncopied:
    """Is never copied: a copy is the same object."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class ClipBackbone(Uncopied):
    """A frozen CLIP: two towers, a tokenizer and the evaluation transform.

    It is no `nn.Module`, so no model that holds it trains, copies or saves its weights: `deepcopy` returns the same
    object, and a pickle carries only the name under which to find or load it again.

    Args:
        model: an open_clip model (families A to F). It is put in evaluation mode and its parameters stop requiring
            gradients; nothing is copied.
        tokenizer: what `open_clip.get_tokenizer` returns.
        preprocess: PIL image -> tensor (3, H, W), the evaluation transform; `None` makes the model's own.
        name: name for messages and records.
        pretrained: which weights, for messages and records.

    Attributes:
        embed_dim: width d of the joint space.
        family: which family of towers this is (`lamm_cl.clip.families`).
        exp_logit_scale: scalar tensor, the exponential already taken, without gradient.
        logit_bias: scalar tensor or None (SigLIP has one).
        text: the text tower.
        image: the image tower.
        image_size: (height, width) in pixels.
        image_mean, image_std: what the transform subtracts from each channel, and divides it by.
        interpolation: `bicubic` or `bilinear`.
        source: a function that can be pickled, such as `load_clip`, and the arguments with which it gives this backbone
            again, or None.

    Raises:
        UsageError: the model is no open_clip CLIP, or of a family that takes no prompts (G, H).
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        preprocess: Callable[[Any], Tensor] | None = None,
        *,
        name: str = "custom",
        pretrained: str | None = "",
    ) -> None:
        self.family: Family = family_of(model)
        require_text(self.family, name)
        self.name, self.pretrained = name, pretrained or ""
        self.model: Any = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.preprocess = preprocess or evaluation_transform(model)
        self.image_mean, self.image_std, self.interpolation = image_settings(model, self.preprocess)
        self.source: tuple[Callable[..., ClipBackbone], dict[str, Any]] | None = None
        self._read_weights()

    def _read_weights(self) -> None:
        """Derive everything that depends on where the weights lie and in which type."""
        model = self.model
        chunk = getattr(getattr(self, "text", None), "chunk", None)
        self.text = TextTower(model, self.tokenizer)
        self.text.chunk = chunk
        self.image = ImageTower(model)
        self.image_size = self.image.image_size
        self.embed_dim = _embed_dim(model)
        matrices = (m.weight for m in model.visual.modules() if isinstance(m, nn.Conv2d | nn.Linear))
        matrix = next(matrices, next(model.visual.parameters()))  # its type is what the tower computes in
        self.device, self.dtype = matrix.device, matrix.dtype
        self.exp_logit_scale = at_least_float(model.logit_scale.detach()).exp().reshape(())
        bias = getattr(model, "logit_bias", None)
        self.logit_bias = None if bias is None else at_least_float(bias.detach()).reshape(())
        self._fingerprint = Derived[str]()

    @property
    def logit_scale(self) -> Tensor:
        """Former name of `exp_logit_scale`."""
        return self.exp_logit_scale

    @property
    def fingerprint(self) -> str:
        """Hex digest of the architecture and of every weight, bit by bit.

        Computed on first use, and again when weights were changed in place (`load_state_dict`, an optimiser, `mul_`).
        Changes through `parameter.data` leave no trace that torch keeps: call `to()` after them.
        """
        weights = *self.model.parameters(), *self.model.buffers()
        return self._fingerprint.of(*weights, make=lambda: fingerprint(self.model))

    def encode_images(self, images: Tensor, kind: FeatureKind = "unit") -> Tensor:
        """Encode preprocessed images.

        Args:
            images: (batch, 3, H, W), any floating type, any device.
            kind: "unit": of length 1; "raw": as the tower gives them; "unprojected": before CLIP's projection.

        Returns:
            (batch, `width(kind)`) without gradient; float32, or float64 where the backbone is.

        Raises:
            UsageError: images of another size, or a tower whose projection is unknown.
        """
        return self.encode_kinds(images, [kind])[kind]

    @torch.no_grad()
    def encode_kinds(self, images: Tensor, kinds: Sequence[FeatureKind]) -> dict[FeatureKind, Tensor]:
        """Encode preprocessed images once and return several kinds of their features; see `encode_images`."""
        if not len(images):
            empty = torch.zeros(0, device=self.device, dtype=self.exp_logit_scale.dtype)
            return {kind: empty.reshape(0, self.width(kind)) for kind in kinds}
        # Only a copy to a GPU may be left under way: one from there would be read before it has arrived.
        images = images.to(self.device, self.dtype, non_blocking=self.device.type == "cuda")
        if "unprojected" in kinds:
            unprojected = self.image.unprojected(images)
            features = self.image.project(unprojected)
            found: dict[FeatureKind, Tensor] = {"unprojected": at_least_float(unprojected)}
        else:
            whole = self.image(images)
            assert isinstance(whole, Tensor)
            features, found = whole, {}
        found["raw"] = at_least_float(features)
        if "unit" in kinds:
            found["unit"] = F.normalize(found["raw"], dim=-1)
        return {kind: found[kind] for kind in kinds}

    def width(self, kind: FeatureKind) -> int:
        """Return the width of image features of a kind."""
        return int(self.image.projection.shape[0]) if kind == "unprojected" else self.embed_dim

    @property
    def projection(self) -> Tensor:
        """CLIP's own projection (w, d) of image features.

        Raises:
            UsageError: the tower has none that is known.
        """
        return at_least_float(self.image.projection)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as open_clip's own `encode_text` does.

        Args:
            texts: whole sentences; what is beyond the text window is cut off by the tokenizer.

        Returns:
            (n, d) of length 1, without gradient; float32, or float64 where the backbone is.
        """
        if isinstance(texts, str):
            raise UsageError("encode_text takes a list of texts, not one text: write [text].")
        if not len(texts):
            return torch.zeros(0, self.embed_dim, device=self.device, dtype=self.exp_logit_scale.dtype)
        tokens = self.tokenizer(list(texts)).to(self.device)
        parts = [self.model.encode_text(tokens[i : i + TEXT_BATCH]) for i in range(0, len(tokens), TEXT_BATCH)]
        return F.normalize(at_least_float(torch.cat(parts)), dim=-1)

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move the weights, in place as `nn.Module.to` does, and return this same backbone; None = stay.

        The types are float32, float64, float16 and bfloat16, as `lamm_cl.clip.precision.cast` takes them.
        """
        if dtype is not None:
            cast(self.model, dtype)
        self.model.to(device=device)
        self._read_weights()
        if self.source is not None:
            self.source[1]["device"] = str(self.device)
        if dtype is not None:
            self.source = None  # rounding may have lost what loading again would give
        return self

    def rounded(self, dtype: torch.dtype) -> "ClipBackbone":
        """Return this backbone if it computes in `dtype`, and else a copy that does; this one stays as it is."""
        if self.dtype == dtype:
            return self
        model = copy.deepcopy(self.model)
        other = ClipBackbone(model, self.tokenizer, self.preprocess, name=self.name, pretrained=self.pretrained)
        other.text.chunk = self.text.chunk
        return other.to(dtype=dtype)

    def __repr__(self) -> str:
        weights = f", pretrained={self.pretrained!r}" if self.pretrained else ""
        return (
            f"ClipBackbone({self.name!r}{weights}, family {self.family.letter}, d={self.embed_dim}, "
            f"{self.image_size[0]}x{self.image_size[1]} px, {str(self.dtype).removeprefix('torch.')}, {self.device})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        key = self.fingerprint if self.source is None else json.dumps(self.source[1], sort_keys=True)
        _LIVE[key] = self
        return _find, (key, self.source, repr(self))


def _find(key: str, source: tuple[Callable[..., "ClipBackbone"], dict[str, Any]] | None, shown: str) -> "ClipBackbone":
    """Return the living backbone of this key, or load it again from its name."""
    if (living := _LIVE.get(key)) is not None:
        return living
    if source is None:
        raise UsageError(
            f"{shown} was pickled by name only, and this process has no such backbone: pickle files don't carry "
            "backbone weights. Build the backbone here first, or use lamm_cl.load_clip(...) with a name or a file."
        )
    load, arguments = source
    backbone = _LIVE[key] = load(**arguments)
    return backbone


def fingerprint(model: nn.Module) -> str:
    """Return a hex digest of a model's classes, settings and weights.

    Two models have the same digest only when every parameter and buffer is equal bit by bit and the modules that use
    them are of the same classes with the same printed settings (so GELU and QuickGELU differ).
    """
    digest = hashlib.sha256(repr(model).encode())
    for key, tensor in model.state_dict(keep_vars=True).items():
        values = tensor.detach().to("cpu").contiguous()
        digest.update(f"|{key}|{values.dtype}|{tuple(values.shape)}|".encode())
        if values.numel():
            digest.update(values.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _embed_dim(model: nn.Module) -> int:
    text = text_module(model)
    projection = text.text_projection
    if isinstance(projection, nn.Linear):
        return int(projection.out_features)
    return int(text.ln_final.weight.shape[0] if projection is None else projection.shape[1])


class ImageSide(nn.Module):
    """Preprocessed images (batch, 3, H, W) -> features (batch, E) of length 1."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.visual: nn.Module = model.visual

    def forward(self, images: Tensor) -> Tensor:
        """Return the features."""
        features: Tensor = self.visual(images)
        return F.normalize(features, dim=-1)


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
