"""The accuracy matrix of a stream in every label space, from one pass over each test set."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue

from lamm_cl.errors import UsageError, unknown
from lamm_cl.evaluation.metrics import Matrix
from lamm_cl.evaluation.scores import Score, Tally
from lamm_cl.evaluation.summary import LABEL_SPACES, TOTAL, Row, Sets, stages_of, summarise_stage


def classes_of(experience: Any) -> tuple[int, ...]:
    """Return the classes of an experience, ascending: those that it names, else those of its data."""
    named = getattr(experience, "classes_in_this_experience", None)
    if named is not None:
        return tuple(sorted(map(int, named)))
    stream = getattr(experience.origin_stream, "name", "?")
    return classes_in(experience.dataset, f"experience {experience.current_experience} of the stream {stream!r}")


def classes_in(dataset: Any, what: str) -> tuple[int, ...]:
    """Return the classes of an Avalanche data set's labels, ascending.

    Raises:
        UsageError: It, called `what`, does not know its labels.
    """
    targets = getattr(dataset, "targets", None)
    if targets is None:
        raise UsageError(
            f"{what}: its data do not know their labels. Make the data set with Avalanche's as_classification_dataset, "
            "from one that has `targets`, a list with a label for each image."
        )
    return tuple(sorted({int(y) for y in getattr(targets, "uniques", targets)}))


LOGGED = ("degradation", "forgetting", "backward_transfer", "incremental_accuracy", "harmonic_mean")
LOGGABLE = (
    *LOGGED,
    "forward_transfer",
    "transfer",
    "average",
    "last",
    "average_incremental_accuracy",
    "zero_shot_retention",
    "ece",
    "mean_class_accuracy",
    "class_accuracy",
    "confusion",
)


class AccuracyMatrix(PluginMetric[dict[str, Matrix]]):
    """Scores own, seen and all label spaces from the same logits, and fills a[i, j] for every pair, also i < j.

    Works with any Avalanche strategy whose `mb_output` has one column per class of the stream:
    `EvaluationPlugin(AccuracyMatrix(), loggers=[...])`. A row is filled when a stage is over: evaluations inside a
    stage (`eval_every`) are logged and not kept, nor are those of other streams than `stream`.

    - own: an image competes among the classes of its own experience (or data set).
    - seen: among the classes trained so far. Before the first stage there are none: missing. A set whose classes
      are all still to come scores 0 there, since no candidate is right.
    - all: among all classes of the benchmark.

    Args:
        benchmark: benchmark or evaluation plan; by default the plan of the benchmark that is evaluated. Where there
            is no plan (a benchmark not made by lamm_cl) the experiences tell their own classes; given one, their
            labels are looked at before anything trains.
        stream: name of the stream whose experiences are the test sets.
        log: what loggers get beside the accuracies, out of `LOGGABLE`, or "all". `rows` has everything anyway.

    Raises:
        UsageError: for something to log that there is not.
    """

    def __init__(
        self, benchmark: Any | None = None, *, stream: str = "test", log: Sequence[str] | str = LOGGED
    ) -> None:
        super().__init__()
        self._log = LOGGABLE if log == "all" else (log,) if isinstance(log, str) else tuple(log)
        for name in self._log:
            if name not in LOGGABLE:
                raise unknown("metric to log", name, (*LOGGABLE, "all"))
        self._benchmark = benchmark if hasattr(benchmark, "streams") else None
        self._plan = getattr(benchmark, "plan", None if self._benchmark is not None else benchmark)
        self._stream = stream
        self._training = False
        self._met: list[list[int]] = []  # columns that each stage trained
        self._scores: dict[tuple[int, int], dict[str, Score]] = {}
        self._found: dict[int, tuple[str, tuple[int, ...], int]] = {}  # without a plan: name, columns, images
        self._place = 0
        self._tally: Tally | None = None

    # -- what Avalanche calls ----------------------------------------------------------------------------------

    def before_training_exp(self, strategy: Any) -> None:
        """A stage begins: rows are not filled until it is over. What cannot be evaluated is refused before it trains.

        Raises:
            UsageError: A test set does not know its labels, or the model has no output for one of them.
        """
        self._check_test_sets(strategy)
        self._meet(getattr(strategy, "trained", [])[:-1])
        self._training = True
        # The adapted data set knows better than the experience: joint training sees the classes of all.
        met = set(classes_in(strategy.adapted_dataset, "the training data"))
        self._meeting = sorted(met | set(map(int, getattr(strategy.experience, "columns", ()))))

    def _meet(self, trained: Sequence[Iterable[int]]) -> None:
        """Count the stages that a model brings along from elsewhere; their rows stay missing."""
        self._met += [sorted(columns) for columns in trained[len(self._met) :]]

    def _check_test_sets(self, strategy: Any) -> None:
        """Look at the test sets that are known: of the benchmark, else those that training itself evaluates."""
        benchmark = self._benchmark or getattr(strategy.experience.origin_stream, "benchmark", None)
        plan = self._plan or getattr(benchmark, "plan", None)
        if plan is not None:
            own = [tuple(one.own) for one in plan.sets]
        else:
            listed = [benchmark.streams.get(self._stream, ())] if benchmark is not None else []
            listed += getattr(strategy, "_eval_streams", None) or []
            own = [classes_of(one) for stream in listed for one in stream]
        highest = max((columns[-1] for columns in own if columns), default=-1)
        width = getattr(strategy, "n_columns", None)
        if width is not None and highest >= width:
            raise _too_narrow(width, highest)

    def after_training_exp(self, strategy: Any) -> None:
        """A stage is over: its classes have been seen."""
        self._training = False
        self._met.append(self._meeting)

    def before_eval_exp(self, strategy: Any) -> None:
        """Find out which test set this is, and its label spaces."""
        self._tally = None
        if not self._training:
            self._meet(getattr(strategy, "trained", []))
        if strategy.experience.origin_stream.name == self._stream:
            self._place = int(strategy.experience.current_experience)
            self._own = self._columns_of(strategy.experience)

    def after_eval_iteration(self, strategy: Any) -> None:
        """Count a batch in every label space."""
        if strategy.experience.origin_stream.name != self._stream:
            return
        if self._tally is None:
            self._tally = Tally(self._spaces(strategy.mb_output.shape[1]))
        self._tally.add(strategy.mb_output, strategy.mb_y)

    def after_eval_exp(self, strategy: Any) -> list[MetricValue]:
        """Fill a[i, j] and report it."""
        if self._tally is None:
            return []
        scores = self._tally.scores()
        self._tally = None
        if not self._training:
            self._scores[self.stage, self._place] = scores
        place = f"Exp{self._place:03}"
        # Avalanche's CSV logger has one column for accuracy and keeps the last of this name: own.
        spaces = [space for space in reversed(LABEL_SPACES) if space in scores]
        return [self._value(strategy, "Top1_Acc_Exp", space, scores[space].accuracy, place) for space in spaces]

    def after_eval(self, strategy: Any) -> list[MetricValue]:
        """Report what the whole pass says."""
        if self._training or self.stage == 0:
            return []
        rows = [*self._summary(self.stage), *self._details(self.stage, "class_accuracy" in self._log, True)]
        return [*self._numbers(strategy, rows), *self._confusions(strategy)]

    def _numbers(self, strategy: Any, rows: Iterable[Row]) -> Iterable[MetricValue]:
        """Yield the rows that are logged."""
        for row in rows:
            metric, _, column = row.metric.partition("/")
            total = metric == "accuracy" and row.eval_set == TOTAL
            if row.value is not None and (total or metric in self._log):
                title = "Top1_Acc_Stream" if total else metric.title().replace("_", "")
                places = [] if row.eval_set == TOTAL else [row.eval_set]
                yield self._value(strategy, title, row.label_space, row.value, *places, *filter(None, [column]))

    def _confusions(self, strategy: Any) -> Iterable[MetricValue]:
        """Yield the confusion matrix of each test set among all classes, as a tensor (true, predicted)."""
        for j, name in enumerate(self.sets.names if "confusion" in self._log else ()):
            score = self._scores.get((self.stage, j), {}).get("all")
            if score is not None:
                counts = torch.zeros(score.columns, score.columns, dtype=torch.long)
                true, predicted, images = torch.tensor(score.confusion).T
                counts[true, predicted] = images
                yield self._value(strategy, "Confusion", "all", counts, name)

    def _value(self, strategy: Any, title: str, space: str, value: Any, *places: str) -> MetricValue:
        name = "/".join([f"{title}_{space}", "eval_phase", f"{self._stream}_stream", *places])
        return MetricValue(self, name, value, strategy.clock.train_iterations)

    def _spaces(self, width: int) -> dict[str, tuple[int, ...]]:
        """Return the columns of each label space, ascending."""
        seen = tuple(sorted({column for columns in self._met for column in columns}))
        spaces = {"own": self._own, "seen": seen, "all": tuple(range(width))}
        highest = max(max(columns, default=-1) for columns in spaces.values())
        if highest >= width:
            raise _too_narrow(width, highest)
        return spaces

    def _columns_of(self, experience: Any) -> tuple[int, ...]:
        """Return the own columns of a test set, ascending; without a plan, note what it is."""
        self._plan = self._plan or getattr(experience.origin_stream.benchmark, "plan", None)
        if self._plan is not None:
            return tuple(self._plan.sets[self._place].own)
        columns, name = classes_of(experience), getattr(experience, "name", f"set{self._place + 1}")
        self._found[self._place] = name, columns, len(experience.dataset)
        return columns

    # -- what has been found -----------------------------------------------------------------------------------

    @property
    def stage(self) -> int:
        """Number of stages that are over."""
        return len(self._met)

    @property
    def sets(self) -> Sets:
        """The test sets: those of the plan, else those that were evaluated."""
        if self._plan is not None:
            # A variant of a trained data set has classes that were trained, and was itself never trained on.
            every = [(one.name, one.own, one.n, one.trained_in is not None) for one in self._plan.sets]
        else:
            last = max(self._found, default=-1)
            every = [(*self._found.get(j, (f"set{j + 1}", (), 0)), True) for j in range(last + 1)]
        stages = stages_of([own for _, own, _, _ in every], self._met)
        trained = (k if one[3] else None for one, k in zip(every, stages, strict=True))
        return Sets(tuple(one[0] for one in every), tuple(one[2] for one in every), tuple(trained))

    def result(self) -> dict[str, Matrix]:
        """Return `matrices()`."""
        return self.matrices()

    def reset(self) -> None:
        """Forget everything."""
        self._training = False
        self._met.clear()
        self._scores.clear()
        self._found.clear()

    def matrices(self, before: bool = False) -> dict[str, Matrix]:
        """Return a[i, j] per label space as fractions, shape (stages so far, test sets); NaN = missing.

        With `before`, stage 0, before any training, is on top as a further row.
        """
        shape = (self.stage + 1, len(self.sets.names))
        matrices = {space: np.full(shape, np.nan) for space in LABEL_SPACES}
        for (stage, j), scores in self._scores.items():
            for space, score in scores.items():
                matrices[space][stage, j] = score.accuracy
        return matrices if before else {space: a[1:] for space, a in matrices.items()}

    def score(self, stage: int, eval_set: str, space: str) -> Score | None:
        """Return the counts behind one entry: confusion, calibration; None when it is missing."""
        names = self.sets.names
        return self._scores.get((stage, names.index(eval_set)), {}).get(space) if eval_set in names else None

    def rows(self, *, per_class: bool = False, calibration: bool = False) -> list[Row]:
        """Return everything as rows for the records, stage by stage.

        With `per_class`, `class_accuracy/<column>` of every class of every test set and their mean are among them, with
        `calibration` also `ece`, the expected calibration error.
        """
        rows: list[Row] = []
        for stage in range(self.stage + 1):
            rows += self._summary(stage)
            rows += self._details(stage, per_class, calibration)
        return rows

    def _summary(self, stage: int) -> Iterable[Row]:
        sets, table = self.sets, self.matrices(before=True)
        rows: list[Row] = []
        images = sum(sets.counts)
        for space in LABEL_SPACES:
            found = [self._scores.get((stage, j), {}).get(space) for j in range(len(sets.names))]
            for name, n, score in zip(sets.names, sets.counts, found, strict=True):
                rows.append(Row(stage, name, space, "accuracy", score.accuracy if score else None, n))
            there = [score for score in found if score]
            complete = len(there) == len(found) and images > 0
            total = sum(score.correct for score in there) / images if complete else None
            rows.append(Row(stage, TOTAL, space, "accuracy", total, images))
            if stage and found:
                protocol = getattr(self._plan, "protocol", "")
                rows += summarise_stage(space, stage, table[space][1:], table[space][0], sets, protocol)
        return rows

    def _details(self, stage: int, per_class: bool, calibration: bool) -> Iterable[Row]:
        for j, name in enumerate(self.sets.names):
            for space, score in self._scores.get((stage, j), {}).items():
                if calibration:
                    yield Row(stage, name, space, "ece", score.calibration, score.n)
                if per_class:
                    classes = score.class_accuracies()
                    mean = float(np.mean([accuracy for accuracy, _ in classes.values()]))
                    yield Row(stage, name, space, "mean_class_accuracy", mean, score.n)
                    for column, (accuracy, n) in classes.items():
                        yield Row(stage, name, space, f"class_accuracy/{column}", accuracy, n)

    # -- resuming ----------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return all that was found as plain lists, numbers and text, for JSON. Call it between stages."""
        found, scores = list(self._found.items()), list(self._scores.items())
        return copy.deepcopy({"met": self._met, "found": found, "scores": scores})  # what follows changes these

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state that `state` gave."""
        self._training = False
        self._met = copy.deepcopy(state["met"])
        self._found = {j: (name, tuple(own), n) for j, (name, own, n) in state["found"]}
        self._scores = {
            (stage, j): {space: Score(*score) for space, score in spaces.items()}
            for (stage, j), spaces in state["scores"]
        }


def _too_narrow(width: int, highest: int) -> UsageError:
    return UsageError(
        f"accuracy matrix: the output has {width} columns but class {highest} is asked for; "
        "give the model one column per class of the whole stream."
    )
