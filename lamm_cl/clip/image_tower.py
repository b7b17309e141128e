"""The frozen image tower: exact, with learnable prompts behind the patch tokens where it takes them; its transform."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lamm_cl.clip.blocks import FrozenBlock, behind, layer_norm, matrix_shapes
from lamm_cl.clip.families import native_vision
from lamm_cl.clip.linear import FrozenLinear, Rounded
from lamm_cl.clip.low_rank import NONE, NOWHERE, Delta, Deltas, Shapes
from lamm_cl.errors import UsageError

VALUES_PER_TOKEN = 17  # that a layer holds at once, in units of the tower's width
VALUES_PER_PIXEL = 60  # that a convolution holds at once
# open_clip's words for how a picture comes to the tower's size: its shorter edge resized and the middle cut out; its
# longer edge resized and the rest filled; or squeezed to the size whatever its shape.
RESIZE_MODES = ("shortest", "longest", "squash")
Three = tuple[float, float, float]


class ModuleBlock:
    """One transformer block as the module computes it, for blocks other than open_clip's standard one."""

    def __init__(self, block: nn.Module) -> None:
        self.block = block

    def full(self, x: Tensor, beside: Tensor | None = None, delta: Delta = NONE) -> Tensor:
        """Run the block on all positions of `x` (batch, length, width); `beside` as for `FrozenBlock`."""
        assert not delta, "`matrix_shapes` refuses deltas of such a block"
        out: Tensor = self.block(x if beside is None else behind(x, beside))
        return out[:, : x.shape[1]]

    def rows(self, x: Tensor, rows: Tensor, delta: Delta = NONE) -> Tensor:
        """Run the block and keep position `rows[i]` of sequence i: (batch, width)."""
        return self.full(x, delta=delta)[torch.arange(len(x), device=x.device), rows]


def patches(images: Tensor, size: Sequence[int]) -> Tensor:
    """Cut `images` (batch, 3, H, W) into patches, so that a convolution with stride = kernel becomes one product.

    Rows and columns beyond the last whole patch of `size` (patch_h, patch_w) are ignored, as by the convolution.

    Returns:
        (batch, patches, 3 * patch_h * patch_w), row by row.
    """
    high, wide = size
    batch, channels, height, width = images.shape
    down, across = height // high, width // wide
    cut = images[:, :, : down * high, : across * wide].reshape(batch, channels, down, high, across, wide)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, down * across, -1)


