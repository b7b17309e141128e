"""The accuracy matrix plugin against accuracies computed by hand from the same models."""

import copy
import json

import numpy as np
import pytest
import torch
from avalanche.benchmarks import class_incremental_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.logging import CSVLogger, InteractiveLogger, TensorboardLogger, TextLogger
from avalanche.training import Cumulative, JointTraining, Naive
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lamm_cl
from lamm_cl.errors import UsageError
from lamm_cl.evaluation import metrics
from lamm_cl.evaluation.accuracy_matrix import LOGGABLE
from lamm_cl.evaluation.plugins import AccuracyMatrix, StageCost, evaluator

SPACES = ("own", "seen", "all")


@pytest.fixture(scope="module")
def digits():
    return lamm_cl.base_to_novel("digits", shots=8, seed=1, steps=3)


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))


def strategy_of(kind, plugin, epochs=1, **more):
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002)
    return kind(
        model=model,
        optimizer=optimizer,
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=8,
        train_epochs=epochs,
        eval_mb_size=64,
        evaluator=plugin,
        **more,
    )


def pictures_of(experience):
    x, y = next(iter(DataLoader(experience.dataset, batch_size=10_000)))[:2]
    return x, y


def by_hand(model, sets, seen):
    """Accuracies (space, set), straight from the definition."""
    model.eval()
    found = np.full((3, len(sets)), np.nan)
    for j, (x, y, own) in enumerate(sets):
        logits = model(x).detach().numpy()
        for k, columns in enumerate((sorted(own), sorted(seen), range(10))):
            if columns:
                chosen = np.array(list(columns))[logits[:, list(columns)].argmax(axis=1)]
                found[k, j] = (chosen == y.numpy()).mean()
    return found


@pytest.fixture(scope="module")
def run(digits):
    """A strategy trained over the stream, its plugin, and the matrices computed by hand."""
    plugin, cost = AccuracyMatrix(), StageCost()
    strategy = strategy_of(Naive, evaluator(plugin, cost))
    sets = [(*pictures_of(exp), exp.classes_in_this_experience) for exp in digits.test_stream]
    seen, hand = set(), [by_hand(strategy.model, sets, ())]
    strategy.eval(digits.test_stream)
    for exp in digits.train_stream:
        strategy.train(exp, eval_streams=[])
        seen |= exp.classes_in_this_experience
        hand.append(by_hand(strategy.model, sets, seen))
        strategy.eval(digits.test_stream)
    return plugin, cost, np.array(hand), strategy


def test_matrices_equal_those_computed_by_hand(run):
    plugin, _, hand, _ = run
    whole, without = plugin.matrices(before=True), plugin.matrices()
    for k, space in enumerate(SPACES):
        np.testing.assert_array_equal(whole[space], hand[:, k])
        np.testing.assert_array_equal(without[space], hand[1:, k])
        assert without[space].shape == (3, 3)
    assert np.isnan(whole["seen"][0]).all()
    assert not np.isnan(without["seen"]).any()


def test_spaces_are_nested(run):
    matrices = run[0].matrices()
    for i in range(3):
        for j in range(i + 1):
            assert matrices["own"][i, j] >= matrices["seen"][i, j] >= matrices["all"][i, j]
    np.testing.assert_array_equal(matrices["seen"][2], matrices["all"][2])
    assert (matrices["seen"][np.triu_indices(3, 1)] == 0).all()


