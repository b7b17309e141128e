"""Avalanche's plugins while labels grow."""

from typing import Any

import pytest
import torch
from avalanche.training import plugins as avalanche
from torch.optim.lr_scheduler import StepLR

from lamm_cl.errors import UsageError

pytestmark = [
    pytest.mark.filterwarnings("ignore:Call to deprecated function update:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Metric Top1_Acc_Stream used by the EarlyStopping:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*__array_wrap__ must accept context:DeprecationWarning"),
]

GROWING = {
    "replay": lambda: avalanche.ReplayPlugin(mem_size=12),
    "ewc": lambda: avalanche.EWCPlugin(1.0),
    "ewc online": lambda: avalanche.EWCPlugin(1.0, mode="online", decay_factor=0.9),
    "lwf": lambda: avalanche.LwFPlugin(),
    "si": lambda: avalanche.SynapticIntelligencePlugin(1.0),
    "mas": lambda: avalanche.MASPlugin(),
    "agem": lambda: avalanche.AGEMPlugin(6, 4),
    "early stopping": lambda: avalanche.EarlyStoppingPlugin(1, "test_stream"),
}


@pytest.mark.parametrize("name", sorted(GROWING))
@pytest.mark.parametrize("context", [True, False], ids=["context", "labels-only"])
def test_composes_while_labels_grow(build: Any, toy: Any, stream: Any, name: str, context: bool) -> None:
    benchmark = stream(((0, 1), (2, 3), (4, 5)))
    strategy = build(model=toy(6, context=context), plugins=[GROWING[name]()], eval_every=1)
    for k, experience in enumerate(benchmark.train_stream):
        strategy.train(experience, eval_streams=[benchmark.test_stream])
        assert strategy.trained[-1] == (2 * k, 2 * k + 1)
        trains = {n for n, p in strategy.model.named_parameters() if p.requires_grad}
        assert trains == {f"labels.{2 * k}", f"labels.{2 * k + 1}"} | ({"context"} if context else set())
    accuracy = strategy.eval(benchmark.test_stream)
    assert all(0 <= value <= 1 for value in accuracy.values())


def test_replay_trains_in_the_joint_space_once_there_are_old_images(build: Any, stream: Any) -> None:
    benchmark = stream()
    strategy = build(plugins=[avalanche.ReplayPlugin(mem_size=12)])
    strategy.train(benchmark.train_stream[0])
    assert strategy.columns == (0, 1)
    labels: list[int] = []
    strategy.plugins[0].before_forward = lambda s, **_: labels.extend(s.mb_y.tolist())
    strategy.train(benchmark.train_stream[1])
    assert strategy.columns == (0, 1, 2, 3)
    assert set(labels) == {0, 1, 2, 3}
    assert strategy.trained[-1] == (2, 3)


def test_ewc_holds_the_context_near_its_old_value(build: Any, stream: Any) -> None:
    moved = []
    for strength in (0.0, 1000.0):
        benchmark, strategy = stream(), build(plugins=[avalanche.EWCPlugin(strength)], recipe={"lr": 0.01})
        strategy.train(benchmark.train_stream[0])
        before = strategy.model.context.detach().clone()
        strategy.train(benchmark.train_stream[1])
        moved.append(float((strategy.model.context.detach() - before).norm()))
    assert moved[1] < 0.7 * moved[0]


def test_lwf_keeps_the_old_model_without_copying_the_backbone(build: Any, stream: Any) -> None:
    plugin = avalanche.LwFPlugin()
    strategy = build(plugins=[plugin])
    strategy.train(stream().train_stream)
    assert plugin.lwf.prev_model is not strategy.model
    assert plugin.lwf.prev_model.backbone is strategy.model.backbone
    assert plugin.lwf.prev_classes_by_task[0] == {0, 1, 2, 3}


def test_gdumb_trains_a_new_model_on_its_memory(build: Any, stream: Any) -> None:
    strategy = build(plugins=[avalanche.GDumbPlugin(mem_size=16)])
    benchmark = stream()
    strategy.train(benchmark.train_stream[0])
    first = strategy.model
    strategy.train(benchmark.train_stream[1])
    assert strategy.model is not first
    assert strategy.trained == [(0, 1), (0, 1, 2, 3)]
    strategy.eval(benchmark.test_stream)


def test_from_scratch_does_not_put_frozen_labels_back(build: Any, stream: Any) -> None:
    strategy = build(plugins=[avalanche.FromScratchTrainingPlugin()])
    strategy.train(stream().train_stream)
    held = [id(p) for p in strategy.optimizer.param_groups[0]["params"]]
    assert sorted(held) == sorted(id(p) for p in strategy.model.parameters() if p.requires_grad)


def test_rwalk_is_refused_with_the_reason(build: Any, stream: Any) -> None:
    with pytest.raises(UsageError, match=r"RWalkPlugin does not work with growing labels: .*EWCPlugin"):
        build(plugins=[avalanche.RWalkPlugin()])
    strategy = build()
    strategy.plugins.append(avalanche.RWalkPlugin())
    with pytest.raises(UsageError, match="RWalkPlugin"):
        strategy.train(stream().train_stream)


