"""What every registered method must do, alone and with learned labels, on the embedded backbone."""

import copy
import pickle
from typing import Any

import pytest
import torch

import lamm_cl
from lamm_cl import build_model
from lamm_cl.errors import UsageError
from lamm_cl.methods.registry import METHODS, get_method, method_names, recipe_for
from lamm_cl.methods.storage import load_learner, save_learner

NAMES = ["zero", "one", "two", "three"]
OPTIONS: dict[str, dict[str, Any]] = {
    "coop": {"n_ctx": 4},
    "mg_clip": {"lora_alpha": 8},  # single precision must see the first steps of every matrix
    "ranpac": {"M": 32},
    "acil": {"buffer_size": 32},
    "rail": {"hidden": 32},
    "tip_adapter": {"augment_epoch": 2, "search_step": (4, 3)},
    "tip_adapter_f": {"augment_epoch": 2, "search_step": (4, 3)},
}
EVERY = method_names()
TRAINED = [method for method in EVERY if get_method(method).trains]


def make(method: str, tiny: Any, names: list[str] = NAMES, **options: Any) -> Any:
    few = OPTIONS.get(method.split("+")[0], {})
    return build_model(method, tiny, names, shots=4, **{**few, **options})


def picture(tiny: Any, seed: int = 0, batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, 3, *tiny.image_size, generator=torch.Generator().manual_seed(seed))


def teach(model: Any, tiny: Any, classes: list[int] | None = None, **recipe: Any) -> list[float]:
    """Let a learner learn a stage of two pictures a class; returns the loss of each step."""
    labels = torch.tensor(list(range(len(model.class_names))) if classes is None else classes).repeat(2)
    images = picture(tiny, batch=len(labels))
    chosen = {"epochs": 1, "batch_size": len(labels), "warmup_epochs": 0, "schedule": "constant", **recipe}
    pair = (images, labels)
    return [terms["total"] for terms in lamm_cl.fit_stage(model, images, labels, val=pair, test=pair, **chosen)]


def taught(method: str, tiny: Any, names: list[str] = NAMES, **options: Any) -> Any:
    model = make(method, tiny, names, **options)
    teach(model, tiny)
    return model


def trained(model: Any) -> list[torch.nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("method", EVERY)
def test_logits_have_a_column_a_class(method: str, tiny: Any) -> None:
    logits = taught(method, tiny)(picture(tiny))
    assert logits.shape == (4, len(NAMES))
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("method", EVERY)
def test_a_class_alone_scores_as_among_others(method: str, tiny: Any) -> None:
    model, images = taught(method, tiny), picture(tiny)
    alone = torch.cat([model.output(images, [c]).logits for c in range(len(NAMES))], 1)
    torch.testing.assert_close(alone, model(images), rtol=2e-4, atol=2e-4)
    if trained(model):
        model.losses(images, torch.full((4,), 2), classes=[2])["total"].backward()


@pytest.mark.parametrize("method", TRAINED)
def test_trains_and_improves(method: str, tiny: Any) -> None:
    model, start = make(method, tiny), make(method, tiny)
    losses = teach(model, tiny, epochs=8, optimizer="sgd", lr=0.002, momentum=0.0)
    teach(start, tiny, epochs=1, optimizer="sgd", lr=0.0)
    assert len(losses) == 8
    assert losses[-1] < losses[0]
    assert trained(model)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained(model))
    before = dict(start.named_parameters())
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters() if p.requires_grad)


@pytest.mark.parametrize("method", [m for m in EVERY if m not in TRAINED])
def test_takes_no_steps_where_nothing_trains(method: str, tiny: Any) -> None:
    model = make(method, tiny)
    assert teach(model, tiny, epochs=8) == []
    assert not trained(model)


@pytest.mark.parametrize("method", ["lamm", "zero_shot+lamm"])
def test_learned_labels_start_from_the_words(method: str, tiny: Any) -> None:
    images = picture(tiny)
    assert torch.allclose(make(method, tiny)(images), make("zero_shot", tiny)(images), atol=1e-4)


@pytest.mark.parametrize("method", EVERY)
def test_initialisation_depends_on_the_seed_alone(method: str, tiny: Any) -> None:
    torch.manual_seed(1)
    first = taught(method, tiny, seed=3).state_dict()
    torch.manual_seed(2)
    second = taught(method, tiny, seed=3).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", EVERY)
def test_backbone_is_never_copied_trained_or_saved(method: str, tiny: Any) -> None:
    model = taught(method, tiny)
    twin = copy.deepcopy(model)
    assert twin.backbone is model.backbone
    assert pickle.loads(pickle.dumps(model)).backbone.fingerprint == tiny.fingerprint
    own = sum(v.numel() for v in model.state_dict().values())
    assert model.state_dict().keys() >= dict(model.named_parameters()).keys()
    assert own < sum(p.numel() for p in tiny.model.parameters()) / 10
    assert not any(p.requires_grad for p in tiny.model.parameters())
    model.train()
    assert not tiny.model.training


@pytest.mark.parametrize("method", EVERY)
def test_grows_and_freezes(method: str, tiny: Any) -> None:
    model, images = make(method, tiny, NAMES[:2]), picture(tiny)
    teach(model, tiny)
    first = model(images)
    keeps, before = model.keeps_old_logits, {name: p.clone() for name, p in model.named_parameters()}
    model.add_classes(NAMES[2:])
    teach(model, tiny, [2, 3], lr=0.1)
    assert model(images).shape == (4, 4)
    assert torch.isfinite(model(images)).all()
    old = set(before) - {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters() if name in old)
    assert model.keeps_old_logits == keeps
    assert torch.allclose(model(images)[:, :2], first, atol=1e-4) or not keeps
    if "lamm" in method:
        assert model.labels.token_classes.trainable == {2, 3}
    model.freeze_classes()
    model.freeze_shared()
    assert not trained(model)


