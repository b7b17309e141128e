"""Given features in the place of a CLIP's towers."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NoReturn, Self

import torch
from torch import Tensor

from lamm_cl.clip.backbone import ClipBackbone, FeatureKind, Uncopied
from lamm_cl.errors import UsageError, unknown


class FeatureBackbone(Uncopied):
    """The features of classes, and no towers: for learners that take image features and learn no prompts.

    Args:
        text: text features: (n, d), row i for the i-th class; (n, v, d) with v prompts a class; or name -> (d,) or
            (v, d). They are used as un-normalised features and normalised where a method does so.
        logit_scale: factor of the cosine similarities (the exponential already taken).
        projection: (w, d), which maps features before CLIP's projection to features; for methods that learn it.
        name: name for messages and records.

    Attributes:
        embed_dim, dtype, device: width d of the features, their data type, and where they lie.
        exp_logit_scale: scalar tensor.

    Raises:
        UsageError: features of other shapes, or with NaN in them.
    """

    logit_bias: Tensor | None = None
    pretrained = ""

    def __init__(
        self,
        text: Tensor | Mapping[str, Tensor],
        logit_scale: float | Tensor = 100.0,
        projection: Tensor | None = None,
        *,
        name: str = "features",
    ) -> None:
        self.name = name
        self._names = None if isinstance(text, Tensor) else tuple(text)
        self._text = _stacked(text)
        self.projection = None if projection is None else projection.detach().to(self._text)
        self.embed_dim = int(self._text.shape[-1])
        if self.projection is not None and self.projection.shape[1:] != (self.embed_dim,):
            raise UsageError(
                f"projection must be (width, {self.embed_dim}), as wide as the text features; "
                f"got {tuple(self.projection.shape)}"
            )
        scale = torch.as_tensor(logit_scale, dtype=None if isinstance(logit_scale, Tensor) else torch.float64)
        self.exp_logit_scale = scale.detach().to(self._text).reshape(())
        self.dtype, self.device = self._text.dtype, self._text.device

    @property
    def logit_scale(self) -> Tensor:
        """Former name of `exp_logit_scale`."""
        return self.exp_logit_scale

    @property
    def fingerprint(self) -> str:
        """Hex digest of the features."""
        digest = hashlib.sha256(repr((self._names, float(self.exp_logit_scale))).encode())
        for tensor in (self._text, self.projection):
            if tensor is not None:
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def class_features(self, names: Sequence[str]) -> Tensor:
        """Return the text features (n, v, d) of classes, as they were given.

        Raises:
            UsageError: there are none of a class.
        """
        if self._names is None:
            if len(names) > len(self._text):
                raise UsageError(f"there are text features of {len(self._text)} classes, but {len(names)} class names")
            return self._text[: len(names)]
        rows = {name: row for row, name in enumerate(self._names)}
        for name in names:
            if name not in rows:
                raise unknown("class with text features", name, rows)
        return self._text[[rows[name] for name in names]]

    def width(self, kind: FeatureKind) -> int:
        """Return the width of image features of a kind."""
        if kind != "unprojected":
            return self.embed_dim
        if self.projection is None:
            raise UsageError("features before CLIP's projection need FeatureBackbone(text, projection=...)")
        return int(self.projection.shape[0])

    def encode_images(self, images: Tensor, kind: FeatureKind = "unit") -> NoReturn:
        """Refuse: there is no image tower."""
        raise UsageError(f"a FeatureBackbone has no image tower: give image features ({kind}), not images")

    @property
    def text(self) -> NoReturn:
        """Refuse: there is no text tower."""
        raise UsageError("a FeatureBackbone has no text tower, and this method learns prompts: use lamm_cl.load_clip")

    @property
    def image(self) -> NoReturn:
        """Refuse: there is no image tower."""
        raise UsageError("a FeatureBackbone has no image tower, and this method acts inside it: use lamm_cl.load_clip")

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move the features in place and return this same backbone."""
        self._text = self._text.to(device=device, dtype=dtype)
        self.projection = None if self.projection is None else self.projection.to(self._text)
        self.exp_logit_scale = self.exp_logit_scale.to(self._text)
        self.dtype, self.device = self._text.dtype, self._text.device
        return self

    def __repr__(self) -> str:
        return f"FeatureBackbone({len(self._text)} classes, d={self.embed_dim})"


Backbone = ClipBackbone | FeatureBackbone


def projected(features: Tensor, backbone: Backbone) -> Tensor:
    """Return features (n, d) behind CLIP's projection of features (n, w) in front of it, neither normalised."""
    return features @ projection_of(backbone).to(features)


def projection_of(backbone: Backbone) -> Tensor:
    """Return CLIP's projection (w, d) of image features.

    Raises:
        UsageError: the backbone has none that is known.
    """
    backbone.width("unprojected")
    assert backbone.projection is not None
    return backbone.projection


def _stacked(text: Tensor | Mapping[str, Tensor]) -> Tensor:
    if not isinstance(text, Tensor):
        if not text:
            raise UsageError("text is empty: give the features of at least one class")
        shapes = {tuple(row.shape) for row in text.values()}
        if len(shapes) > 1:
            raise UsageError(f"text features of all classes must have one shape; got {sorted(shapes)}")
        text = torch.stack(list(text.values()))
    found = text.detach()
    if found.dim() == 2:
        found = found[:, None]
    if found.dim() != 3 or not found.is_floating_point() or not found.numel():
        raise UsageError(f"text features must be (n, d) or (n, v, d) floating-point numbers; got {tuple(text.shape)}")
    if not torch.isfinite(found).all():
        raise UsageError("text features hold NaN or infinity")
    return found if found.dtype == torch.float64 else found.float()
