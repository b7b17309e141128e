"""Whole small runs of the released trainers, batch by batch: our strategies on the same batches, from the same start.

A record holds what a released trainer was fed and what became of it (digits, `tiny`, 100 steps). Fed the same, a
strategy must have the same loss and learning rate at every step, end with the same parameters, and get as many test
images right. Which method, classes and settings a record has is read from it.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import DataAttribute, TaskAwareSupervisedClassificationDataset
from avalanche.benchmarks.utils.utils import ConstantSequence
from avalanche.evaluation import PluginMetric

import lamm_cl
from lamm_cl.evaluation.plugins import AccuracyMatrix, evaluator
from lamm_cl.methods import official

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Fed(torch.utils.data.Dataset[Any]):
    """The recorded batches of one epoch, image after image."""

    def __init__(self, pixels: Any, labels: Any, epochs: int) -> None:
        self.epoch, self.per_epoch = 0, len(pixels) // epochs
        self._pixels, self._labels = pixels, labels
        self.targets = labels[: self.per_epoch].reshape(-1).tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def stream(self) -> Any:
        """An Avalanche stream of one experience."""
        task = DataAttribute(ConstantSequence(0, len(self)), "targets_task_labels", use_in_getitem=True)
        attributes = [DataAttribute(self.targets, "targets"), task]
        data = TaskAwareSupervisedClassificationDataset([self], data_attributes=attributes)
        return benchmark_from_datasets(train=[data]).train_stream

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        step, row = divmod(i, self._labels.shape[1])
        step += self.epoch * self.per_epoch
        grey = torch.from_numpy(self._pixels[step, row]).float() / 255
        view = (grey[None] - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_STD)[:, None, None]
        return view, int(self._labels[step, row])


@dataclass
class Steps(PluginMetric[Any]):
    """Loss before, and learning rate during, every step."""

    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def after_training_iteration(self, strategy: Any) -> None:
        self.losses.append(strategy.loss_terms["total"].item())
        self.rates.append(strategy.optimizer.param_groups[0]["lr"])

    def result(self) -> Any: ...

    def reset(self) -> None: ...


def options_of(start: dict[str, Any]) -> dict[str, int]:
    """The method's options that the shapes of its parameters tell."""
    context = start.get("prompt_learner.ctx")
    deep = sum(name.startswith("prompt_learner.compound_prompts_text") for name in start)
    return ({"n_ctx": len(context)} if context is not None else {}) | ({"prompt_depth": deep + 1} if deep else {})


def test_follows_the_released_trainer(replay: Any, tiny: Any) -> None:
    about, record = replay
    start, end = (
        {name.partition("/")[2]: torch.tensor(record[name]) for name in record.files if name.startswith(part)}
        for part in ("init/", "final/")
    )
    shots = len(about["train"]) // len(about["class_names"])
    benchmark = lamm_cl.base_to_novel("digits", shots=shots, seed=about["seed"])
    own = [benchmark.class_names.index(name) for name in about["class_names"]]

    drawn, _ = lamm_cl.few_shot(lamm_cl.load_dataset("digits"), shots=shots, seed=about["seed"])
    files = [(item.path.rpartition("/")[2], item.class_name) for item in drawn if item.label in own]
    assert files == [(file.removesuffix(".png"), name) for file, _, name in about["train"]]

    epochs = 1 + int(np.count_nonzero(np.diff(record["lr"])))
    fed = Fed(record["pixels"], np.array(own)[record["labels"]], epochs)
    assert set(fed.targets) == set(own)
    steps, matrix = Steps(), AccuracyMatrix(benchmark)
    strategy = lamm_cl.build_strategy(
        about["method"],
        tiny,
        benchmark,
        epochs=epochs,
        batch_size=record["labels"].shape[1],
        on_epoch_end=lambda _: setattr(fed, "epoch", fed.epoch + 1),
        evaluator=evaluator(steps, matrix),
        **options_of(start),
    )
    recipe, given = strategy.recipe, about["optimiser"]
    assert (recipe.momentum, recipe.weight_decay) == (given["momentum"], given["weight_decay"])
    strategy.model.learn_classes(own)
    mine = official.gather(strategy.model)
    if "prompt_learner.token_classes" in mine:  # words: the start that needs no random number
        assert torch.equal(mine["prompt_learner.token_classes"], start["prompt_learner.token_classes"])
    for name in (name for name in mine if "projections" in name):  # which are copies of the first?
        first = re.sub(r"\d+", "0", name)
        assert torch.equal(mine[name], mine[first]) == torch.equal(start[name], start[first])
    official.scatter(strategy.model, start)
    strategy.train(fed.stream(), shuffle=False)
    strategy.eval(benchmark.test_stream)

    np.testing.assert_allclose(steps.rates, record["lr"], rtol=0, atol=1e-15)
    np.testing.assert_allclose(steps.losses, record["losses"], rtol=1e-5, atol=1e-7)
    found = official.gather(strategy.model)
    assert set(found) == set(end)
    for name, value in found.items():
        # 1e-5 of what training changed, and one rounding of the values themselves
        allowed = 1e-5 * (end[name] - start[name]).norm() + torch.finfo(torch.float32).eps * end[name].norm()
        assert (value - end[name]).norm() <= allowed, name
    right = {
        row.eval_set: (round(row.value * row.n), row.n)
        for row in matrix.rows()
        if (row.stage, row.label_space, row.metric) == (1, "own", "accuracy")
    }
    this, other = sorted(benchmark.plan.sets, key=lambda test: list(test.own) != own)
    assert right[this.name] == (about["correct"], about["n"])
    assert right[other.name] == (about["new_correct"], about["new_n"])