def test_rows_hold_the_matrix_totals_and_metrics(run, digits):
    plugin, _, hand, _ = run
    rows = {row[:4]: row for row in plugin.rows(calibration=True, per_class=True)}
    assert len(rows) == len(plugin.rows(calibration=True, per_class=True))
    counts = [one.n for one in digits.plan.sets]
    for stage in range(4):
        for k, space in enumerate(SPACES):
            for j in range(3):
                row = rows[stage, f"set{j + 1}", space, "accuracy"]
                assert row.n == counts[j]
                missing = np.isnan(hand[stage, k, j])
                assert row.value is None if missing else row.value == hand[stage, k, j]
            total = rows[stage, "total", space, "accuracy"]
            expected = (hand[stage, k] * counts).sum() / sum(counts)
            assert total.value is None if stage == 0 and space == "seen" else total.value == pytest.approx(expected)
    own = hand[1:, 0]
    assert rows[3, "total", "own", "forgetting"].value == pytest.approx(metrics.forgetting(own))
    assert rows[2, "total", "own", "forgetting"].value == pytest.approx(metrics.forgetting(own[:2, :2]))
    assert rows[3, "total", "own", "backward_transfer"].value == pytest.approx(metrics.backward_transfer(own))
    assert rows[3, "total", "own", "forward_transfer"].value == pytest.approx(metrics.forward_transfer(own, hand[0, 0]))
    assert rows[3, "total", "own", "transfer"].value == pytest.approx(metrics.transfer(own))
    assert rows[3, "total", "all", "last"].value == pytest.approx(metrics.last(hand[1:, 2]))
    assert rows[3, "total", "seen", "average_incremental_accuracy"].value == pytest.approx(
        metrics.average_incremental_accuracy(hand[1:, 1], counts)
    )
    assert rows[3, "total", "seen", "incremental_accuracy"].value == pytest.approx(
        metrics.last_incremental_accuracy(hand[1:, 1], counts)
    )
    assert rows[1, "total", "own", "zero_shot_retention"].value == pytest.approx(
        metrics.zero_shot_retention(own[:1], hand[0, 0])
    )
    assert rows[3, "set1", "own", "degradation"].value == pytest.approx(metrics.degradation(own))
    assert rows[3, "set2", "all", "degradation"].value == pytest.approx(metrics.degradation(hand[1:, 2], 1))
    assert (3, "set3", "own", "degradation") not in rows
    assert (3, "total", "seen", "transfer") not in rows
    assert (1, "total", "own", "forgetting") not in rows


def test_confusion_calibration_and_classes_agree_with_the_pure_functions(run, digits):
    plugin, _, _, strategy = run
    x, y = pictures_of(digits.test_stream[1])
    probabilities = strategy.model(x).softmax(dim=1).detach().numpy()
    predicted = probabilities.argmax(axis=1)
    score = plugin.score(3, "set2", "all")
    confusion = metrics.confusion_matrix(y.numpy(), predicted, 10)
    ours = np.zeros((10, 10), dtype=int)
    for true, chosen, count in score.confusion:
        ours[true, chosen] = count
    np.testing.assert_array_equal(ours, confusion)
    ece = metrics.expected_calibration_error(probabilities.max(axis=1), predicted == y.numpy())
    assert score.calibration == pytest.approx(ece, abs=1e-6)
    rows = {row[:4]: row for row in plugin.rows(per_class=True, calibration=True)}
    assert rows[3, "set2", "all", "ece"].value == score.calibration
    for column in digits.plan.sets[1].own:
        row = rows[3, "set2", "all", f"class_accuracy/{column}"]
        assert row.value == pytest.approx(metrics.per_class_accuracy(confusion)[column])
        assert row.n == confusion[column].sum()
    assert plugin.score(0, "set1", "seen") is None
    assert plugin.score(9, "set1", "own") is None
    assert plugin.score(1, "nowhere", "own") is None


def test_state_survives_json(run):
    plugin = run[0]
    state = json.loads(json.dumps(plugin.state()))
    again = AccuracyMatrix(plugin._plan)
    again.load_state(state)
    assert again.rows(per_class=True, calibration=True) == plugin.rows(per_class=True, calibration=True)
    assert again.state() == plugin.state()
    for space in SPACES:
        np.testing.assert_array_equal(again.matrices(True)[space], plugin.matrices(True)[space])
    again.reset()
    assert again.stage == 0
    assert again.matrices()["own"].shape == (0, 3)


def test_a_state_does_not_change_with_what_gave_or_took_it(run):
    for plugin, other in ((run[0], AccuracyMatrix(run[0]._plan)), (run[1], StageCost())):
        state, before = plugin.state(), json.dumps(plugin.state())
        other.load_state(state)
        other.reset()
        assert json.dumps(state) == before
        other.load_state(plugin.state())
        kept = other.state()
        other.reset()
        assert json.dumps(kept) == json.dumps(plugin.state()) == before


def test_cost_of_each_stage(run, digits):
    cost = run[1]
    rows = {row[:4]: row.value for row in cost.rows()}
    for stage in (1, 2, 3):
        assert rows[stage, "", "", "trained_parameters"] == 3 * 32 * 32 * 10 + 10
        assert rows[stage, "", "", "seconds"] > 0
        assert rows[stage, "", "", "peak_memory_mb"] > 50
        assert rows[stage, "", "", "kept_parameters"] == 3 * 32 * 32 * 10 + 10
        assert rows[stage, "", "", "state_mb"] == pytest.approx(4 * (3 * 32 * 32 * 10 + 10) / 2**20)
        images = rows[stage, "", "", "train_images_per_second"] * rows[stage, "", "", "seconds"]
        assert images == pytest.approx(len(digits.train_stream[stage - 1].dataset))
        assert rows[stage, "", "", "test_images_per_second"] > 0
    again = StageCost()
    again.load_state(json.loads(json.dumps(cost.state())))
    assert again.rows() == cost.rows()
    again.reset()
    assert again.rows() == again.result() == []


