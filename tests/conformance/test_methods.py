"""What every registered method must do, alone and with learned labels, on the embedded backbone."""

import copy
import pickle
from typing import Any

import pytest
import torch

from lamm_cl import build_model
from lamm_cl.errors import UsageError
from lamm_cl.methods.registry import METHODS, get_method, method_names, recipe_for
from lamm_cl.methods.storage import load_learner, save_learner

NAMES = ["zero", "one", "two", "three"]
OPTIONS: dict[str, dict[str, Any]] = {"coop": {"n_ctx": 4}, "coop+lamm": {"n_ctx": 4}}
EVERY = method_names()


def make(method: str, tiny: Any, names: list[str] = NAMES, **options: Any) -> Any:
    return build_model(method, tiny, names, shots=4, **{**OPTIONS.get(method, {}), **options})


def picture(tiny: Any, seed: int = 0, batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, 3, *tiny.image_size, generator=torch.Generator().manual_seed(seed))


def trained(model: Any) -> list[torch.nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def step(model: Any, images: torch.Tensor, labels: torch.Tensor, lr: float = 0.002, count: int = 1) -> list[float]:
    sgd = torch.optim.SGD(trained(model), lr=lr)
    losses = []
    for _ in range(count):
        loss = model.losses(images, labels)["total"]
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("method", EVERY)
def test_logits_have_a_column_a_class(method: str, tiny: Any) -> None:
    logits = make(method, tiny)(picture(tiny))
    assert logits.shape == (4, len(NAMES))
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("method", EVERY)
def test_a_class_alone_scores_as_among_others(method: str, tiny: Any) -> None:
    model, images = make(method, tiny), picture(tiny)
    alone = torch.cat([model.output(images, [c]).logits for c in range(len(NAMES))], 1)
    torch.testing.assert_close(alone, model(images), rtol=2e-4, atol=2e-4)
    if method != "zero_shot":
        model.losses(images, torch.full((4,), 2), classes=[2])["total"].backward()


@pytest.mark.parametrize("method", [m for m in EVERY if m != "zero_shot"])
def test_trains_and_improves(method: str, tiny: Any) -> None:
    model, images, labels = make(method, tiny), picture(tiny), torch.tensor([0, 1, 2, 3])
    before = [p.clone() for p in trained(model)]
    losses = step(model, images, labels, count=8)
    assert losses[-1] < losses[0]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained(model))
    assert all(not torch.equal(p, old) for p, old in zip(trained(model), before, strict=True))


@pytest.mark.parametrize("method", ["lamm", "zero_shot+lamm"])
def test_learned_labels_start_from_the_words(method: str, tiny: Any) -> None:
    images = picture(tiny)
    assert torch.allclose(make(method, tiny)(images), make("zero_shot", tiny)(images), atol=1e-4)


@pytest.mark.parametrize("method", EVERY)
def test_initialisation_depends_on_the_seed_alone(method: str, tiny: Any) -> None:
    torch.manual_seed(1)
    first = make(method, tiny, seed=3).state_dict()
    torch.manual_seed(2)
    second = make(method, tiny, seed=3).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", EVERY)
def test_backbone_is_never_copied_trained_or_saved(method: str, tiny: Any) -> None:
    model = make(method, tiny)
    twin = copy.deepcopy(model)
    assert twin.backbone is model.backbone
    assert pickle.loads(pickle.dumps(model)).backbone.fingerprint == tiny.fingerprint
    own = sum(p.numel() for p in model.parameters())
    assert own == sum(v.numel() for v in model.state_dict().values())
    assert own < sum(p.numel() for p in tiny.model.parameters()) / 10
    assert not any(p.requires_grad for p in tiny.model.parameters())
    model.train()
    assert not tiny.model.training


@pytest.mark.parametrize("method", EVERY)
def test_grows_and_freezes(method: str, tiny: Any) -> None:
    model, images = make(method, tiny, NAMES[:2]), picture(tiny)
    old = model.labels.learned
    model.add_classes(NAMES[2:])
    assert model(images).shape == (4, 4)
    if old:
        assert model.labels.trainable == {2, 3}
        frozen = [model.labels.rows([c])[0].clone() for c in old]
        step(model, images[:2], torch.tensor([2, 3]))
        assert all(torch.equal(a, b) for a, b in zip(frozen, model.labels.rows(old), strict=True))
    model.freeze_classes()
    model.freeze_shared()
    assert not trained(model)


@pytest.mark.parametrize("method", EVERY)
def test_saves_and_loads_bitwise(method: str, tiny: Any, tmp_path: Any) -> None:
    model, images = make(method, tiny), picture(tiny)
    if trained(model):
        step(model, images, torch.tensor([0, 1, 2, 3]))
    save_learner(model, tmp_path / "prompts.safetensors")
    again = load_learner(make(method, tiny, seed=9), tmp_path / "prompts.safetensors")
    with torch.no_grad():
        assert torch.equal(model(images), again(images))
    with pytest.raises(UsageError, match="class names"):
        load_learner(make(method, tiny, NAMES[:3]), tmp_path / "prompts.safetensors")


@pytest.mark.parametrize("method", EVERY)
def test_features_replace_images_where_the_tower_is_frozen(method: str, tiny: Any) -> None:
    model, images = make(method, tiny), picture(tiny)
    features = tiny.encode_images(images)
    if model.needs_images:
        with pytest.raises(UsageError, match="give images"):
            model(features)
    else:
        assert torch.equal(model(images), model(features))
        loss = model.losses(None, torch.tensor([0, 1, 2, 3]), image_features=features)
        assert torch.equal(loss["total"], model.losses(images, torch.tensor([0, 1, 2, 3]))["total"])


@pytest.mark.parametrize("method", EVERY)
def test_label_space_restricts_the_loss(method: str, tiny: Any) -> None:
    model, images, labels = make(method, tiny), picture(tiny, batch=2), torch.tensor([2, 3])
    output = model.output(images)
    ce = model.objective(output, labels, [2, 3])["ce"]
    expected = torch.nn.functional.cross_entropy(output.logits[:, 2:], torch.tensor([0, 1]))
    assert torch.allclose(ce, expected)


@pytest.mark.parametrize("method", [m for m in EVERY if "+" not in m])
def test_registered_with_what_tables_need(method: str) -> None:
    entry = get_method(method)
    assert entry.title
    assert entry.paper
    assert all(info.description for info in entry.options.model_fields.values())
    assert recipe_for(method, "ViT-B-16-quickgelu") == entry.recipe
    assert method in METHODS
