"""The embedded CLIP: small, offline, repeatable, and good enough at handwriting that methods can be compared."""

import hashlib
import io
import json
import logging
import pickle
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits

from lamm_cl.clip.tiny import CONFIG_FILE, WEIGHTS_FILE, build_model, load_tiny, provenance, token_table, unknown_words

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
Loaded = tuple[Any, Any, Any]


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load_tiny()


@pytest.fixture(scope="module")
def handwriting(loaded: Loaded) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and labels of the half of the digits that may be used for choices."""
    model, _, preprocess = loaded
    data = load_digits()
    rows = np.random.default_rng(0).permutation(len(data.target))[:898]
    pixels = (data.images[rows] * 255 / 16).round().astype(np.uint8)
    images = torch.stack([preprocess(Image.fromarray(p).convert("RGB")) for p in pixels])
    return F.normalize(model.encode_image(images), dim=-1), torch.from_numpy(data.target[rows])


def text_features(loaded: Loaded, texts: list[str]) -> torch.Tensor:
    model, tokenizer, _ = loaded
    return F.normalize(model.encode_text(tokenizer(texts)), dim=-1)


def test_weights_are_small_and_say_how_they_were_made() -> None:
    assert WEIGHTS_FILE.stat().st_size <= 2_000_000
    assert {"version", "seed", "steps", "batch", "rate"} <= provenance().keys()


def test_weights_come_from_the_committed_recipe() -> None:
    pytest.importorskip("benchmarks.tiny_clip.pretrain", reason="the recipe is not part of an installed wheel")
    from dataclasses import asdict

    from benchmarks.tiny_clip.pretrain import Recipe

    assert asdict(Recipe()).items() <= provenance().items()


def test_model_is_an_open_clip_one_that_is_frozen(loaded: Loaded) -> None:
    import open_clip

    model, tokenizer, _ = loaded
    assert type(model) is open_clip.CLIP
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert open_clip.get_model_preprocess_cfg(model)["size"] == 32
    assert tokenizer(["zero"]).shape == (1, model.context_length)


def test_shipped_config_and_weights_work_through_open_clips_own_registry(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip

    registry = open_clip.factory
    for name in ("_MODEL_CONFIGS", "_MODEL_CONFIG_PATHS"):  # what is added goes again
        monkeypatch.setattr(registry, name, type(getattr(registry, name))(getattr(registry, name)))
    model, tokenizer, _ = loaded
    config = tmp_path / "lamm-cl-tiny-check.json"
    config.write_text(CONFIG_FILE.read_text())
    weights = tmp_path / "full.pt"
    torch.save(model.state_dict(), weights)
    open_clip.add_model_config(config)
    other = open_clip.create_model(config.stem, pretrained=str(weights)).eval()
    tokens = tokenizer(["a photo of a zero."])
    assert torch.equal(other.encode_text(tokens), model.encode_text(tokens))


def test_loading_leaves_random_states_and_logging_alone(capfd: pytest.CaptureFixture[str]) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    levels = logging.root.level, logging.root.disabled, logging.root.manager.disable, list(logging.root.handlers)
    load_tiny()
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    now = logging.root.level, logging.root.disabled, logging.root.manager.disable, list(logging.root.handlers)
    assert now == levels
    assert capfd.readouterr() == ("", "")


def test_loading_opens_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("tiny asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load_tiny()


def test_loading_twice_gives_the_same_weights_in_this_and_another_process(
    loaded: Loaded, python_elsewhere: Any
) -> None:
    def digest(model: Any) -> str:
        buffer = io.BytesIO()
        for name, value in sorted(model.state_dict().items()):
            buffer.write(name.encode() + value.numpy().tobytes())
        return hashlib.sha256(buffer.getvalue()).hexdigest()

    code = (
        "import hashlib, io, torch; torch.manual_seed(99)\n"
        "from lamm_cl.clip.tiny import load_tiny\n"
        "b = io.BytesIO()\n"
        "for n, v in sorted(load_tiny()[0].state_dict().items()): b.write(n.encode() + v.numpy().tobytes())\n"
        "print(hashlib.sha256(b.getvalue()).hexdigest())"
    )
    again = python_elsewhere(code)
    assert digest(loaded[0]) == digest(load_tiny()[0]) == again.stdout.strip()


def test_rows_of_untrained_tokens_never_change() -> None:
    table = token_table(1000, 8)
    assert hashlib.sha256(table.numpy().tobytes()).hexdigest()[:16] == "ab62817f488d02f6"
    assert torch.equal(token_table(2000, 8)[:1000], table)
    assert table.mean().abs() < 1e-3
    assert table.std().item() == pytest.approx(0.02, rel=0.02)


def test_untrained_model_shares_only_the_configuration(loaded: Loaded) -> None:
    assert build_model().state_dict().keys() == loaded[0].state_dict().keys()
    assert json.loads(CONFIG_FILE.read_text())["text_cfg"]["context_length"] == loaded[0].context_length


@pytest.mark.parametrize(
    ("prompt", "floor"),
    [
        ("a photo of a {}.", 0.80),
        ("{}", 0.75),
        ("a bad photo of the {}.", 0.75),
        ("itap of a {}.", 0.75),
        ("art of the {}.", 0.75),
        ("a photo of a {}, a type of pet.", 0.75),
        ("a centered satellite photo of {}.", 0.75),
        ("X X X X {}.", 0.75),
        (" ".join(["X"] * 16) + " {}.", 0.75),
    ],
)
def test_reads_real_handwriting_but_leaves_room(
    loaded: Loaded, handwriting: tuple[torch.Tensor, torch.Tensor], prompt: str, floor: float
) -> None:
    features, labels = handwriting
    scores = features @ text_features(loaded, [prompt.format(name) for name in DIGITS]).T
    accuracy = (scores.argmax(1) == labels).double().mean().item()
    assert floor < accuracy < 0.9


def test_unknown_words_are_named_and_still_work(loaded: Loaded) -> None:
    names = ["zero", "golden_retriever", "letter a", "X X X four.", "Boeing 737-800", "retriever, wet"]
    assert unknown_words(names) == ["golden", "retriever", "Boeing", "wet"]
    assert loaded[1].unknown_words(["zebra"]) == ["zebra"]
    features = text_features(loaded, ["a photo of a golden retriever.", "a photo of a zebra.", "a photo of a zero."])
    assert torch.isfinite(features).all()
    assert (features @ features.T).fill_diagonal_(0).max() < 0.999


@pytest.mark.parametrize(
    "text",
    [
        "a photo of a {}.",
        "a bad photo of the {}.",
        "a photo of a {}, a type of pet.",
        "a photo of a {}, a type of flower.",
        "a photo of {}, a type of food.",
        "a photo of a {}, a type of aircraft.",
        "a centered satellite photo of {}.",
        "a photo of a person doing {}.",
        "{} texture.",
        "itap of a {}.",
        "art of the {}.",
        "a origami {}.",
        "a photo of the large {}.",
        "a {} in a video game.",
        "a photo of the small {}.",
        "X X X X {}.",
        "red green blue yellow striped dotted checkered circle square star 0 1 2 3 4 5 6 7 8 9",
        "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    ],
)
def test_words_of_common_prompts_are_trained(text: str) -> None:
    assert unknown_words([text.format("seven")]) == []


def test_tokenizer_survives_pickling(loaded: Loaded) -> None:
    copy = pickle.loads(pickle.dumps(loaded[1]))
    assert torch.equal(copy(["a photo of a nine."]), loaded[1](["a photo of a nine."]))
    assert copy.unknown_words(["zebra"]) == ["zebra"]
