"""What Avalanche's plugins remember survives a checkpoint to the bit."""

import json
from typing import Any

import pytest
import torch

import lamm_cl
from lamm_cl.strategies.plugin_state import CannotSaveError
from lamm_cl.strategies.plugins import make_plugins

PLUGINS: dict[str, dict[str, Any]] = {
    "EWCPlugin": {"ewc_lambda": 1},
    "EWCPlugin online": {"ewc_lambda": 1, "mode": "online", "decay_factor": 0.5},
    "SynapticIntelligencePlugin": {"si_lambda": 0.1},
    "MASPlugin": {},
    "ReplayPlugin": {"mem_size": 6},
    "LwFPlugin": {"alpha": 1, "temperature": 2},
    "AGEMPlugin": {"patterns_per_experience": 4, "sample_size": 4},
    "GDumbPlugin": {"mem_size": 6},
}
INSIDE = [name for name in PLUGINS if name not in ("AGEMPlugin", "GDumbPlugin")]


@pytest.fixture(scope="module")
def digits() -> Any:
    return lamm_cl.base_to_novel("digits", shots=2, seed=1)


def build(tiny: Any, digits: Any, name: str, **options: Any) -> Any:
    plugins = make_plugins({name.partition(" ")[0]: PLUGINS[name]})
    options = {"epochs": 2, "batch_size": 4, "warmup_lr": 1e-3, "seed": 3, "n_ctx": 2, **options}
    return lamm_cl.build_strategy("coop", tiny, digits, plugins=plugins, **options)


def learned(strategy: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in strategy.model.state_dict().items()}


def same(one: Any, other: Any) -> bool:
    a, b = learned(one), learned(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.filterwarnings("ignore:Call to deprecated function")
@pytest.mark.parametrize("name", PLUGINS)
def test_goes_on_between_stages(name: str, tiny: Any, digits: Any) -> None:
    whole = build(tiny, digits, name)
    whole.train(digits.train_stream[0])
    tensors, state = whole.checkpoint()
    resumed = build(tiny, digits, name)
    resumed.restore(tensors, json.loads(json.dumps(state)))
    torch.rand(3)
    for strategy in (whole, resumed):
        strategy.train(digits.train_stream[1])
    assert same(whole, resumed)


@pytest.mark.filterwarnings("ignore:Call to deprecated function")
@pytest.mark.parametrize(("name", "place"), [*((name, (2, 1)) for name in INSIDE), ("ReplayPlugin", (1, 2))])
def test_goes_on_inside_a_stage(name: str, place: tuple[int, int], tiny: Any, digits: Any) -> None:
    def stop(strategy: Any) -> None:
        if (strategy.stage, strategy.clock.train_exp_epochs) == place:
            saved.append(strategy.checkpoint())

    saved: list[Any] = []
    whole = build(tiny, digits, name, on_epoch_end=stop)
    whole.train(digits.train_stream)
    resumed = build(tiny, digits, name)
    tensors, state = saved[0]
    resumed.restore(tensors, json.loads(json.dumps(state)))
    resumed.resume_training(digits.train_stream[place[0] - 1])
    resumed.train(digits.train_stream[place[0] :])
    assert same(whole, resumed)


@pytest.mark.parametrize("name", [name for name in PLUGINS if name not in INSIDE])
def test_says_where_it_cannot_be_interrupted(name: str, tiny: Any, digits: Any) -> None:
    def stop(strategy: Any) -> None:
        with pytest.raises(CannotSaveError, match=f"{name} remembers .* inside a stage"):
            strategy.checkpoint()

    build(tiny, digits, name, on_epoch_end=stop, epochs=1).train(digits.train_stream[0])
