"""What grows, what is frozen, what the optimizer holds, and which columns the loss sees."""

from typing import Any

import pytest
import torch

from lamm_cl.errors import UsageError


def test_trains_the_classes_of_each_experience_and_freezes_the_others(build: Any, stream: Any) -> None:
    strategy, benchmark = build(), stream()
    strategy.train(benchmark.train_stream[0])
    assert strategy.trained == [(0, 1)]
    before = {k: v.detach().clone() for k, v in strategy.model.labels.items()}
    strategy.train(benchmark.train_stream[1])
    assert strategy.trained == [(0, 1), (2, 3)]
    assert (strategy.stage, strategy.seen_classes) == (2, (0, 1, 2, 3))
    for k in "01":
        assert torch.equal(strategy.model.labels[k], before[k])
        assert not strategy.model.labels[k].requires_grad
    assert all(strategy.model.labels[k].abs().sum() > 0 for k in "23")


def test_own_logits_of_set1_are_bitwise_those_before_set2(build: Any, toy: Any, stream: Any) -> None:
    benchmark = stream()
    strategy = build(model=toy(4, context=False))
    x = torch.stack([benchmark.test_stream[0].dataset[i][0] for i in range(10)])
    strategy.train(benchmark.train_stream[0])
    before = strategy.model(x)[:, :2].clone()
    strategy.train(benchmark.train_stream[1])
    assert torch.equal(strategy.model(x)[:, :2], before)


def test_optimizer_is_fresh_and_holds_exactly_what_trains(build: Any, stream: Any) -> None:
    momenta: list[int] = []
    strategy, benchmark = build(on_epoch_end=lambda s: momenta.append(len(s.optimizer.state))), stream()
    for experience in benchmark.train_stream:
        strategy.train(experience)
        held = [id(p) for group in strategy.optimizer.param_groups for p in group["params"]]
        assert sorted(held) == sorted(id(p) for p in strategy.model.parameters() if p.requires_grad)
        assert set(map(id, strategy.optimizer.state)) <= set(held)
    assert momenta == [3] * 6


def test_only_columns_of_the_label_space_are_computed_while_training(build: Any, stream: Any) -> None:
    strategy, benchmark = build(), stream()
    widths: list[Any] = []
    strategy.plugins[0].before_backward = lambda s, **_: widths.append(s.mb_output)
    strategy.train(benchmark.train_stream[1])
    assert set(strategy.model.asked) == {(2, 3)}
    assert all(out.shape[1] == 4 for out in widths)
    assert all(torch.isinf(out[:, :2]).all() and torch.isfinite(out[:, 2:]).all() for out in widths)
    strategy.eval(benchmark.test_stream)
    assert strategy.model.asked[-1] is None


def test_an_unknown_plugin_gets_every_column(build: Any, stream: Any) -> None:
    from avalanche.core import SupervisedPlugin

    class Looks(SupervisedPlugin):  # type: ignore[misc]
        def before_backward(self, strategy: Any, **kwargs: Any) -> None:
            assert torch.isfinite(strategy.mb_output).all()

    build(plugins=[Looks()]).train(stream().train_stream)


@pytest.mark.parametrize(("space", "expected"), [("own", (2, 3)), ("seen", (0, 1, 2, 3)), ("all", (0, 1, 2, 3, 4, 5))])
def test_label_space_of_the_second_stage(build: Any, stream: Any, space: str, expected: tuple[int, ...]) -> None:
    strategy = build(6, train_label_space=space)
    strategy.train(stream().train_stream)
    assert strategy.columns == expected


def test_label_space_changes_what_is_learned(build: Any, stream: Any) -> None:
    contexts = []
    for space in ("own", "seen", "all"):
        strategy = build(6, train_label_space=space)
        strategy.train(stream().train_stream)
        contexts.append(strategy.model.context.detach().clone())
    assert not torch.equal(contexts[0], contexts[1])
    assert not torch.equal(contexts[1], contexts[2])


