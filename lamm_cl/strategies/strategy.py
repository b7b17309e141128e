"""The Avalanche strategy that trains a learner over a stream; README.md beside this file explains what trains when."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Unpack

import torch
from avalanche.training.plugins.evaluation import default_evaluator
from torch import Tensor
from torch.optim import Optimizer

from lamm_cl.clip.load import check_device
from lamm_cl.errors import UsageError
from lamm_cl.evaluation.accuracy_matrix import classes_in
from lamm_cl.methods.inputs import label_rows
from lamm_cl.methods.learner import Learner
from lamm_cl.methods.optimizer import fill, recipe_optimizer, restart, set_rates, trainable
from lamm_cl.methods.recipe import Recipe
from lamm_cl.methods.stage import Stage, Step
from lamm_cl.seeds import seed_for
from lamm_cl.strategies import plugins as composing
from lamm_cl.strategies.batches import LoaderOptions
from lamm_cl.strategies.checkpoint import Checkpointed
from lamm_cl.strategies.exemplars import ExemplarMemory
from lamm_cl.strategies.generators import preserved_generators, seed_generators
from lamm_cl.strategies.graph import Done, StepGraphs, graphs_of, work_of
from lamm_cl.strategies.loss import PENALTY, LabelSpaceLoss, LossGuard, columns_of, spread
from lamm_cl.strategies.pictures import Pictures, feature_store, source_of
from lamm_cl.strategies.precision import Precision
from lamm_cl.strategies.settings import Settings, default_workers

_STEP = ("forward", "criterion", "backward")  # what a graph does at once


class LearnerStrategy(Checkpointed):
    """Trains a `Learner` on each experience.

    When an experience starts, the learner begins a stage with its classes (learned labels of older ones are frozen),
    and a fresh optimizer takes exactly the parameters that train. When it ends, the learner ends its stage: class
    statistics, closed-form heads. A learner without trainable values takes no steps. The learning rate follows the
    recipe, unless an `LRSchedulerPlugin` or an own `optimizer` is given.

    Args:
        model: A learner with a column for every class of the stream.
        recipe: Learning rate, epochs, mini-batch size and schedule.
        device: Where to train; the backbone moves there too.
        plugins: Avalanche plugins.
        evaluator: Avalanche's evaluation plugin, or what makes one.
        optimizer: One of your own; its parameters are replaced when a stage starts, its options stay.
        settings: Everything else that can be chosen.
        eval_every: How often `train` evaluates on its `eval_streams`; -1: never, see Avalanche.
        peval_mode: What `eval_every` counts.

    Raises:
        UsageError: For a device that is not there, or a plugin that is known to fail.

    Attributes:
        stage: Number of the current or last training experience, from 1; 0 before the first.
        current: That stage, as the learner sees it.
        columns: Label space of the current stage.
        loss_terms: Terms of the last mini-batch's loss by name, detached scalars.
    """

    output: Any
    mb_output: Any
    _stop_training: bool

    def __init__(
        self,
        *,
        model: Learner,
        recipe: Recipe,
        device: str | torch.device = "cpu",
        plugins: Iterable[Any] | None = None,
        evaluator: Any = default_evaluator,
        optimizer: torch.optim.Optimizer | None = None,
        settings: Settings | None = None,
        eval_every: int = -1,
        peval_mode: Literal["epoch", "iteration"] = "epoch",
    ) -> None:
        self.settings = settings or Settings()
        self.recipe = recipe
        self._given_optimizer = optimizer
        listed = list(plugins or ())
        if model.exemplars is not None:
            listed.append(ExemplarMemory(model.exemplars))
        composing.check_plugins(listed)
        place = check_device(device, ("cpu", "cuda"))
        optimizer = choose_optimizer(optimizer, composing.schedulers(listed)) or recipe_optimizer(recipe, place)
        super().__init__(
            model=model,
            optimizer=optimizer,
            criterion=LabelSpaceLoss(),
            train_mb_size=recipe.batch_size,
            train_epochs=recipe.epochs or 1,  # where it is None, the stage says: see `_before_training_exp`
            eval_mb_size=self.settings.eval_mb_size,
            device=place,
            plugins=listed,
            evaluator=evaluator,
            eval_every=eval_every,
            peval_mode=peval_mode,
        )
        self._trained = []
        self.current = Stage(0, ())
        self.columns: tuple[int, ...] = tuple(range(self.n_columns))
        self.drawn_images = 0  # of the mini-batch, without what is rehearsed
        self.loss_terms: dict[str, Tensor] = {}
        self._terms: dict[str, Tensor] = {}  # the same with their graph, until the backward pass
        self.precision = Precision(self.settings.precision, place, self.settings.deterministic)
        self.precision.check(model)
        self.guard = LossGuard(place)
        self._graphs: StepGraphs | None = None  # of the stage, where its steps may be recorded
        self._replayed: Done | None = None
        store = feature_store(self.settings.features, model.backbone)
        # On a GPU the plain tower costs less than decoding every image once more.
        plain = store if model.wants_plain and place.type == "cpu" else None
        asked = self.settings.num_workers
        workers = default_workers(place.type) if asked is None else asked
        given = None if model.needs_images else store
        self.pictures = Pictures(given, model.backbone, model.takes, plain, workers, place)
        self._computed: tuple[int, ...] | None = None
        self._steps: int | None = None  # mini-batches of the stage, where the recipe counts them
        self._eval_loss = LabelSpaceLoss()
        self._kept: list[Any] = []  # experiences of cumulative and joint training
        self._earlier: list[int] = []
        self._pending = None
        if model.backbone.device != place:  # else what it has derived from its weights stays
            model.backbone.to(place)
        self.model.to(place)

    def train(self, experiences: Any, eval_streams: Any = None, **kwargs: Unpack[LoaderOptions]) -> dict[str, Any]:
        """Train on an experience, or on each of a stream; see Avalanche.

        The global random generators are seeded for the plugins that draw from them, and given back as they were.

        Returns:
            The last value of every metric.

        Raises:
            UsageError: For a plugin that is known to fail, or a second call of joint training.
            NonFiniteLossError: When the loss becomes NaN or infinite.
        """
        composing.check_plugins(self.plugins)
        composing.adapt(self.plugins)
        if self.settings.regime == "joint":
            self._kept = list(experiences) if isinstance(experiences, Iterable) else [experiences]
            if self.stage and self._pending is None:
                raise UsageError("joint training happens once: call train(stream) with the whole stream.")
            experiences, eval_streams = self._kept[:1], eval_streams or [self._kept]
        self._take_up_stages()
        source = source_of(experiences) or self.settings.source
        with preserved_generators(), self.precision.arithmetic(), self.pictures.shown(source, 0):
            return super().train(experiences, eval_streams, **kwargs)  # type: ignore[no-any-return]

    def _take_up_stages(self) -> None:
        """Count the stages of a model that was loaded or fitted elsewhere, before the first training here.

        It is refused where the next stage depends on more: images or plugins' memory of earlier stages.
        """
        if self._trained or not self.model.stages:
            return
        lacking = "cumulative training" if self.settings.regime == "cumulative" else composing.remembering(self.plugins)
        if lacking:
            raise UsageError(
                f"{lacking} needs what earlier stages left beside the model, and this model comes with "
                f"{len(self.model.stages)} of them. Save with strategy.save(path), and go on with strategy.load(path) "
                "in a strategy that was built in the same way."
            )
        self.clock.train_exp_counter = len(self.model.stages)

    def resume_training(
        self, experiences: Any, eval_streams: Any = None, **kwargs: Unpack[LoaderOptions]
    ) -> dict[str, Any]:
        """Go on with a stage whose checkpoint was restored after some of its epochs.

        Raises:
            UsageError: When no such checkpoint was restored, or it belongs to other classes.
        """
        if self._pending is None:
            raise UsageError("nothing to resume: restore() a checkpoint that was taken inside a stage first.")
        return self.train(experiences, eval_streams, **kwargs)

    def eval(self, experiences: Any, **kwargs: Unpack[LoaderOptions]) -> dict[str, Any]:
        """Evaluate on an experience or a stream, in the evaluation transform; see Avalanche."""
        with self.precision.arithmetic(), self.pictures.shown(source_of(experiences) or self.settings.source, None):
            return super().eval(experiences, **kwargs)  # type: ignore[no-any-return]

    def model_adaptation(self, model: Any = None) -> Any:
        """Do nothing: evaluation asks for this with classes that no stage has trained yet."""
        return self.model if model is None else model

    def check_model_and_optimizer(self, **kwargs: Any) -> None:
        """Grow: the classes of the adapted data set become trainable, and a fresh optimizer takes them."""
        own = self._classes("the training data")
        if self._pending is None:
            self._trained = [*self.trained, own]
        else:
            self._check_interrupted(own)
        # Counted here, since a plugin (GDumb) may train a fresh model in every stage.
        old = tuple(sorted({c for earlier in self.trained[:-1] for c in earlier}))
        self.current = Stage(self.stage, own, old, self.settings.regime == "cumulative")
        if self._pending is None:
            self.model.begin_stage(self.current, self)
        after = self.settings.freeze_context_after
        if after is not None and self.stage > after:
            self.model.freeze_shared()
        self.model.to(self.device)
        # One object serves all stages, so that a scheduler made for it stays attached.
        self.optimizer = choose_optimizer(self._given_optimizer, composing.schedulers(self.plugins)) or self.optimizer
        restart(self.optimizer, self.model, self._follows_recipe)

    def _classes(self, what: str) -> tuple[int, ...]:
        own = classes_in(self.adapted_dataset, what)
        if own and own[-1] >= self.n_columns:
            raise UsageError(
                f"the experience holds class {own[-1]}, but the model was built with {self.n_columns} class names."
            )
        return own

    def _before_training(self, **kwargs: Any) -> None:
        # An interrupted stage has had its evaluation of the model as it was before.
        with composing.no_first_evaluation(self.plugins if self._pending else ()):
            super()._before_training(**kwargs)

    def _before_training_exp(self, **kwargs: Any) -> None:
        seed_generators(seed_for("plugins", self.settings.seed, self.clock.train_exp_counter))
        self.check_looks(self.model.looks_at)
        super()._before_training_exp(**kwargs)
        # A plugin may have put other parameters in (FromScratchTraining) or another loader (Replay).
        fill(self.optimizer, self.model, self._follows_recipe)
        replaced = getattr(self.dataloader, "batch_sampler", None) is not self._batches
        rehearses = replaced or self.model.rehearses
        space = "seen" if rehearses and self.settings.train_label_space == "own" else self.settings.train_label_space
        own = self.trained[-1]
        self.columns = columns_of(space, own, self.seen_classes, self.n_columns)
        self._criterion.restrict(self.columns, (*self.columns, *self.seen_classes), self.n_columns)
        everything = replaced or composing.read_all_columns(self.plugins) or len(self.columns) == self.n_columns
        self._computed = None if everything else self.columns
        self._places = torch.tensor(self.columns, device=self.device)
        if self.recipe.epochs is None:
            images, batches = len(self.adapted_dataset), len(self.dataloader)
            self.train_epochs, self._steps = self.recipe.length(images, len(own), batches)
        if self._pending is not None:
            self._take_up()
        plain = all(getattr(type(self), step) is getattr(LearnerStrategy, step) for step in _STEP)  # no subclass's
        if self.settings.graph == "auto" and plain and not composing.act_inside(self.plugins):
            work = work_of(self.model, self.columns, self.precision, self._computed)
            self._graphs = graphs_of(self.model, work)

    def _before_eval_exp(self, **kwargs: Any) -> None:
        super()._before_eval_exp(**kwargs)
        own = self._classes("the test data")
        columns = columns_of(self.settings.train_label_space, own, self.seen_classes, self.n_columns)
        self._eval_loss.restrict(columns, columns, self.n_columns)

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        if not trainable(self.model):
            composing.check_something_trains(self.plugins, self.stage)
            return
        for _ in range(self.clock.train_exp_epochs, self.train_epochs):
            self._before_training_epoch(**kwargs)
            if self._stop_training:
                self._stop_training = False
                break
            self.training_epoch(**kwargs)
            self._after_training_epoch(**kwargs)
        self._stop_training = False  # what stopped the last epoch does not stop the next stage

    def _before_training_epoch(self, **kwargs: Any) -> None:
        epoch = self.clock.train_exp_epochs
        seed_generators(seed_for("plugins", self.settings.seed, self.stage, epoch))
        self._batches.epoch = epoch
        self.pictures.show(epoch)
        if self.pictures.serves(self.adapted_dataset):
            self.pictures.prepare([*self.adapted_dataset.index, *composing.remembered(self.plugins)])
        elif hasattr(self.adapted_dataset, "index"):
            self.pictures.beside(list(self.adapted_dataset.index))
        if self._follows_recipe:
            self._set_rate()
        self.model.begin_epoch(self.current, epoch)
        if self._graphs is not None:
            self._graphs.begin_epoch()
        super()._before_training_epoch(**kwargs)

    def _unpack_minibatch(self) -> None:
        """Take the mini-batch to the device, with what the learner rehearses of old classes."""
        # A GPU would end every later run of the process for a label outside the label space: looked at before.
        if self.is_training and self.device.type != "cpu" and self.mbatch[1].is_cpu:
            label_rows(self.mbatch[1], self.columns, len(self.mbatch[1]))
        super()._unpack_minibatch()
        if not self.is_training:
            return
        self.drawn_images = len(self.mbatch[1])
        now, seed = self.clock, self.settings.seed
        step = Step(self.current, now.train_exp_epochs, now.train_exp_iterations, seed, now.train_epoch_iterations)
        x, y, *others = self.mbatch
        more_x, more_y = self.model.rehearse(x, y, step)
        if more_y is not y:
            extra = len(more_y) - len(y)  # they have no place in the source, and the only task label there is
            others = [
                torch.cat([other, other.new_full((extra,), fill)]) for other, fill in zip(others, (-1, 0), strict=False)
            ]
            self.mbatch = [more_x, more_y, *others]

    def _before_training_iteration(self, **kwargs: Any) -> None:
        if self.recipe.schedule == "cosine_step" and self._follows_recipe:
            steps = self._steps or max(1, self.train_epochs * len(self.dataloader))
            self._set_rate(self.clock.train_exp_iterations / steps)
        super()._before_training_iteration(**kwargs)

    def _after_training_iteration(self, **kwargs: Any) -> None:
        super()._after_training_iteration(**kwargs)
        if self.clock.train_exp_iterations == self._steps:  # the last epoch ends here
            self._stop_training = True

    def _after_training_epoch(self, **kwargs: Any) -> None:
        self.guard.flush()
        self.model.end_epoch(self.current, self.clock.train_exp_epochs, self)
        super()._after_training_epoch(**kwargs)
        if self.settings.on_epoch_end is not None:
            self.settings.on_epoch_end(self)

    def _after_training_exp(self, **kwargs: Any) -> None:
        self._graphs = self._replayed = None
        self.model.end_stage(self.current, self)
        super()._after_training_exp(**kwargs)

    @property
    def _follows_recipe(self) -> bool:
        """Whether the learning rate is the recipe's, not the user's."""
        return self._given_optimizer is None and not composing.schedulers(self.plugins)

    def _set_rate(self, done: float = 0.0) -> None:
        recipe = self.recipe.but(epochs=self.train_epochs)
        set_rates(self.optimizer, recipe, self.clock.train_exp_epochs, done)

    def forward(self) -> Tensor:
        """Return the logits (batch, n_columns); -inf in columns that nobody reads while training."""
        self._replayed = self._replay() if self.is_training else None
        if self._replayed is not None:
            return self._spread(self._replayed.logits, self._computed)
        columns = self._computed if self.is_training else None
        score = self.model.training_output if self.is_training else self.model.output
        with self.precision.autocast():
            self.output = score(self.mb_x, columns)
        if self.is_training and (plain := self._plain_features()) is not None:
            self.output.supply(plain)
        return self._spread(self.output.logits, columns)

    def _spread(self, logits: Tensor, columns: tuple[int, ...] | None) -> Tensor:
        return logits if columns is None else spread(logits, self._places, self.n_columns)

    def _replay(self) -> Done | None:
        """Do forward pass, loss and backward pass at once, where a graph can."""
        if self._graphs is None or self.retain_graph or self._graphs.model is not self.model:
            return None
        self.output = self.mb_output = None  # the last step's, whose operators a recording must not meet
        return self._graphs.step(self.mb_x, self.mb_y)

    def _plain_features(self) -> Tensor | None:
        """Return the plain tower's features of the mini-batch from the cache, where each image has a place there."""
        if len(self.mbatch) < 4 or not self.mbatch[2].is_cpu:
            return None
        places = self.mbatch[2].tolist()
        return None if min(places) < 0 else self.pictures.beside(places)

    def criterion(self) -> Tensor:
        """Return the loss: the method's objective while training, cross-entropy otherwise; both in the label space."""
        if not self.is_training:
            return self._eval_loss(self.mb_output, self.mb_y)
        if self._replayed is not None:
            self.loss_terms = self._replayed.terms
            return self.loss_terms["total"]
        with self.precision.autocast():
            self._terms = self.model.objective(self.output, self.mb_y, self.columns)
        self.loss_terms = {name: value.detach() for name, value in self._terms.items()}
        return self._terms["total"]

    def backward(self) -> None:
        """Run the backward pass, after a look at the loss with all that plugins added."""
        self.guard.see(self.clock.train_iterations + 1, {**self.loss_terms, PENALTY: self.loss})
        if self._replayed is not None:
            return
        scaled = self.precision.scaled
        terms, self._terms = {name: scaled(term) for name, term in self._terms.items()}, {}
        self.model.backward(scaled(self.loss.squeeze()), terms, self.retain_graph)

    def optimizer_step(self) -> None:
        """Let the optimizer step."""
        self.precision.step(self.optimizer)

    def _make_empty_loss(self) -> Tensor:
        parameter = next(self.model.parameters(), None)
        return torch.zeros(1, device=self.device, dtype=None if parameter is None else parameter.dtype)


def choose_optimizer(given: Optimizer | None, schedulers: Sequence[Any]) -> Optimizer | None:
    """Return the optimizer that the user made: given, or the one that a learning rate scheduler was made for.

    Raises:
        UsageError: When it has several parameter groups, or a scheduler belongs to another optimizer.
    """
    for scheduler in schedulers:
        if given is None:
            given = scheduler.optimizer
        elif scheduler.optimizer is not given:
            raise UsageError(
                "a learning rate scheduler belongs to another optimizer than the strategy's. "
                "Make it for the optimizer that you pass as optimizer=..., or for strategy.optimizer."
            )
    if given is not None and len(given.param_groups) != 1:
        raise UsageError(f"the optimizer has {len(given.param_groups)} parameter groups; a strategy fills exactly one.")
    return given
