"""On a real GPU: learners compute what the processor computes, graphs what the operators do, and runs share a card."""

import json
import logging
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import lamm_cl
from benchmarks.speed.launches import SMALL, course
from lamm_cl import build_model
from lamm_cl.clip.precision import arithmetic
from lamm_cl.methods.registry import method_names
from lamm_cl.strategies import graph

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
    pytest.mark.filterwarnings("ignore:tiny has not learned:UserWarning"),
]
NAMES = ["annual crop land", "forest", "river"]
LEARNERS = [name for name in method_names() if "+" not in name or name in ("coop+lamm", "maple+lamm", "coop+prograd")]
RECORDED = ("lamm", "coop", "cocoop", "vpt", "maple", "promptsrc", "tcp", "kgcoop", "coop+prograd", "maple+lamm")
SAME = {"fp32": 1e-5, "tf32": 1e-2, "bf16": 1e-2, "fp16": 1e-2}


@pytest.fixture(scope="module")
def there() -> Any:
    return lamm_cl.load_clip("tiny", device="cuda")


@pytest.fixture(scope="module")
def digits() -> Any:
    return lamm_cl.base_to_novel("digits", shots=8, seed=1)


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many steps were replayed."""
    seen: Counter[str] = Counter()
    replay = graph._Graph.replay

    def counted(self: Any, *given: Any) -> Any:
        seen["steps"] += 1
        return replay(self, *given)

    monkeypatch.setattr(graph._Graph, "replay", counted)
    return seen


@pytest.mark.parametrize("method", LEARNERS)
def test_a_learner_computes_what_the_processor_computes(method: str, tiny: Any, there: Any) -> None:
    found = []
    with arithmetic(torch.device("cuda", 0)):
        for backbone, place in ((tiny, "cpu"), (there, "cuda")):
            model = build_model(method, backbone, NAMES, shots=4, **SMALL.get(method, {}))
            found.append(course(model, torch.device(place), len(NAMES)))
    here, gpu = found
    assert gpu.loss == pytest.approx(here.loss, rel=1e-3, abs=1e-3)
    finite = here.logits.isfinite()
    assert torch.equal(finite, gpu.logits.isfinite())
    assert torch.allclose(gpu.logits[finite], here.logits[finite], atol=2e-2, rtol=1e-3)


def trained(method: str, backbone: Any, digits: Any, **options: Any) -> dict[str, torch.Tensor]:
    strategy = lamm_cl.build_strategy(method, backbone, digits, device="cuda", epochs=6, batch_size=16, **options)
    for experience in digits.train_stream:
        strategy.train(experience)
    return {name: value.detach().clone() for name, value in strategy.model.named_parameters()}


@pytest.mark.parametrize(
    ("method", "precision"),
    [
        *((method, "fp32") for method in RECORDED),
        *((m, p) for m in ("lamm", "maple") for p in ("tf32", "bf16", "fp16")),
    ],
)
def test_recorded_steps_are_the_steps(
    method: str, precision: str, there: Any, digits: Any, replays: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    plain = trained(method, there, digits, precision=precision, graph="never")
    assert not replays
    recorded = trained(method, there, digits, precision=precision)
    assert replays["steps"] > 10
    assert not caplog.records
    assert list(plain) == list(recorded)
    for name, value in plain.items():
        assert torch.allclose(value, recorded[name], atol=SAME[precision], rtol=SAME[precision]), name


def test_every_method_that_may_be_recorded_is(there: Any, digits: Any, replays: Any) -> None:
    lacking = []
    for method in method_names(plus=False):
        model = build_model(method, there, NAMES, shots=4, **SMALL.get(method, {}))
        if not model.same_steps or method == "zero_shot":
            continue
        replays.clear()
        trained(method, there, digits, **SMALL.get(method, {}))
        lacking += [] if replays else [method]
    assert not lacking


CONFIG = (
    "protocol: class_incremental\nbackbone: tiny\ndatasets: [digits]\nmethods: {coop: {epochs: 2}, lamm: {epochs: 2}, "
    "maple: {epochs: 1}}\nshots: 2\nseeds: [1, 2]\ndevice: cuda\ncache: false\n"
)
PLUGIN = """
from pathlib import Path

import torch
from avalanche.core import SupervisedPlugin


class Break(SupervisedPlugin):
    def after_backward(self, strategy, **kwargs):
        met = Path(__file__).with_name("met")
        if not met.exists():
            met.touch()
            torch.zeros(3, device="cuda")[torch.tensor([7], device="cuda")]


class Fill(SupervisedPlugin):
    def after_backward(self, strategy, **kwargs):
        met = Path(__file__).with_name("met")
        if not met.exists():
            met.touch()
            torch.empty(2**50, dtype=torch.uint8, device="cuda")
"""


def lamm_cl_run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run `lamm-cl run c.yaml` as a user does: CUDA and forked processes do not go together."""
    command = [sys.executable, "-m", "lamm_cl", "run", "c.yaml", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def once(trouble: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a grid in which one step meets a trouble, to its end."""
    (folder / "c.yaml").write_text(CONFIG + f"import: [trouble.py]\nplugins: {{trouble.{trouble}: {{}}}}\n")
    (folder / "trouble.py").write_text(PLUGIN)
    done = lamm_cl_run(folder, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert (folder / "met").exists()
    return done


def test_a_worker_whose_gpu_failed_is_replaced(tmp_path: Path) -> None:
    done = once("Break", tmp_path)
    assert "a worker process is replaced after an error of its GPU" in done.stdout + done.stderr


def test_a_run_without_memory_is_tried_once_more(tmp_path: Path) -> None:
    once("Fill", tmp_path)
    notes = [note for record in tmp_path.rglob("record.json") for note in json.loads(record.read_text())["notes"]]
    assert notes == ["the GPU ran out of memory: it was tried once more with pieces of half the size"]


def test_a_run_repeats_its_bits_where_asked(tmp_path: Path) -> None:
    tables = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "c.yaml").write_text(CONFIG + "deterministic: true\n")
        done = lamm_cl_run(tmp_path / place, "--jobs", "2")  # both on one card
        assert done.returncode == 0, done.stderr
        tables.append(pd.read_csv(next((tmp_path / place).rglob("runs.csv"))))
    keys = ["method", "seed", "stage", "eval_set", "label_space", "metric"]
    one, two = (table[table["metric"] == "accuracy"].set_index(keys)["value"].sort_index() for table in tables)
    assert len(one) > 12
    assert one.equals(two)