def test_early_stopping_stops_and_restores_the_best(build: Any, stream: Any) -> None:
    benchmark = stream()
    plugin = avalanche.EarlyStoppingPlugin(1, "test_stream")
    strategy = build(plugins=[plugin], eval_every=1, recipe={"epochs": 30})
    strategy.train(benchmark.train_stream[0], eval_streams=[[benchmark.test_stream[0]]])
    assert strategy.clock.train_exp_epochs < 30
    state = strategy.model.state_dict()
    assert all(torch.equal(state[k], plugin.best_state[k]) for k in state)


class TestLearningRate:
    def rates(self, strategy: Any, experiences: Any) -> list[float]:
        seen: list[float] = []
        strategy.plugins[0].after_training_iteration = lambda s, **_: seen.append(s.optimizer.param_groups[0]["lr"])
        strategy.train(experiences)
        return seen[::3]  # three mini-batches an epoch

    def test_follows_the_recipe_in_every_stage(self, build: Any, stream: Any) -> None:
        from lamm_cl.methods.recipe import lr_at

        strategy = build(recipe={"epochs": 4})
        assert self.rates(strategy, stream().train_stream) == [lr_at(strategy.recipe, e) for e in range(4)] * 2
        assert lr_at(strategy.recipe, 0) == 1e-5

    def test_a_scheduler_plugin_takes_over_with_its_optimizer(self, build: Any, stream: Any) -> None:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.4)
        strategy = build(plugins=[avalanche.LRSchedulerPlugin(StepLR(optimizer, 1, gamma=0.5))])
        assert strategy.optimizer is optimizer
        assert self.rates(strategy, stream().train_stream) == [0.4, 0.2, 0.1] * 2
        assert len(optimizer.param_groups[0]["params"]) == 3

    def test_a_scheduler_can_be_made_for_the_strategys_optimizer(self, build: Any, stream: Any) -> None:
        strategy = build()
        strategy.plugins.insert(0, avalanche.LRSchedulerPlugin(StepLR(strategy.optimizer, 1, gamma=0.5)))
        assert self.rates(strategy, stream().train_stream) == [0.1, 0.05, 0.025] * 2

    def test_an_own_optimizer_keeps_its_rate(self, build: Any, stream: Any) -> None:
        optimizer = torch.optim.AdamW([torch.zeros(1)], lr=0.01)
        strategy = build(optimizer=optimizer)
        assert self.rates(strategy, stream().train_stream) == [0.01] * 6
        assert strategy.optimizer is optimizer

    def test_two_groups_or_a_foreign_scheduler_are_refused(self, build: Any) -> None:
        two = torch.optim.SGD([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}], lr=0.1)
        with pytest.raises(UsageError, match="2 parameter groups"):
            build(optimizer=two)
        other = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        plugin = avalanche.LRSchedulerPlugin(StepLR(other, 1))
        with pytest.raises(UsageError, match="another optimizer"):
            build(optimizer=torch.optim.SGD([torch.zeros(1)], lr=0.1), plugins=[plugin])


def test_plugins_that_need_gradients_are_refused_where_nothing_trains(build: Any, toy: Any, stream: Any) -> None:
    strategy = build(model=toy(4, context=False, labels=False), plugins=[avalanche.EWCPlugin(1.0)])
    with pytest.raises(UsageError, match="EWCPlugin needs parameters that train, but in stage 1 nothing does"):
        strategy.train(stream().train_stream)


@pytest.mark.parametrize("name", ["replay", "ewc", "lwf", "agem"])
def test_the_result_does_not_depend_on_what_drew_before(build: Any, stream: Any, name: str) -> None:
    results = []
    for seed in (3, 4):
        torch.manual_seed(seed)
        strategy = build(plugins=[GROWING[name]()])
        for experience in stream().train_stream:
            torch.rand(seed)
            strategy.train(experience)
        results.append(strategy.model.state_dict())
    assert all(torch.equal(results[0][k], results[1][k]) for k in results[0])


def test_lwf_distils_the_same_on_data_with_and_without_task_labels(build: Any, stream: Any) -> None:
    results = []
    for tasks in (True, False):
        plugin = avalanche.LwFPlugin(alpha=5.0)
        strategy = build(plugins=[plugin])
        for experience in stream(tasks=tasks).train_stream:
            strategy.train(experience)
        assert plugin.lwf.prev_classes_by_task == {0: {0, 1, 2, 3}}
        results.append(strategy.model.state_dict())
    plain = build()
    plain.train(stream().train_stream)
    assert all(torch.equal(results[0][k], results[1][k]) for k in results[0])
    assert not torch.equal(results[0]["context"], plain.model.state_dict()["context"])


def test_lwf_distils_the_classes_of_all_earlier_tasks(build: Any, stream: Any) -> None:
    from avalanche.benchmarks import task_incremental_benchmark

    plugin = avalanche.LwFPlugin()
    strategy = build(6, plugins=[plugin])
    strategy.train(task_incremental_benchmark(stream(((0, 1), (2, 3), (4, 5)), tasks=False)).train_stream)
    assert plugin.lwf.prev_classes_by_task == {0: {0, 1, 2, 3, 4, 5}}


def test_mas_protects_also_where_a_single_class_has_no_loss(build: Any, stream: Any) -> None:
    strategy = build(plugins=[avalanche.MASPlugin()])
    strategy.train(stream(((0, 1), (2,), (3,))).train_stream)
    assert strategy.stage == 3
