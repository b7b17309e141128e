"""One stage without Avalanche: begin, steps, end, on tensors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import Tensor

from lamm_cl.clip.precision import arithmetic
from lamm_cl.errors import UsageError, unknown
from lamm_cl.methods import inputs
from lamm_cl.methods.keywords import RecipeOptions
from lamm_cl.methods.learner import Learner
from lamm_cl.methods.optimizer import recipe_optimizer, restart, set_rates, trainable
from lamm_cl.methods.recipe import Changes, Recipe
from lamm_cl.methods.registry import recipe_for
from lamm_cl.methods.stage import Split, Stage, Step
from lamm_cl.seeds import seed_for

if TYPE_CHECKING:
    from PIL import Image

Views = Callable[[int | None], Tensor]
ROWS = 256


def fit_stage(
    learner: Learner,
    x: "Tensor | Views | Sequence[Image.Image | Tensor]",
    labels: Tensor | Sequence[str],
    classes: Sequence[int] | None = None,
    *,
    val: tuple[Tensor, Tensor] | None = None,
    test: tuple[Tensor, Tensor] | None = None,
    seed: int = 0,
    shuffle: bool = True,
    train_label_space: str = "own",
    **recipe: Unpack[RecipeOptions],
) -> list[dict[str, float]]:
    """Let a learner learn one stage.

    Args:
        learner: what `lamm_cl.build_model` returns.
        x: (n, 3, H, W) preprocessed images, or (n, width) features as `learner.takes` says; or a list of pictures; or a
            function that gives images or features for an epoch (from 0) and, for None, in the evaluation view.
        labels: (n,) class ids, or n class names.
        classes: class ids of the stage; default: those of `labels`.
        val: validation images or features, and labels, of the classes so far, for learners that select by them.
        test: the same of test images, for learners that are asked to select by them.
        seed: names the order of the mini-batches and whatever else is drawn.
        shuffle: whether the images are mixed anew in each epoch; otherwise mini-batches are cut in the given order.
        train_label_space: what competes in the loss: "own" (the stage's classes; all seen so far where the learner
            adds old ones to a mini-batch), "seen" or "all".
        **recipe: settings of `Recipe` that differ from the method's: lr, epochs, batch_size, ...

    Returns:
        The terms of the loss at each step, before its update; none where nothing trains.

    Raises:
        UsageError: inputs that do not fit, an unknown setting, or a class that the learner does not have.
    """
    if not isinstance(model := learner, Learner):
        raise UsageError(f"fit_stage takes a model first, such as lamm_cl.build_model(...), not {model!r}")
    chosen = _recipe(learner, recipe)
    given = x if callable(x) and not isinstance(x, Tensor) else inputs.preprocessed(learner.backbone, x)
    views: Views = (lambda epoch: given) if isinstance(given, Tensor) else given
    labels = inputs.ids_of(labels, learner.class_names)
    inputs.check_values(learner.expected, views(None))
    stage = learner.next_stage(sorted(set(labels.tolist())) if classes is None else classes)
    inputs.label_space(stage.classes, len(learner.class_names))
    inputs.label_rows(labels, stage.classes, len(views(None)))
    spaces = {"own": stage.classes, "seen": stage.seen, "all": tuple(range(len(learner.class_names)))}
    if train_label_space not in spaces:
        raise unknown("label space", train_label_space, spaces)
    columns = spaces["seen" if learner.rehearses and train_label_space == "own" else train_label_space]
    data = TensorData({"train": (views, labels), "val": _still(val), "test": _still(test)})
    for split in sorted(learner.looks_at):
        data.images(split)
    with arithmetic(learner.backbone.device):
        learner.begin_stage(stage, data)
        history = _train(learner, stage, data, chosen, columns, seed, shuffle) if trainable(learner) else []
        learner.end_stage(stage, data)
    return history


def _train(
    learner: Learner,
    stage: Stage,
    data: "TensorData",
    recipe: Recipe,
    columns: tuple[int, ...],
    seed: int,
    shuffle: bool,
) -> list[dict[str, float]]:
    views, labels = data.images("train")
    n, size = len(labels), recipe.batch_size
    steps = n // size if recipe.drop_last and n >= size else -(-n // size)
    epochs, total = recipe.length(n, len(stage.classes), steps)
    recipe = recipe.but(epochs=epochs)
    optimizer = recipe_optimizer(recipe, learner.backbone.device)
    restart(optimizer, learner)
    history: list[dict[str, float]] = []
    for epoch in range(epochs):
        learner.begin_epoch(stage, epoch)
        x, order = views(epoch), mixed(n, seed, stage, epoch) if shuffle else torch.arange(n)
        for step in range(min(steps, total - len(history))):
            rows = order[step * size : (step + 1) * size]
            place = Step(stage, epoch, len(history), seed, step)
            batch, targets = learner.rehearse(x[rows], labels[rows], place)
            set_rates(optimizer, recipe, epoch, len(history) / total)
            terms = learner.objective(learner.training_output(batch, columns), targets, columns)
            optimizer.zero_grad()
            learner.backward(terms["total"], terms)
            optimizer.step()
            history.append({name: float(value.detach()) for name, value in terms.items()})
        learner.end_epoch(stage, epoch, data)
    return history


def mixed(n: int, seed: int, stage: Stage, epoch: int) -> Tensor:
    """Return the order (n,) of a stage's images in an epoch."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed_for("order", seed, stage.number, epoch)))


class TensorData:
    """The images of a stage, held in memory, in the order in which they were given."""

    def __init__(self, splits: dict[Split, tuple[Views, Tensor] | None]) -> None:
        self._splits = splits

    def images(self, split: Split) -> tuple[Views, Tensor]:
        """Return the views and labels of a split."""
        found = self._splits[split]
        if found is None:
            raise UsageError(
                f"this learner looks at {split} images when a stage ends: give fit_stage(..., {split}=(x, labels)), or "
                "choose another selection"
            )
        return found

    def batches(self, split: Split = "train", epoch: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (x, labels); see `StageData.batches`."""
        views, labels = self.images(split)
        yield from zip(torch.split(views(epoch), ROWS), torch.split(labels, ROWS), strict=True)


def _still(pair: tuple[Tensor, Tensor] | None) -> tuple[Views, Tensor] | None:
    return None if pair is None else (lambda epoch: pair[0], pair[1])


def _recipe(learner: Learner, changes: Mapping[str, Any]) -> Recipe:
    try:
        recipe = recipe_for(learner.method, learner.backbone.name)
    except UsageError:  # a learner of one's own that is not registered
        recipe = Recipe(lr=0.002, epochs=1, batch_size=32)
    return recipe.but(**Changes.read(learner.method, changes).model_dump(exclude_none=True))