def test_only_parameters_that_train_are_counted():
    from lamm_cl.evaluation.plugins import trained_parameters

    class Holder:
        model = nn.Linear(2, 3)
        optimizer = None

    Holder.model.bias.requires_grad_(False)
    assert trained_parameters(Holder) == 6
    Holder.optimizer = torch.optim.SGD(Holder.model.parameters(), lr=1.0)
    assert trained_parameters(Holder) == 6


def test_each_image_is_encoded_once_for_all_spaces(digits):
    strategy = strategy_of(Naive, evaluator(AccuracyMatrix()))
    calls = []
    strategy.model.register_forward_hook(lambda module, args, out: calls.append(len(args[0])))
    strategy.eval(digits.test_stream)
    assert sum(calls) == sum(one.n for one in digits.plan.sets)


def test_evaluations_inside_a_stage_do_not_fill_its_row(digits):
    plugin = AccuracyMatrix()
    strategy = strategy_of(Naive, evaluator(plugin), epochs=2, eval_every=1)
    strategy.train(digits.train_stream[0], eval_streams=[digits.test_stream])
    inside = copy.deepcopy(plugin.matrices())
    assert np.isnan(inside["own"]).all()  # evaluated after each epoch, before the stage was over
    strategy.eval(digits.test_stream)
    assert not np.isnan(plugin.matrices()["own"]).any()


def test_evaluation_at_the_end_of_a_stage_fills_its_row(digits):
    plugin = AccuracyMatrix()
    strategy = strategy_of(Naive, evaluator(plugin), eval_every=0)
    strategy.train(digits.train_stream[:2], eval_streams=[digits.test_stream])
    assert not np.isnan(plugin.matrices()["own"]).any()


def test_other_streams_and_parts_of_a_stream(digits):
    plugin = AccuracyMatrix()
    strategy = strategy_of(Naive, evaluator(plugin))
    strategy.train(digits.train_stream[0], eval_streams=[])
    strategy.eval(digits.train_stream)
    assert np.isnan(plugin.matrices()["all"]).all()
    strategy.eval(digits.test_stream[1])
    assert np.isnan(plugin.matrices()["all"]).tolist() == [[True, False, True]]
    rows = {row[:4]: row.value for row in plugin.rows()}
    assert rows[1, "total", "all", "accuracy"] is None
    assert rows[1, "set1", "all", "accuracy"] is None


def test_joint_training_has_one_stage_that_sees_all(digits):
    plugin = AccuracyMatrix()
    strategy = strategy_of(JointTraining, evaluator(plugin))
    strategy.train(digits.train_stream, eval_streams=[])
    strategy.eval(digits.test_stream)
    matrices = plugin.matrices()
    assert matrices["own"].shape == (1, 3)
    np.testing.assert_array_equal(matrices["seen"], matrices["all"])
    rows = {row[:4]: row.value for row in plugin.rows()}
    assert rows[1, "total", "all", "incremental_accuracy"] == pytest.approx(rows[1, "total", "all", "accuracy"])
    assert (1, "total", "all", "forgetting") not in rows
    assert (1, "total", "all", "zero_shot_retention") not in rows


def test_cumulative_training_counts_each_stage(digits):
    plugin = AccuracyMatrix()
    strategy = strategy_of(Cumulative, evaluator(plugin))
    strategy.train(digits.train_stream[:2], eval_streams=[])
    strategy.eval(digits.test_stream)
    assert plugin.sets.trained == (1, 2, None)


def test_any_avalanche_benchmark_will_do():
    rng = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(60, 3072, generator=rng), torch.arange(60) % 6)
    data.targets = (torch.arange(60) % 6).tolist()
    both = {name: as_classification_dataset(data) for name in ("train", "test")}
    benchmark = class_incremental_benchmark(both, class_order=[5, 4, 3, 2, 1, 0], num_classes_per_exp=[2, 4])
    plugin = AccuracyMatrix()
    strategy = strategy_of(Naive, evaluator(plugin))
    for exp in benchmark.train_stream:
        strategy.train(exp, eval_streams=[])
        strategy.eval(benchmark.test_stream)
    assert plugin.matrices()["own"].shape == (2, 2)
    assert plugin.sets.names == ("set1", "set2")
    assert plugin.sets.counts == (20, 40)
    assert {row.metric for row in plugin.rows()} >= {"accuracy", "forgetting", "degradation"}
    again = AccuracyMatrix()
    again.load_state(json.loads(json.dumps(plugin.state())))
    assert again.rows() == plugin.rows()


