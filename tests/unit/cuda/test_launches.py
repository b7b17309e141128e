"""Every learner trains and scores on a pretended GPU as on the processor; what it would launch there is known exactly.

The counts are in launches.csv beside this file. One that rises makes the step slower on every GPU; one that falls is
good news. Both want `LAMM_CL_COUNT_LAUNCHES=1 pytest tests/unit/cuda`, which writes the table anew.
"""

import csv
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.speed.launches import GPU, SMALL, Counted, course, launches, small_backbone
from benchmarks.speed.pretended_gpu import pretended_gpu
from lamm_cl import ClipBackbone, build_model
from lamm_cl.clip import blocks, text_tower
from lamm_cl.methods.optimizer import trainable
from lamm_cl.methods.registry import method_names

TABLE = Path(__file__).with_name("launches.csv")
COLUMNS = ("step", "step_waits", "step_copies", "evaluation", "evaluation_waits", "evaluation_copies")
NAMES = ["annual crop land", "forest", "river"]  # of two lengths at least
# Every method, and of the forms, which are made of the methods' parts and one more, one for each of these.
FORMS = ("coop+lamm", "maple+lamm", "coop+kg", "coop+prograd")
LEARNERS = [name for name in method_names() if "+" not in name or name in FORMS]
CASES = [*((name, "fp32") for name in LEARNERS), ("lamm", "fp16"), ("maple", "fp16")]
# These look at their values in a step or an evaluation batch: ALIGN whether its transport has stopped.
LOOK = ("align", "bofa", "engine", "mg_clip", "proof", "tip_adapter_f")
TARGETS = {("lamm", 10): 400, ("lamm", 47): 400, ("lamm", 102): 400, ("lamm", 1000): 1000, ("coop", 10): 430}
TARGETS |= {("coop", 47): 430, ("coop", 102): 430, ("coop", 1000): 430, ("align", 47): 2500}
TARGETS |= {("maple", 10): 850, ("maple", 47): 850, ("maple", 102): 850, ("maple", 1000): 850}
MEASURED = Path(__file__).parents[3] / "results" / "speed" / "launches.csv"
UPDATE = bool(os.environ.get("LAMM_CL_COUNT_LAUNCHES"))


@pytest.fixture(scope="module")
def backbones() -> tuple[ClipBackbone, ClipBackbone]:
    with pretended_gpu():
        on_gpu = small_backbone(2).to(GPU)
    return small_backbone(2), on_gpu


@pytest.fixture(scope="module")
def known() -> Any:
    """Known counts by method and precision; counted anew where asked."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = {(row["method"], row["precision"]): row for row in csv.DictReader(file)}
    yield rows
    if UPDATE:
        with TABLE.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["method", "precision", *COLUMNS, "torch"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[case] for case in CASES if case in rows)


def run(method: str, precision: str, backbone: ClipBackbone, device: torch.device, seen: Any = None) -> Counted:
    options = SMALL.get(method.partition("+")[0], {})
    return course(build_model(method, backbone, NAMES, shots=4, **options), device, len(NAMES), precision, seen)


@pytest.mark.parametrize(("method", "precision"), CASES)
def test_step_and_evaluation(method: str, precision: str, backbones: Any, known: Any) -> None:
    with pretended_gpu() as seen:
        there = run(method, precision, backbones[1], GPU, seen)
    here = run(method, precision, backbones[0], torch.device("cpu"))
    assert there.loss == pytest.approx(here.loss, abs=1e-5 if precision == "fp32" else 1e-2)
    assert torch.allclose(there.logits, here.logits, atol=1e-3 if precision == "fp32" else 2e-2)
    step, evaluation = there.step, there.evaluation
    found = (
        *(step.launches, step.waits.total(), step.copies.total()),
        *(evaluation.launches, evaluation.waits.total(), evaluation.copies.total()),
    )
    if method.partition("+")[0] not in LOOK:
        assert not step.waits
        assert not step.copies
        assert evaluation.waits.total() <= 1
    row = {name: str(count) for name, count in zip(COLUMNS, found, strict=True)}
    if UPDATE:
        known[method, precision] = {"method": method, "precision": precision, **row, "torch": torch.__version__}
        return
    assert (method, precision) in known, f"{TABLE.name} has no row of {method}: see the top of this file"
    before = known[method, precision]
    if before["torch"] == torch.__version__:
        assert {name: before[name] for name in COLUMNS} == row


@pytest.mark.parametrize("many", [False, True], ids=["few classes", "many classes"])
@pytest.mark.parametrize("method", ["lamm", "coop", "maple", "align", "maple+lamm", "cocoop", "tcp", "vpt"])
def test_the_gpus_way_is_exact(method: str, many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if many:
        for module in (blocks, text_tower):
            monkeypatch.setattr(module, "FEW_ROWS", 0)

    def trained(place: torch.device) -> list[torch.Tensor]:
        backbone = small_backbone(3).to(place, torch.float64)
        model = build_model(method, backbone, NAMES, shots=4, **SMALL.get(method, {}))
        x = torch.randn(4, 3, *backbone.image_size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        given = x.to(place) if model.takes == "images" else backbone.encode_images(x.to(place))
        terms = model.losses(given, torch.tensor([0, 1, 2, 0]).to(place))
        terms["total"].backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for _, p in trainable(model) if p.grad is not None]
        return [one.detach().cpu() for one in (*terms.values(), *gradients)]

    here = trained(torch.device("cpu"))
    with pretended_gpu():
        there = trained(GPU)
    assert len(here) == len(there) > 1
    for one, other in zip(here, there, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.skipif(torch.cuda.is_available(), reason="counts on a pretended GPU; a real one is here")
def test_steps_launch_no_more_than_they_should() -> None:
    with MEASURED.open(encoding="utf-8", newline="") as file:
        rows = {(row["method"], int(row["classes"])): row for row in csv.DictReader(file)}
    for case, most in TARGETS.items():
        assert int(rows[case]["step"]) <= most, case
    for case, row in rows.items():
        if case[0] in ("lamm", "coop"):  # on cached features
            assert int(row["evaluation"]) <= 10
            assert int(row["waits"]) <= 1
    assert launches("lamm", 10).step == int(rows["lamm", 10]["step"])


def test_half_precision_rounds_no_frozen_matrix_in_a_step(backbones: Any) -> None:
    weights = backbones[0].model.named_parameters()  # of the shapes that nothing else has
    frozen = {
        tuple(weight.shape) for name, weight in weights if "in_proj_w" in name or (".c_" in name and weight.dim() > 1)
    }
    rounded: list[tuple[int, ...]] = []

    class Casts(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten._to_copy.default:
                rounded.append(tuple(args[0].shape))
            return func(*args, **(kwargs or {}))

    for method in ("lamm", "maple"):
        model = build_model(method, backbones[0], NAMES, shots=4)
        x = torch.randn(4, 3, *backbones[0].image_size)
        given = x if model.takes == "images" else backbones[0].encode_images(x)
        for step in range(2):
            rounded.clear()
            with Casts(), torch.autocast("cpu", torch.bfloat16):
                model.losses(given, torch.tensor([0, 1, 2, 0]))
            assert rounded
            assert (step == 0) == bool(frozen.intersection(rounded)), method


def test_the_table_holds_no_method_that_is_gone(known: Any) -> None:
    assert set(known) <= set(CASES)