@pytest.mark.parametrize(
    ("method", "keeps"),
    [
        *((method, True) for method in ("lamm", "zero_shot", "simplecil")),
        *((method, False) for method in ("coop", "maple+lamm", "vpt+lamm", "clip_adapter")),
        *((method, False) for method in ("ranpac", "rail", "tip_adapter")),
    ],
)
def test_says_whether_it_keeps_old_logits(method: str, keeps: bool, tiny: Any) -> None:
    assert taught(method, tiny).keeps_old_logits == keeps


def test_keeps_old_logits_once_nothing_shared_trains(tiny: Any) -> None:
    for method in ("coop", "maple+lamm", "clip_adapter"):
        model = taught(method, tiny)
        model.freeze_shared()
        assert model.keeps_old_logits
    assert taught("tip_adapter", tiny, selection="none").keeps_old_logits


@pytest.mark.parametrize("method", EVERY)
def test_saves_and_loads_bitwise(method: str, tiny: Any, tmp_path: Any) -> None:
    model, images = make(method, tiny), picture(tiny)
    for classes in ([0, 1], [2, 3]):
        teach(model, tiny, classes)
    save_learner(model, tmp_path / "learned.safetensors")
    again = load_learner(make(method, tiny, seed=9), tmp_path / "learned.safetensors")
    with torch.no_grad():
        assert torch.equal(model(images), again(images))
    assert again.stages == model.stages
    assert [p.shape for p in trained(again)] == [p.shape for p in trained(model)]
    with pytest.raises(UsageError, match="class names"):
        load_learner(make(method, tiny, NAMES[:3]), tmp_path / "learned.safetensors")


@pytest.mark.parametrize("method", EVERY)
def test_features_replace_images_where_the_tower_is_frozen(method: str, tiny: Any) -> None:
    model, images = taught(method, tiny), picture(tiny)
    if model.needs_images:
        with pytest.raises(UsageError, match="give images"):
            model(tiny.encode_images(images))
    else:
        features = tiny.encode_images(images, model.takes)
        assert torch.equal(model(images), model(features))
        loss = model.losses(None, torch.tensor([0, 1, 2, 3]), image_features=features)
        assert torch.equal(loss["total"], model.losses(images, torch.tensor([0, 1, 2, 3]))["total"])


@pytest.mark.parametrize("method", EVERY)
def test_label_space_restricts_the_loss(method: str, tiny: Any) -> None:
    model, images, labels = taught(method, tiny), picture(tiny, batch=2), torch.tensor([2, 3])
    output = model.output(images)
    ce = model.objective(output, labels, [2, 3])["ce"]
    expected = torch.nn.functional.cross_entropy(output.logits[:, 2:], torch.tensor([0, 1]))
    if "CE" not in get_method(method).row["objective"].split(" + "):  # it compares something else than the scores
        assert torch.isfinite(ce)
    else:
        assert torch.allclose(ce, expected)


@pytest.mark.parametrize("method", EVERY)
def test_works_on_given_features_unless_it_acts_inside_a_tower(method: str, tiny: Any) -> None:
    row = get_method(method).row
    inside = {row[slot] for slot in ("context", "labels", "deep prompts", "delta")} - {"-", "fixed", "fixed template"}
    given = lamm_cl.FeatureBackbone(tiny.encode_text(NAMES), tiny.logit_scale, tiny.projection)
    if inside:
        with pytest.raises(
            UsageError, match=r"^a FeatureBackbone has no (text|image) tower, .* use lamm_cl.load_clip$"
        ):
            make(method, given)
        return
    model, images = make(method, given), picture(tiny, batch=8)
    x, labels = tiny.encode_images(images, model.takes), torch.arange(4).repeat(2)
    lamm_cl.fit_stage(model, x, labels, val=(x, labels), epochs=1)
    assert torch.isfinite(model(x)).all()


def test_what_looks_at_validation_images_says_so(tiny: Any) -> None:
    images, labels = picture(tiny), torch.arange(4)
    with pytest.raises(UsageError, match=r"looks at val images .* fit_stage\(..., val=\(x, labels\)\)"):
        lamm_cl.fit_stage(make("tip_adapter", tiny), images, labels)
    lamm_cl.fit_stage(make("tip_adapter", tiny, selection="none"), images, labels)


@pytest.mark.parametrize("method", [m for m in EVERY if "+" not in m])
def test_says_before_it_is_built_which_features_it_takes(method: str, tiny: Any) -> None:
    assert get_method(method).unprojected == (make(method, tiny).takes == "unprojected")


def test_no_text_no_learned_names() -> None:
    for method in ("simplecil", "ranpac", "acil"):
        with pytest.raises(UsageError, match="no text prompts"):
            get_method(f"{method}+lamm")


@pytest.mark.parametrize("method", [m for m in EVERY if "+" not in m])
def test_registered_with_what_tables_need(method: str) -> None:
    entry = get_method(method)
    assert entry.title
    assert entry.paper
    assert all(info.description for info in entry.options.model_fields.values())
    assert recipe_for(method, "ViT-B-16-quickgelu") == entry.recipe
    assert method in METHODS