def test_every_logger_gets_the_values(digits, tmp_path, capsys):
    text = (tmp_path / "log.txt").open("w")
    csv, board = CSVLogger(tmp_path / "csv"), TensorboardLogger(tmp_path / "board")
    loggers = [InteractiveLogger(), TextLogger(text), csv, board]
    plugin = evaluator(AccuracyMatrix(), StageCost(), accuracy_metrics(stream=True), loggers=loggers)
    strategy = strategy_of(Naive, plugin)
    for exp in digits.train_stream[:2]:
        strategy.train(exp, eval_streams=[])
        results = strategy.eval(digits.test_stream)
    for file in (text, csv.training_file, csv.eval_file):
        file.close()
    board.writer.close()
    where = "eval_phase/test_stream"
    for space in SPACES:
        assert 0 <= results[f"Top1_Acc_Exp_{space}/{where}/Exp000"] <= 1
        assert f"Forgetting_{space}/{where}" in results
    assert results[f"Top1_Acc_Stream_all/{where}"] == pytest.approx(results["Top1_Acc_Stream/eval_phase/test_stream"])
    assert f"Degradation_own/{where}/set1" in results
    for shown in (capsys.readouterr().out, (tmp_path / "log.txt").read_text()):
        assert "Top1_Acc_Exp_own" in shown
        assert "Stage_TrainedParameters" in shown
    logged = (tmp_path / "csv" / "eval_results.csv").read_text()
    assert f"{results[f'Top1_Acc_Exp_own/{where}/Exp002']:.4f}" in logged
    assert list((tmp_path / "board").rglob("events*"))


def test_everything_can_be_logged(digits):
    strategy = strategy_of(Naive, evaluator(AccuracyMatrix(log="all")))
    strategy.eval(digits.test_stream)
    for exp in digits.train_stream[:2]:
        strategy.train(exp, eval_streams=[])
        results = strategy.eval(digits.test_stream)
    names = {name.split("/")[0].removesuffix("_all") for name in results if name.split("/")[0].endswith("_all")}
    assert {metric.title().replace("_", "") for metric in LOGGABLE} - {"HarmonicMean"} <= names
    confusion = results["Confusion_all/eval_phase/test_stream/set2"]
    assert confusion.shape == (10, 10)
    assert int(confusion.sum()) == digits.plan.sets[1].n
    right = int(confusion.diagonal().sum()) / digits.plan.sets[1].n
    assert right == pytest.approx(results["Top1_Acc_Exp_all/eval_phase/test_stream/Exp001"])
    assert 0 <= results["ClassAccuracy_all/eval_phase/test_stream/set2/4"] <= 1
    with pytest.raises(UsageError, match="Did you mean 'forgetting'"):
        AccuracyMatrix(log=["forgeting"])


def test_double_precision_decides_near_ties():
    from lamm_cl.evaluation.scores import Tally

    logits = torch.tensor([[1.0, 1.0 + 1e-12]], dtype=torch.float64)
    tally = Tally({"all": (0, 1)})
    tally.add(logits, torch.tensor([1]))
    assert tally.scores()["all"].accuracy == 1


def test_an_interrupted_stage_keeps_its_seconds(digits):
    class Trained:
        device = torch.device("cpu")

    first, second = StageCost(), StageCost()
    first.before_training_exp(Trained)
    state = json.loads(json.dumps(first.state()))
    assert state["inside"] > 0
    second.load_state({**state, "inside": 1000.0})
    strategy = strategy_of(Naive, evaluator(second))
    strategy.train(digits.train_stream[:2], eval_streams=[])
    seconds = [row.value for row in second.rows() if row.metric == "seconds"]
    assert seconds[0] > 1000
    assert seconds[1] < 1000


def test_a_model_with_too_few_columns_is_refused(digits):
    strategy = strategy_of(Naive, evaluator(AccuracyMatrix()))
    strategy.model[1] = nn.Linear(3072, 4)
    strategy._criterion = lambda logits, y: logits.sum()
    with pytest.raises(UsageError, match="one column per class of the whole stream"):
        strategy.eval(digits.test_stream[2])
