"""The learner: anything that learns classes stage by stage and gives logits; and what it says of images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from lamm_cl.clip.backbone import FeatureKind
from lamm_cl.clip.feature_backbone import Backbone
from lamm_cl.errors import UsageError
from lamm_cl.methods import inputs
from lamm_cl.methods.learner_part import Rates
from lamm_cl.methods.objective import Objective, Output
from lamm_cl.methods.rehearsal import Exemplars
from lamm_cl.methods.stage import Split, Stage, StageData, Step

if TYPE_CHECKING:
    from PIL import Image


Takes = FeatureKind | Literal["images"]
BATCH = 64  # images that `predict` looks at together


class Learner(nn.Module):
    """Anything that learns classes stage by stage. Abstract: a subclass gives at least `output`.

    The life of a stage: `begin_stage`; for each epoch `begin_epoch`, for each mini-batch `rehearse`, `output`,
    `objective` and a step of the optimizer, and `end_epoch`; `end_stage`. A learner without trainable values takes no
    steps and is fitted in `end_stage`.

    What was learned is parameters and buffers and nothing else, so that every learner can be checkpointed, resumed,
    saved, loaded and copied. Their names and the shapes of the parameters follow from the class names and the stages
    begun. A buffer may also change its size; a parameter that depends on the training set is empty until
    `begin_stage` is given data.

    Args:
        backbone: the frozen CLIP; it is no child module: nothing copies, trains or saves it.
        class_names: the classes, one column of logits each.
        method: name for messages and records.
        repeated_names: whether a name may stand for several classes (of several data sets).

    Attributes:
        takes: what `output` takes: image features ("unit": length 1, "raw": not normalised, "unprojected": before
            CLIP's projection), or "images" where something learned acts inside the image tower.
        exemplars: training images of older classes that it wants to see in every stage.
        options: the method's options.
        built: what else `lamm_cl.build_model` was given, as JSON can hold it.
        stages: class ids of each stage begun.
    """

    takes: Takes = "unit"
    exemplars: Exemplars | None = None

    def __init__(
        self, backbone: Backbone, class_names: Sequence[str], *, method: str = "custom", repeated_names: bool = False
    ) -> None:
        super().__init__()
        self.backbone, self.method, self.repeated_names = backbone, method, repeated_names
        self.options: dict[str, Any] = {}
        self.built: dict[str, Any] = {}
        self.stages: list[tuple[int, ...]] = []
        self.class_names: tuple[str, ...] = ()
        self._append(class_names)

    @property
    def dtype(self) -> torch.dtype:
        """Data type of parameters and logits: float32, or float64 for a float64 backbone."""
        return torch.float64 if self.backbone.dtype == torch.float64 else torch.float32

    @property
    def needs_images(self) -> bool:
        """Whether images cannot be replaced by cached features."""
        return self.takes == "images"

    @property
    def wants_plain(self) -> bool:
        """Whether it takes images, and while it trains compares with their features in the plain tower."""
        return False

    @property
    def looks_at(self) -> frozenset[Split]:
        """The images beside the training set that it asks for when epochs or stages end ("val", "test")."""
        return frozenset()

    @property
    def rehearses(self) -> bool:
        """Whether older classes come along: those of a stage then compete with all seen so far."""
        return self.exemplars is not None

    @property
    def scores_by_batch(self) -> bool:
        """Whether logits depend on the mini-batch that an image comes in: its size is then part of the result."""
        return False

    @property
    def same_steps(self) -> bool:
        """Whether every training step of a stage does the same to other numbers: none draws, counts or looks."""
        return False

    @property
    def rates(self) -> Rates:
        """What trains at a rate of its own, unless the user gives an optimizer."""
        return {}

    @property
    def keeps_old_logits(self) -> bool:
        """Whether a later stage leaves the logits of old classes, among themselves, as they were."""
        return False

    def output(self, x: Tensor, columns: Sequence[int] | Tensor | None = None) -> Output:
        """Return the logits of one mini-batch, and whatever the objective may ask for.

        Args:
            x: images (batch, 3, H, W), or features as `takes` says.
            columns: class ids to score; default: all. A class that cannot be scored yet reads -inf.
        """
        raise NotImplementedError

    def training_output(self, x: Tensor, columns: Sequence[int] | Tensor | None = None) -> Output:
        """Return what the loss sees of one mini-batch; see `output`."""
        return self.output(x, columns)

    def objective(
        self, output: Any, labels: Tensor, columns: Sequence[int] | Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the training loss "total" and its terms, unweighted; cross entropy where nothing else is said.

        Args:
            output: what `training_output` returned.
            labels: (batch,) class ids.
            columns: class ids that compete; default: every column of the output.
        """
        return Objective()(output, labels, columns)

    def backward(self, loss: Tensor, terms: Mapping[str, Tensor], retain_graph: bool = False) -> None:
        """Set the gradients of one step.

        Args:
            loss: a scalar, "total" with whatever plugins added to it; in fp16 scaled, as `terms` are.
            terms: what `objective` returned.
            retain_graph: as torch's.
        """
        torch.autograd.backward(loss, retain_graph=retain_graph)

    def begin_stage(self, stage: Stage, data: StageData | None = None) -> None:
        """Start a stage: grow, freeze, take snapshots.

        Args:
            stage: the stage.
            data: its images; None where the learner only grows as another did (`regrow`), whose values are loaded.
        """
        self.stages.append(stage.classes)

    def begin_epoch(self, stage: Stage, epoch: int) -> None:
        """Start an epoch of a stage, counted from 0."""

    def rehearse(self, x: Tensor, labels: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Return the mini-batch that trains: this one, with what is remembered of old classes where there is such.

        Args:
            x: images, or features as `takes` says.
            labels: (batch,) class ids.
            step: where training is; whatever is drawn depends on (seed, stage, step) alone.
        """
        return x, labels

    def end_epoch(self, stage: Stage, epoch: int, data: StageData) -> None:
        """Finish an epoch of a stage."""

    def end_stage(self, stage: Stage, data: StageData) -> None:
        """Finish a stage: statistics, closed-form heads, merging."""

    def growth(self) -> dict[str, list[list[int]]]:
        """Return how the learner grew, as plain lists: with it, `regrow` makes the same parameters and buffers."""
        return {"stages": [list(classes) for classes in self.stages]}

    def regrow(self, growth: dict[str, list[list[int]]]) -> None:
        """Grow as another learner of the same classes did; values are loaded afterwards."""
        for classes in growth["stages"]:
            self.begin_stage(self.next_stage(classes))

    def next_stage(self, classes: Sequence[int], cumulative: bool = False) -> Stage:
        """Return the stage that follows those begun so far.

        Args:
            classes: class ids of its training set.
            cumulative: whether its training set holds those of all earlier stages again.
        """
        old = {c for earlier in self.stages for c in earlier}
        own = {int(c) for c in classes}
        return Stage(len(self.stages) + 1, tuple(sorted(own)), tuple(sorted(old)), cumulative)

    def freeze_shared(self) -> None:
        """Stop training what all classes share; what each class has for itself goes on."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    def freeze_classes(self) -> None:
        """Stop training what single classes have for themselves."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, n_classes).

        Args:
            images: (batch, 3, H, W) preprocessed, or features as `takes` says.

        Raises:
            UsageError: other shapes, or features of another length.
        """
        inputs.check_values(self.expected, images)
        return self.output(images).logits

    def losses(
        self,
        images: Tensor | None,
        labels: Tensor,
        *,
        image_features: Tensor | None = None,
        classes: Sequence[int] | Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the training loss "total" and its terms, unweighted, "ce" among them.

        Args:
            images: (batch, 3, H, W) preprocessed, or None with `image_features`.
            labels: (batch,) class ids.
            image_features: (batch, width) as `takes` says, instead of images; beside images, for a learner that
                `wants_plain`, their unit features in the plain tower, which is then not asked.
            classes: label space: class ids that compete; default: all.

        Raises:
            UsageError: inputs of other shapes, types or lengths, an empty batch, a label that does not compete.
        """
        plain = image_features if images is not None and self.wants_plain else None
        given = inputs.pictures(self.expected, images, image_features if plain is None else None)
        space = inputs.label_space(classes, len(self.class_names))
        inputs.label_rows(labels, space, len(given))  # once more than needed, but before the forward pass
        output = self.training_output(given, space)
        if plain is not None:
            output.supply(inputs.plain_features(plain, len(given), self.backbone.embed_dim, self.method))
        return self.objective(output, labels, space)

    def add_classes(self, names: Sequence[str]) -> None:
        """Add classes that are learned from now on; those that are there already are not added twice."""
        known = set(self.class_names)
        self._append([name for name in names if name not in known])

    @property
    def expected(self) -> inputs.Expected:
        """What this learner may be given."""
        width = 0 if self.takes == "images" else self.backbone.width(self.takes)
        return inputs.Expected(self.takes, width, self.method)

    def export_text(self, path: str | Path) -> None:
        """Write class names and text features for plain open_clip, where these alone score.

        Raises:
            UsageError: they do not.
        """
        raise UsageError(f"{self.method} scores by more than text features: keep it with lamm_cl.save_learner")

    def features(self, x: Tensor) -> Tensor:
        """Return image features (batch, width) as `takes` says, where the learner computes."""
        if x.dim() == 4:
            assert self.takes != "images"
            x = self.backbone.encode_images(x, self.takes)
        return x.to(self.backbone.device, self.dtype)

    @torch.no_grad()
    def collect(self, data: StageData, split: Split = "train", epoch: int | None = None) -> tuple[Tensor, Tensor]:
        """Return all features (n, width) and labels (n,) of a split of a stage; see `StageData.batches`."""
        found = [(self.features(x), labels.to(self.backbone.device)) for x, labels in data.batches(split, epoch)]
        return torch.cat([x for x, _ in found]), torch.cat([labels for _, labels in found])

    def misfits(self, state_dict: Mapping[str, Tensor]) -> list[str]:
        """Return the names that only one of this learner and `state_dict` has, or else those of other shapes."""
        shapes = {name: value.shape for name, value in self.named_parameters() if value.numel()}
        odd = set(state_dict) ^ set(self.state_dict())
        return sorted(odd) or sorted(name for name, shape in shapes.items() if state_dict[name].shape != shape)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load learned values; buffers and empty parameters take the sizes of what is loaded."""
        for name, value in [*self.named_parameters(), *self.named_buffers()]:
            shape = state_dict[name].shape if name in state_dict else value.shape
            if shape != value.shape and not (isinstance(value, nn.Parameter) and value.numel()):
                value.data = value.new_empty(shape)
        return super().load_state_dict(state_dict, strict, assign)

    def _append(self, names: Sequence[str]) -> None:
        every = [*self.class_names, *names]
        twice = [] if self.repeated_names else [name for name, count in Counter(every).items() if count > 1]
        if twice:
            raise UsageError(f"class name {twice[0]!r} is given more than once: every class needs a name of its own")
        self.class_names = tuple(every)


class Guess(NamedTuple):
    """A class and its probability, the softmax of the logits over all classes of the model."""

    class_name: str
    probability: float


@torch.no_grad()
def predict(model: Learner, images: "Sequence[Image.Image | Tensor] | Tensor", top: int = 1) -> list[list[Guess]]:
    """Return the most probable classes of images, the most probable first.

    Args:
        model: what `lamm_cl.load_model` or `build_model` returns.
        images: pictures, or preprocessed images (3, H, W), as a list or as (n, 3, H, W).
        top: how many classes an image.

    Returns:
        A list of `top` guesses an image.

    Raises:
        UsageError: no model, one picture instead of several, or a backbone of given features.
    """
    if not isinstance(model, Learner):
        raise UsageError(f"predict takes a model first, such as lamm_cl.load_model(path), not {model!r}")
    given: object = images
    if isinstance(given, str | bytes) or not hasattr(given, "__len__"):
        raise UsageError(
            "predict takes a list of pictures (PIL.Image.open(path)) or preprocessed images: write [image]"
        )
    if top < 1:
        raise UsageError(f"top is a number of classes an image, at least 1, not {top}")
    found: list[list[Guess]] = []
    for start in range(0, len(images), BATCH):
        x = inputs.preprocessed(model.backbone, images[start : start + BATCH])
        values, places = model(x).double().softmax(1).topk(min(top, len(model.class_names)))
        for row, columns in zip(values.tolist(), places.tolist(), strict=True):
            found.append([Guess(model.class_names[c], value) for value, c in zip(row, columns, strict=True)])
    return found
