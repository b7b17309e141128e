"""Learning rates against those of the papers' trainer, epoch by epoch."""

import doctest
import json
import re
from pathlib import Path

import pytest
import torch

from lamm_cl.methods import recipe
from lamm_cl.methods.recipe import Recipe, lr_at
from lamm_cl.methods.registry import METHODS


def test_equals_the_papers_schedule(shared: Path) -> None:
    reference = json.loads((shared / "oracle" / "lr_schedule.json").read_text())
    defaults = reference["optimizer_defaults"]
    for name, schedule in reference["schedules"].items():
        found = re.fullmatch(r"epochs(\d+)_lr([\d.e-]+)", name)
        assert found, name
        settings = Recipe(lr=float(found[2]), epochs=int(found[1]), batch_size=32)
        rates = [lr_at(settings, epoch) for epoch in range(len(schedule["lrs"]))]
        assert rates == pytest.approx(schedule["lrs"], abs=1e-17)
        assert (settings.momentum, settings.weight_decay) == (defaults["momentum"], defaults["weight_decay"])


def test_constant_schedule_keeps_the_rate_after_the_warm_up() -> None:
    settings = Recipe(lr=0.1, epochs=4, batch_size=1, schedule="constant")
    assert [lr_at(settings, epoch) for epoch in range(3)] == [1e-5, 0.1, 0.1]


def test_documented_example() -> None:
    assert doctest.testmod(recipe).failed == 0


def test_rate_of_clip_lora_follows_torchs_cosine() -> None:
    settings, nothing = METHODS["clip_lora"].recipe, [torch.nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.AdamW(nothing, lr=settings.lr)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500, eta_min=settings.min_lr)
    for step in range(500):
        assert lr_at(settings, 0, step / 500) == pytest.approx(cosine.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        cosine.step()


@pytest.mark.parametrize(
    ("method", "lr", "epochs", "batch"),
    [
        ("coop", 0.002, 50, 32),
        ("lamm", 0.002, 50, 32),
        ("cocoop", 0.002, 10, 1),
        ("maple", 0.0035, 5, 4),
        ("vpt", 0.0025, 5, 4),
        ("language_prompting", 0.0025, 5, 4),
        ("ivlp", 0.0035, 5, 4),
        ("align", 0.0025, 20, 4),
        ("clip_lora", 2e-4, None, 32),
    ],
)
def test_recipes_are_the_papers(method: str, lr: float, epochs: int | None, batch: int) -> None:
    settings = METHODS[method].recipe
    assert (settings.lr, settings.epochs, settings.batch_size) == (lr, epochs, batch)
