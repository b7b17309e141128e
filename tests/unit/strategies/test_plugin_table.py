"""Every plugin of Avalanche works while labels grow, or is refused before training: the README's table is made here."""

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche.core import BasePlugin
from avalanche.training import plugins as avalanche
from avalanche.training.storage_policy import ClassBalancedBuffer
from torch import nn
from torch.optim.lr_scheduler import StepLR

from lamm_cl.errors import UsageError
from lamm_cl.strategies.plugins import REFUSED

pytestmark = [
    pytest.mark.filterwarnings("ignore:Call to deprecated function update:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Metric Top1_Acc_Stream used by the EarlyStopping:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*__array_wrap__ must accept context:DeprecationWarning"),
]
README = Path(__file__).parents[3] / "lamm_cl" / "strategies" / "README.md"
OURS = {"Clock", "EvaluationPlugin"}  # parts of every strategy
ADVICE = (
    "protects context, deep prompts and projections; frozen labels need no protection, so LAMM alone does not change"
)

# How each is made, and what the table says where it works.
PLUGINS: dict[str, tuple[Callable[[], Any], str]] = {
    "AGEMPlugin": (lambda: avalanche.AGEMPlugin(6, 4), ""),
    "EWCPlugin": (lambda: avalanche.EWCPlugin(1.0), f"separate and online; {ADVICE}"),
    "EarlyStoppingPlugin": (
        lambda: avalanche.EarlyStoppingPlugin(1, "test_stream"),
        "with `eval_every=1` and `eval_streams=[...]`; goes back to the best prompts",
    ),
    "FromScratchTrainingPlugin": (avalanche.FromScratchTrainingPlugin, "each stage starts from the first prompts"),
    "GDumbPlugin": (lambda: avalanche.GDumbPlugin(8), "trains a new model on its memory in every stage"),
    "GEMPlugin": (lambda: avalanche.GEMPlugin(4, 0.5), "with the package quadprog installed"),
    "LRSchedulerPlugin": (
        lambda: avalanche.LRSchedulerPlugin(StepLR(torch.optim.SGD([torch.zeros(1)], lr=0.1), 1)),
        "replaces the recipe's schedule; made for an optimizer over anything, or for `strategy.optimizer`",
    ),
    "LwFPlugin": (
        avalanche.LwFPlugin,
        "on data with and without task labels; its copy of the model shares the backbone",
    ),
    "MASPlugin": (avalanche.MASPlugin, ADVICE),
    "ReplayPlugin": (lambda: avalanche.ReplayPlugin(8), "trains in the label space of all classes seen"),
    "SynapticIntelligencePlugin": (lambda: avalanche.SynapticIntelligencePlugin(1.0), ADVICE),
    "BiCPlugin": (lambda: avalanche.BiCPlugin(mem_size=8), ""),
    "CWRStarPlugin": (lambda: avalanche.CWRStarPlugin(nn.Linear(8, 2), "0"), ""),
    "CoPEPlugin": (lambda: avalanche.CoPEPlugin(mem_size=8, n_classes=6, p_size=8), ""),
    "CurrentDataFeCAMUpdate": (avalanche.CurrentDataFeCAMUpdate, ""),
    "CurrentDataNCMUpdate": (avalanche.CurrentDataNCMUpdate, ""),
    "FeCAMOracle": (avalanche.FeCAMOracle, ""),
    "FeatureDistillationPlugin": (avalanche.FeatureDistillationPlugin, ""),
    "GSS_greedyPlugin": (lambda: avalanche.GSS_greedyPlugin(8, 2, [8]), ""),
    "GenerativeReplayPlugin": (avalanche.GenerativeReplayPlugin, ""),
    "LFLPlugin": (lambda: avalanche.LFLPlugin(0.1), ""),
    "MIRPlugin": (lambda: avalanche.MIRPlugin(batch_size_mem=4, mem_size=8, subsample=8), ""),
    "MemoryFeCAMUpdate": (lambda: avalanche.MemoryFeCAMUpdate(storage_policy=ClassBalancedBuffer(8)), ""),
    "MemoryNCMUpdate": (lambda: avalanche.MemoryNCMUpdate(storage_policy=ClassBalancedBuffer(8)), ""),
    "NCMOracle": (avalanche.NCMOracle, ""),
    "RARPlugin": (lambda: avalanche.RARPlugin(batch_size_mem=4, mem_size=8), ""),
    "RWalkPlugin": (avalanche.RWalkPlugin, ""),
    "TrainGeneratorAfterExpPlugin": (avalanche.TrainGeneratorAfterExpPlugin, ""),
}


def all_of_avalanche() -> set[str]:
    found = set()
    for module in pkgutil.walk_packages(avalanche.__path__, avalanche.__name__ + "."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if inspect.isclass(value) and issubclass(value, BasePlugin) and value.__module__ == module.name:
                found.add(name)
    return found


def test_no_plugin_is_forgotten() -> None:
    assert set(PLUGINS) == all_of_avalanche() - OURS - {"SupervisedPlugin"}
    assert set(REFUSED) < set(PLUGINS)


@pytest.fixture
def quadprog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where quadprog is missing, let GEM keep the gradient as it is: the rest of it is tested all the same."""
    if importlib.util.find_spec("quadprog") is None:
        real = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "quadprog" or real(name))
        monkeypatch.setattr(avalanche.GEMPlugin, "solve_quadprog", lambda self, gradient: gradient.clone())


@pytest.mark.usefixtures("quadprog")
@pytest.mark.parametrize("name", sorted(PLUGINS))
def test_each_works_or_is_refused_before_training(build: Any, stream: Any, name: str) -> None:
    make, _ = PLUGINS[name]
    if name in REFUSED:
        with pytest.raises(UsageError, match=f"{name} does not work with .*: "):
            build(6, plugins=[make()])
        return
    for tasks in (True, False):  # a sample is (x, y, index, task), or (x, y) as in Avalanche's plainest data
        benchmark = stream(((0, 1), (2,), (3, 4, 5)), tasks=tasks)
        strategy = build(6, plugins=[make()], eval_every=1 if name == "EarlyStoppingPlugin" else -1)
        for experience in benchmark.train_stream:
            strategy.train(experience, eval_streams=[benchmark.test_stream])
            strategy.eval(benchmark.test_stream)
        assert strategy.stage == 3
        assert all(bool(torch.isfinite(value).all()) for value in strategy.model.state_dict().values())


def test_gem_asks_for_its_solver_before_training(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "quadprog" else real(name))
    with pytest.raises(
        UsageError, match="GEMPlugin needs the package quadprog: pip install quadprog, or use AGEMPlugin"
    ):
        build(plugins=[avalanche.GEMPlugin(4, 0.5)])


def test_a_plugin_of_one_s_own_may_have_any_name(build: Any) -> None:
    kind = type("MIRPlugin", (avalanche.SupervisedPlugin,), {})
    assert build(plugins=[kind()]).plugins[0].__class__ is kind


def test_the_readme_has_the_table() -> None:
    rows = ["| plugin | while labels grow |", "| --- | --- |"]
    rows += [
        f"| {name} | works{': ' * bool(text)}{text} |" for name, (_, text) in PLUGINS.items() if name not in REFUSED
    ]
    rows += [f"| {name} | refused, does not work with {REFUSED[name]} |" for name in sorted(REFUSED)]
    made = "\n".join(rows)
    begin, end = "<!-- plugins: begin -->\n\n", "\n\n<!-- plugins: end -->"
    text = README.read_text(encoding="utf-8")
    assert text[text.index(begin) + len(begin) : text.index(end)] == made, f"put this into {README}:\n{made}"
