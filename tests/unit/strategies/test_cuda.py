"""The same on a GPU, where there is one."""

from typing import Any

import pytest
import torch

import lamm_cl

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(scope="module")
def digits() -> Any:
    return lamm_cl.base_to_novel("digits", shots=2, seed=1)


@pytest.fixture
def backbone() -> Any:
    return lamm_cl.load_clip("tiny", device="cuda")


def way(strategy: Any, digits: Any) -> torch.Tensor:
    """Return how far each parameter goes in the first stage: a few steps, of which none decides the next."""
    strategy.model.learn_classes(range(5))
    before = [parameter.detach().clone() for parameter in strategy.model.parameters()]
    strategy.train(digits.train_stream[0])
    after = list(strategy.model.parameters())
    assert all(p.device.type == strategy.device.type and p.dtype == torch.float32 for p in after)
    return torch.cat([(new - old).flatten().cpu() for new, old in zip(after, before, strict=True)])


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("method", ["lamm", "coop", "maple", "coop+prograd", "mg_clip"])
def test_trains_as_on_the_cpu(method: str, precision: str, backbone: Any, digits: Any, tiny: Any) -> None:
    options: dict[str, Any] = {"epochs": 1, "batch_size": 4, "warmup_epochs": 0, "lr": 1e-4}
    there = way(lamm_cl.build_strategy(method, backbone, digits, device="cuda", precision=precision, **options), digits)
    here = way(lamm_cl.build_strategy(method, tiny, digits, **options), digits)
    # MG-CLIP's Adam makes small gradients, which are rounded worst, as large as any.
    rounding = 0.3 if method == "mg_clip" else 0.05
    assert (there - here).norm() < (0.01 if precision == "fp32" else rounding) * here.norm()


@pytest.mark.parametrize(
    "method", ["simplecil", "ranpac", "rail", "clip_adapter", "tip_adapter_f", "tip_adapter_f+lamm", "proof"]
)
def test_heads_and_adapters_score_as_on_the_cpu(method: str, backbone: Any, digits: Any, tiny: Any) -> None:
    options: dict[str, Any] = {"epochs": 2, "batch_size": 4, "warmup_lr": 1e-3}
    options |= {"ranpac": {"M": 64, "ridge": 10.0}, "rail": {"hidden": 64}}.get(method, {})
    there = lamm_cl.build_strategy(method, backbone, digits, device="cuda", **options)
    here = lamm_cl.build_strategy(method, tiny, digits, **options)
    features = torch.randn(8, tiny.embed_dim)
    features = features if here.model.takes == "raw" else torch.nn.functional.normalize(features, dim=1)
    for strategy in (there, here):
        strategy.train(digits.train_stream)
    assert torch.allclose(there.model(features.cuda()).cpu(), here.model(features), atol=1e-2)


def test_a_bad_loss_is_found_at_the_end_of_the_epoch(backbone: Any, digits: Any) -> None:
    from lamm_cl.strategies.loss import NonFiniteLossError

    strategy = lamm_cl.build_strategy("lamm", backbone, digits, device="cuda", epochs=3, batch_size=4)
    with torch.no_grad():
        strategy.model.learn_classes(range(5))
        next(p for p in strategy.model.parameters() if p.requires_grad).fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"(nan|inf) at training step 1 "):
        strategy.train(digits.train_stream[0])


def test_resumes(backbone: Any, digits: Any) -> None:
    saved: list[Any] = []
    options: dict[str, Any] = {"epochs": 2, "batch_size": 4, "device": "cuda"}
    whole = lamm_cl.build_strategy(
        "coop", backbone, digits, on_epoch_end=lambda s: saved.append(s.checkpoint()), **options
    )
    whole.train(digits.train_stream[0])
    assert all(value.device.type == "cpu" for value in saved[0][0].values())
    resumed = lamm_cl.build_strategy("coop", backbone, digits, **options)
    resumed.restore(*saved[0])
    resumed.resume_training(digits.train_stream[0])
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
