"""How a GPU multiplies, and whether it repeats its bits: torch's switches while a stage runs, and the record."""

import os
from typing import Any

import pytest
import torch

import lamm_cl
from benchmarks.speed.pretended_gpu import pretended_gpu
from lamm_cl.clip.feature_key import engine_of
from lamm_cl.clip.precision import arithmetic
from lamm_cl.experiments import environment
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import grid, settings
from lamm_cl.experiments.local import set_compute
from lamm_cl.experiments.plan import Request, make_plan
from lamm_cl.strategies.settings import WORKSPACE

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 4}


def switches() -> tuple[Any, ...]:
    """The precision of products, TF32 in convolutions, and three that say whether bits are repeated."""
    cudnn = torch.backends.cudnn
    exact = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, not cudnn.benchmark
    return torch.get_float32_matmul_precision(), cudnn.allow_tf32, exact


@pytest.fixture
def usual() -> Any:
    """Switches as torch has them, but for those of someone who wants speed."""
    before = switches()
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.benchmark = True
    yield switches()
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.benchmark = not before[2][2]


@pytest.fixture(scope="module")
def digits() -> Any:
    return lamm_cl.base_to_novel("digits", shots=2, seed=1)


@pytest.mark.parametrize(
    ("device", "tf32", "within"),
    [(GPU, False, ("highest", False)), (GPU, True, ("high", True)), (CPU, False, ("medium", True))],
)
def test_switches_are_set_and_come_back(device: torch.device, tf32: bool, within: tuple[Any, ...], usual: Any) -> None:
    assert usual[1]  # as torch has it: convolutions in TF32
    with arithmetic(device, tf32):
        assert switches() == (*within, usual[2])
        with pytest.raises(RuntimeError, match="bits"), arithmetic(device, deterministic=True):
            fail()
        assert switches() == (*within, usual[2])
    assert switches() == usual


def fail() -> None:
    assert switches()[2] == (True, True, True)
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    raise RuntimeError("an operation that cannot repeat its bits")


@pytest.mark.parametrize(("precision", "deterministic"), [("fp32", False), ("tf32", True)])
def test_a_stage_and_an_evaluation_run_in_them(
    precision: str, deterministic: bool, digits: Any, usual: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    if deterministic:
        monkeypatch.setenv(WORKSPACE, ":4096:8")
    with pretended_gpu():
        strategy = lamm_cl.build_strategy(
            "vpt",
            lamm_cl.load_clip("tiny", device="cuda"),
            digits,
            device="cuda",
            precision=precision,
            deterministic=deterministic,
            on_epoch_end=lambda _: seen.append(switches()),
            **QUICK,
        )
        strategy.train(digits.train_stream[0])
        monkeypatch.setattr(strategy, "criterion", lambda: (seen.append(switches()), torch.zeros((), device="cuda"))[1])
        strategy.eval(digits.test_stream[0])
    expected = ("high", True) if precision == "tf32" else ("highest", False)
    assert {one[:2] for one in seen} == {expected}
    assert {one[2] == (True, True, True) for one in seen} == {deterministic}
    assert switches() == usual


def test_one_stage_without_avalanche_runs_in_them(usual: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    with pretended_gpu():
        backbone = lamm_cl.load_clip("tiny", device="cuda")
        model = lamm_cl.build_model("lamm", backbone, ["one", "two"])
        monkeypatch.setattr(model, "begin_epoch", lambda *_: seen.append(switches()))
        x = torch.nn.functional.normalize(torch.ones(2, backbone.embed_dim, device="cuda"), dim=1)
        lamm_cl.fit_stage(model, x, torch.tensor([0, 1]).to("cuda"), epochs=1, batch_size=2)
    assert [one[:2] for one in seen] == [("highest", False)]
    assert switches() == usual


def test_features_of_other_switches_have_another_key(tiny: Any) -> None:
    def keys(device: torch.device) -> list[dict[str, Any]]:
        found = []
        for choice in ({}, {"tf32": True}, {"deterministic": True}):
            with arithmetic(device, **choice):
                found.append(engine_of(backbone, 8))
        return found

    with pretended_gpu():
        backbone = lamm_cl.load_clip("tiny", device="cuda")
        fp32, tf32, deterministic = keys(GPU)
    assert (fp32["convolutions"], tf32["convolutions"]) == ("fp32", "tf32")
    assert fp32 != tf32 != deterministic != fp32
    backbone = tiny
    one, *others = keys(CPU)
    # On the CPU a key is what it always was: files of earlier versions are found.
    assert list(one) == ["kernels", "torch", "device", "batch_size", "machine", "matmul", "attention"]
    assert all(other == one for other in others)


def test_what_cannot_be_is_refused_before_work(digits: Any, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(lamm_cl.UsageError, match=r"'tf32' is one of NVIDIA's GPUs, the device is cpu: use 'fp32'\.$"):
        lamm_cl.build_strategy("coop", tiny, digits, precision="tf32")
    lamm_cl.build_strategy("coop", tiny, digits, deterministic=True)
    monkeypatch.delenv(WORKSPACE, raising=False)
    with pretended_gpu():
        backbone = lamm_cl.load_clip("tiny", device="cuda")
        with pytest.raises(lamm_cl.UsageError, match="CUBLAS_WORKSPACE_CONFIG=:4096:8 python"):
            lamm_cl.build_strategy("coop", backbone, digits, device="cuda", deterministic=True)


def test_workers_tell_cublas(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv(WORKSPACE, "unset")
    set_compute(1, deterministic=False)
    assert os.environ[WORKSPACE] == "unset"
    set_compute(1, deterministic=True)
    assert os.environ[WORKSPACE] == ":4096:8"


def test_configs(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def written(text: str = "") -> Any:
        path = tmp_path / "try.yaml"
        path.write_text(f"protocol: few_shot\ndatasets: [digits]\nmethods: [coop]\nseeds: [1]\n{text}")
        return read_config(path)

    plain, exact = written(), written("deterministic: true")
    (before,), (after,) = grid(plain), grid(exact)
    assert "deterministic" not in before.determines()
    assert "deterministic" not in settings(plain, "cpu")["compute"]
    assert before.run_id == grid(written("deterministic: false"))[0].run_id != after.run_id
    assert after.determines()["deterministic"] is settings(exact, "cpu")["compute"]["deterministic"] is True
    rounded = written("backbone: {name: tiny, precision: tf32}")
    with pytest.raises(
        lamm_cl.UsageError, match=r"precision: tf32 is one of NVIDIA's GPUs, the device is cpu: use fp32"
    ):
        make_plan(rounded, Request(out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(environment, "count_gpus", lambda: 1)
    plan = make_plan(rounded, Request(out=tmp_path / "out", device="cuda"))
    assert plan.grid.specs[0].determines()["backbone"]["precision"] == "tf32"
