"""Every protocol runs end to end, and its matrices equal those computed by hand from the same models."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import lamm_cl
from lamm_cl.evaluation import metrics
from lamm_cl.evaluation.plugins import COSTS, AccuracyMatrix, StageCost, evaluator
from lamm_cl.streams.build import build_stream
from lamm_cl.streams.protocols import PROTOCOLS

SPACES = ("own", "seen", "all")
QUICK = {"epochs": 2, "warmup_epochs": 0, "batch_size": 8}


def few(dataset, per_class=6):
    """Keep a few test pictures of every class, so that the suite stays quick."""
    seen = {}
    kept = [
        item
        for item in dataset.test
        if seen.setdefault(item.label, []).append(item) or len(seen[item.label]) <= per_class
    ]
    return replace(dataset, test=tuple(kept))


@pytest.fixture(scope="module")
def digits():
    return few(lamm_cl.load_dataset("digits"))


@pytest.fixture(scope="module")
def glyphs():
    return few(lamm_cl.load_dataset("glyphs"), 1)


@pytest.fixture(scope="module")
def upper_digits(digits):
    """A variant: test pictures of four of the ten classes, in another order."""
    names = ("nine", "two", "seven", "zero")
    place = {name: label for label, name in enumerate(names)}
    test = tuple(item._replace(label=place[item.class_name]) for item in digits.test if item.class_name in place)
    return replace(digits, name="upper_digits", class_names=names, train=(), val=(), test=test)


CASES = {
    "few_shot": ("few_shot", ["digits"], {}),
    "base_to_new": ("base_to_new", ["digits"], {}),
    "set1-set2": ("class_incremental", ["digits"], {}),
    "three uneven steps, shuffled": ("class_incremental", ["digits"], {"steps": 3, "order": "shuffled"}),
    "B4 Inc4": ("class_incremental", ["digits"], {"base": 4, "increment": 4, "order": "alphabetical"}),
    "cross_dataset": ("cross_dataset", ["digits", "glyphs"], {}),
    "domain_generalization": ("domain_generalization", ["digits", "upper_digits"], {}),
    "multi_domain": ("multi_domain", ["digits", "glyphs"], {"order": ["glyphs", "digits"]}),
}


def test_every_protocol_is_tried():
    assert {protocol for protocol, _, _ in CASES.values()} == set(PROTOCOLS)


def by_hand(model, benchmark, stage):
    """Accuracies (space, set): pictures one by one from the source, logits from the model, argmax by numpy."""
    source, plan = benchmark.source, benchmark.plan
    source.use_features(None)
    found = np.full((3, len(plan.sets)), np.nan)
    for place, (one, experience) in enumerate(zip(plan.sets, benchmark.test_stream, strict=True)):
        index = list(experience.dataset.index)
        with torch.no_grad():
            logits = model(torch.stack([source.image(i, None) for i in index])).numpy()
        labels = np.array([source.targets[i] for i in index])
        seen = sorted({c for exp in list(benchmark.train_stream)[:stage] for c in exp.columns})
        for k, columns in enumerate((list(one.own), seen, list(range(len(benchmark.class_names))))):
            if columns:
                found[k, place] = (np.array(columns)[logits[:, columns].argmax(1)] == labels).mean()
    return found


def run(method, backbone, benchmark):
    plugin, cost = AccuracyMatrix(benchmark), StageCost()
    strategy = lamm_cl.build_strategy(method, backbone, benchmark, evaluator=evaluator(plugin, cost), **QUICK)
    strategy.eval(benchmark.test_stream)
    hand = [by_hand(strategy.model, benchmark, 0)]
    for stage, experience in enumerate(benchmark.train_stream, 1):
        strategy.train(experience, eval_streams=[])
        strategy.eval(benchmark.test_stream)
        hand.append(by_hand(strategy.model, benchmark, stage))
    return plugin, cost, np.array(hand)


@pytest.mark.parametrize(
    ("method", "case"), [*(("lamm", case) for case in CASES), ("coop", "base_to_new"), ("coop", "B4 Inc4")]
)
def test_protocol_runs_and_its_matrices_are_right(request, tiny, case, method):
    protocol, names, options = CASES[case]
    datasets = [request.getfixturevalue(name) for name in names]
    benchmark = build_stream(protocol, datasets, shots=2, seed=1, backbone=tiny, **options)
    plugin, cost, hand = run(method, tiny, benchmark)
    stages, sets = len(benchmark.train_stream), len(benchmark.test_stream)
    matrices = plugin.matrices(before=True)
    for k, space in enumerate(SPACES):
        assert matrices[space].shape == (stages + 1, sets)
        np.testing.assert_array_equal(matrices[space], hand[:, k], err_msg=space)
    rows = {row[:4]: row.value for row in plugin.rows()}
    assert len(rows) == len(plugin.rows())
    assert all(rows[stages, one.name, "own", "accuracy"] is not None for one in benchmark.plan.sets)
    assert len(cost.rows()) == len(COSTS) * stages
    if protocol == "class_incremental" and method == "lamm":
        own = plugin.matrices()["own"]
        assert metrics.degradation(own) == 0
        np.testing.assert_array_equal(np.diag(own), own[-1])  # in its own label space nothing is lost
        np.testing.assert_array_equal(own[0, 1:], matrices["own"][0, 1:])  # nor gained before it is trained


def test_base_to_new_reports_the_harmonic_mean(tiny, digits):
    benchmark = build_stream("base_to_new", digits, shots=2, seed=1, backbone=tiny)
    plugin, _, hand = run("lamm", tiny, benchmark)
    rows = {row[:4]: row.value for row in plugin.rows()}
    base, new = hand[1, 0]
    assert rows[1, "total", "own", "harmonic_mean"] == pytest.approx(2 * base * new / (base + new))
    # LAMM's other labels are those of the backbone, so what was never trained is all there.
    assert rows[1, "total", "own", "zero_shot_retention"] == pytest.approx(1)


def test_a_variant_is_scored_among_the_right_columns(tiny, digits, upper_digits):
    benchmark = build_stream("domain_generalization", [digits, upper_digits], shots=2, backbone=tiny)
    assert benchmark.plan.sets[1].own == (0, 2, 7, 9)
    assert benchmark.plan.sets[1].trained_in is None
    plugin, _, _ = run("lamm", tiny, benchmark)
    a = plugin.matrices()
    assert (a["own"] >= a["all"]).all()
    np.testing.assert_array_equal(a["seen"], a["all"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:tiny has not learned the words:UserWarning")
@pytest.mark.parametrize("protocol", ["base_to_new", "class_incremental"])
def test_real_photographs(shared, tiny, protocol):
    benchmark = build_stream(protocol, "caltech101", shots=1, seed=1, root=str(shared / "data" / "mini"), backbone=tiny)
    plugin, _, hand = run("lamm", tiny, benchmark)
    for k, space in enumerate(SPACES):
        np.testing.assert_array_equal(plugin.matrices(before=True)[space], hand[:, k])