class ImageTower:
    """The image tower of an open_clip model, frozen; gradients flow to prompts and low-rank deltas only.

    Attributes:
        supports_prompts: whether prompts can be appended (open_clip's own VisionTransformer).
        width: width of the tokens inside the tower; 0 where no prompts can be given.
        layers: number of transformer layers; 0 where no prompts can be given.
        image_size: (height, width) that the tower expects.
    """

    def __init__(self, model: nn.Module) -> None:
        visual: Any = model.visual
        self.visual = visual
        self.supports_prompts = native_vision(visual)
        size = getattr(visual, "image_size", None) or (224, 224)
        self.image_size: tuple[int, int] = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        self._blocks: list[FrozenBlock | ModuleBlock] = []
        self.width = 0
        if self.supports_prompts:
            blocks = visual.transformer.resblocks
            self._blocks = [FrozenBlock(one) if FrozenBlock.supports(one) else ModuleBlock(one) for one in blocks]
            self.width = int(visual.conv1.weight.shape[0])
            self._patch = FrozenLinear(lambda: (visual.conv1.weight.flatten(1), None))
            self._projection = Rounded(lambda: (visual.proj, None))
        self.layers = len(self._blocks)

    def __call__(
        self,
        images: Tensor,
        prompts: Tensor | None = None,
        deep: Sequence[Tensor] = (),
        tokens: bool = False,
        deltas: Deltas = NOWHERE,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Encode images, with learnable prompts and low-rank deltas where given.

        The prompts stand behind the patch tokens, get no positional embedding and pass the first layer norm, as in
        the published codes of VPT, IVLP, MaPLe and ALIGN.

        Args:
            images: (batch, 3, H, W), preprocessed.
            prompts: (n, width), or (batch * v, n, width): each image is then encoded v times, once with each of v
                consecutive sets of prompts.
            deep: shapes as `prompts`; `deep[i]` replaces the prompts before layer i + 1 (layers count from 0).
            tokens: also return the features of all tokens.
            deltas: low-rank deltas of the layers.

        Returns:
            Features (batch * v, d), not normalised. With `tokens=True` also (batch * v, 1 + patches + n, d): the final
            layer norm and projection applied to every token, computed without gradient.

        Raises:
            UsageError: images of another size, or prompts where the tower takes none or has fewer layers.
        """
        self._check(images, prompts, deep, tokens)
        if not self.supports_prompts:
            assert not deltas, "`matrices` refuses deltas of such a tower"
            with torch.no_grad():
                out: Any = self.visual(images)
            return torch.as_tensor(out[0] if isinstance(out, tuple) else out)
        with torch.set_grad_enabled((prompts is not None or bool(deltas)) and torch.is_grad_enabled()):
            feature, every = self._run(images, prompts, deep, tokens, deltas)
            projected = self.project(feature)
        return projected if every is None else (projected, every)

    @property
    def bytes_an_image(self) -> int:
        """Memory that an image takes at most on its way through the tower, without gradient."""
        high, wide = self.image_size
        if not self.supports_prompts:
            return high * wide * VALUES_PER_PIXEL * 4
        tokens = self.visual.positional_embedding.shape[0]
        return int(tokens * self.width * VALUES_PER_TOKEN * 4)

    def matrices(self, names: Sequence[str], layers: Sequence[int] | None = None) -> Shapes:
        """Return the shapes of matrices that may have low-rank deltas; see `blocks.matrix_shapes`.

        Raises:
            UsageError: also for a tower that is not open_clip's own VisionTransformer.
        """
        if not self.supports_prompts:
            raise UsageError(
                f"the image tower {type(self.visual).__name__} takes no low-rank deltas: use deltas in the text tower "
                "only, or a backbone with open_clip's own VisionTransformer"
            )
        return matrix_shapes(self._blocks, names, layers, "this image tower")

    @property
    def projection(self) -> Tensor:
        """The matrix (w, d) that maps pooled tokens to features.

        Raises:
            UsageError: the tower is not open_clip's own VisionTransformer with a projection.
        """
        projection = getattr(self.visual, "proj", None) if self.supports_prompts else None
        if projection is None:
            raise UsageError(
                f"features before CLIP's projection are not known of the image tower {type(self.visual).__name__}: "
                "use a backbone with open_clip's own VisionTransformer."
            )
        found: Tensor = projection.detach()
        return found

    def unprojected(self, images: Tensor) -> Tensor:
        """Return the features (batch, w) before the projection of images (batch, 3, H, W), without gradient."""
        _ = self.projection
        self._check(images, None, (), tokens=False)
        with torch.no_grad():
            return self._run(images, None, (), tokens=False, deltas=NOWHERE)[0]

    def project(self, unprojected: Tensor) -> Tensor:
        """Return the features (batch, d) of unprojected ones."""
        return unprojected if self.visual.proj is None else unprojected @ self._projection()[0]

    def _check(self, images: Tensor, prompts: Tensor | None, deep: Sequence[Tensor], tokens: bool) -> None:
        if images.ndim != 4 or images.shape[1] != 3 or tuple(images.shape[2:]) != self.image_size:
            raise UsageError(
                f"images must be (batch, 3, {self.image_size[0]}, {self.image_size[1]}), as backbone.preprocess makes "
                f"them; got {tuple(images.shape)}."
            )
        if not self.supports_prompts and (prompts is not None or deep or tokens):
            raise UsageError(
                f"the image tower {type(self.visual).__name__} takes no prompts and gives no token features: use a "
                "method that prompts the text side only, or a backbone with open_clip's own VisionTransformer."
            )
        if prompts is None and deep:
            raise UsageError("deep visual prompts replace the first layer's: give `prompts` as well.")
        wrong = [p for p in (prompts, *deep) if p is not None and p.shape[-1] != self.width]
        if wrong:
            raise UsageError(f"visual prompts must have width {self.width}, got {tuple(wrong[0].shape)}.")
        if len(deep) >= max(self.layers, 1):
            raise UsageError(
                f"{len(deep) + 1} layers of visual prompts, but the image tower has {self.layers} layers: "
                "choose a smaller depth."
            )

    def _run(
        self, images: Tensor, prompts: Tensor | None, deep: Sequence[Tensor], tokens: bool, deltas: Deltas
    ) -> tuple[Tensor, Tensor | None]:
        """Return features before the projection, and of all tokens behind it where wanted."""
        visual = self.visual
        with torch.no_grad():
            x = self._patch(patches(images, visual.conv1.weight.shape[-2:]))
            first = visual.class_embedding.to(x.dtype).expand(len(x), 1, -1)
            x = layer_norm(visual.ln_pre, torch.cat([first, x], 1) + visual.positional_embedding.to(x.dtype))
        own = x.shape[1]
        given = [] if prompts is None else [layer_norm(visual.ln_pre, prompts.to(x)), *(layer.to(x) for layer in deep)]
        fresh = [layer.view(-1, *layer.shape[-2:]) for layer in given]
        for layer, block in enumerate(self._blocks[:-1]):
            delta = deltas.get(layer, NONE)
            if layer < len(fresh) - 1:  # the next layer takes other prompts: nobody reads what becomes of these
                x = block.full(x, beside=fresh[layer], delta=delta)
            else:
                x = block.full(behind(x, fresh[layer]) if layer < len(fresh) else x, delta=delta)
        if len(fresh) == self.layers:
            x = behind(x, fresh[-1])
        return self._last(x, own, tokens, deltas.get(self.layers - 1, NONE))

    def _last(self, x: Tensor, own: int, tokens: bool, delta: Delta) -> tuple[Tensor, Tensor | None]:
        """Run the last layer where it is read, and pool."""
        visual, block = self.visual, self._blocks[-1]
        if tokens and visual.attn_pool is not None:
            raise UsageError("this image tower pools by attention and has no features of single tokens.")
        first = visual.attn_pool is None and visual.pool_type == "tok"
        if first:
            whole, feature = x, layer_norm(visual.ln_post, block.rows(x, x.new_zeros(len(x), dtype=torch.long), delta))
        else:
            whole = block.full(x, delta=delta)
            feature = visual._pool(whole[:, :own])[0]
        if not tokens:
            return feature, None
        with torch.no_grad():
            every = block.full(x.detach(), delta=delta) if first else whole.detach()
            return feature, self.project(layer_norm(visual.ln_post, every))


def evaluation_transform(model: nn.Module, resize_mode: str | None = None) -> Callable[[Any], Tensor]:
    """Return open_clip's evaluation transform for `model`: PIL image -> (3, H, W).

    Without one of `RESIZE_MODES` it resizes as the weights were trained for.
    """
    from open_clip.transform import PreprocessCfg, image_transform_v2

    settings = _model_settings(model) | ({"resize_mode": resize_mode} if resize_mode else {})
    transform: Callable[[Any], Tensor] = image_transform_v2(PreprocessCfg(**settings), is_train=False)
    return transform


def image_settings(model: nn.Module, preprocess: Callable[[Any], Tensor]) -> tuple[Three, Three, str]:
    """Read mean and std of each channel, and the interpolation; the model's own where the transform doesn't tell."""
    settings = _model_settings(model)
    for step in getattr(preprocess, "transforms", ()):
        mean, std = getattr(step, "mean", None), getattr(step, "std", None)
        if mean is not None and std is not None:
            settings["mean"], settings["std"] = mean, std
        mode = getattr(step, "interpolation", None)
        if mode is not None:
            settings["interpolation"] = str(getattr(mode, "value", mode))
    return _three(settings["mean"]), _three(settings["std"]), settings["interpolation"]


def _model_settings(model: Any) -> dict[str, Any]:
    from open_clip import get_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg

    known = {key: value for key, value in (get_model_preprocess_cfg(model) or {}).items() if value is not None}
    settings: dict[str, Any] = vars(PreprocessCfg(getattr(model.visual, "image_size", None) or 224)) | known
    return settings


def _three(values: Any) -> Three:
    r, g, b = (float(v) for v in (values if hasattr(values, "__len__") else [values] * 3))
    return r, g, b