def test_context_freezes_after_the_named_stage(build: Any, stream: Any) -> None:
    strategy, benchmark = build(freeze_context_after=1), stream()
    strategy.train(benchmark.train_stream[0])
    context = strategy.model.context.detach().clone()
    assert context.abs().sum() > 0
    strategy.train(benchmark.train_stream[1])
    assert torch.equal(strategy.model.context, context)
    assert strategy.model.labels["2"].abs().sum() > 0


def test_a_method_without_parameters_passes_through_the_stages(build: Any, toy: Any, stream: Any) -> None:
    strategy, benchmark = build(model=toy(4, context=False, labels=False)), stream()
    for experience in benchmark.train_stream:
        strategy.train(experience)
        assert len(strategy.eval(benchmark.test_stream)) == 3
    assert strategy.stage == strategy.clock.train_exp_counter == 2
    assert strategy.clock.train_iterations == 0


def test_evaluating_unseen_classes_grows_nothing(build: Any, stream: Any) -> None:
    strategy, benchmark = build(eval_every=1), stream()
    strategy.eval(benchmark.test_stream)
    assert not strategy.model.labels
    strategy.train(benchmark.train_stream[0], eval_streams=[benchmark.test_stream])
    assert sorted(strategy.model.labels) == ["0", "1"]


def test_a_class_without_a_name_is_refused(build: Any, stream: Any) -> None:
    with pytest.raises(UsageError, match=r"class 5, but the model was built with 4 class names"):
        build().train(stream(((4, 5),)).train_stream)


def test_two_element_batches_train_too(build: Any, stream: Any) -> None:
    strategy, benchmark = build(), stream(tasks=False)
    strategy.train(benchmark.train_stream)
    assert strategy.trained == [(0, 1), (2, 3)]


def test_cumulative_training_relearns_what_it_saw(build: Any, stream: Any) -> None:
    strategy = build(regime="cumulative")
    strategy.train(stream().train_stream)
    assert strategy.trained == [(0, 1), (0, 1, 2, 3)]
    assert strategy.columns == (0, 1, 2, 3)
    assert all(label.requires_grad for label in strategy.model.labels.values())
    assert strategy.clock.train_iterations == 3 * 3 + 3 * 6


def test_joint_training_trains_everything_once(build: Any, stream: Any) -> None:
    strategy, benchmark = build(regime="joint"), stream()
    strategy.train(benchmark.train_stream)
    assert strategy.trained == [(0, 1, 2, 3)]
    assert strategy.clock.train_exp_counter == 1
    with pytest.raises(UsageError, match="once"):
        strategy.train(benchmark.train_stream)


def test_a_real_tensor_device_is_checked(build: Any) -> None:
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        build(device="gpu")
    with pytest.raises(UsageError, match="not supported"):
        build(device="meta")


def test_terms_of_the_loss_are_logged(build: Any, stream: Any, silent: Any) -> None:
    from lamm_cl.strategies.loss import LossTerms

    strategy = build(evaluator=silent(LossTerms()))
    results = strategy.train(stream().train_stream[0])
    terms = {name: value for name, value in results.items() if name.startswith("Loss_")}
    assert {name.split("/")[0] for name in terms} == {"Loss_ce_Epoch", "Loss_wc_Epoch", "Loss_total_Epoch"}
    assert all(name.endswith("train_phase/train_stream") for name in terms)
    assert set(strategy.loss_terms) == {"ce", "wc", "total"}


def test_a_bad_loss_stops_the_run(build: Any, toy: Any, stream: Any) -> None:
    from lamm_cl.strategies.loss import NonFiniteLossError

    class Broken(toy):  # type: ignore[misc,valid-type]
        def objective(self, output: Any, labels: Any, classes: Any = None) -> Any:
            terms = super().objective(output, labels, classes)
            steps.append(1)
            bad = terms["wc"] * (float("nan") if len(steps) == 5 else 1.0)
            return {**terms, "wc": bad, "total": terms["ce"] + bad}

    steps: list[int] = []
    strategy = build(model=Broken(4))
    with pytest.raises(NonFiniteLossError, match="'wc' became nan at training step 5 "):
        strategy.train(stream().train_stream)
    assert all(torch.isfinite(p).all() for p in strategy.model.parameters())
