"""Small random open_clip models of the same classes as the published ones, and no network."""

import open_clip
import pytest
import torch

from lamm_cl.clip.feature_cache import FeatureStore
from tests.unit.clip.weight_files import never

TEXT = {"width": 32, "heads": 2, "layers": 2, "context_length": 32}
VISION = {"layers": 3, "width": 48, "head_width": 16, "patch_size": 8, "image_size": 32}


def build(vision=(), text=(), custom=False, seed=0, **options):
    """A model with random weights; biases and norms are random too, so that a forgotten one shows."""
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        vision_cfg = dict(vision) if "timm_model_name" in dict(vision) else VISION | dict(vision)
        model = kind(24, vision_cfg, TEXT | dict(text), **options)
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and not name.startswith("logit"):
                parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture
def no_network(monkeypatch):
    """Any use of the network fails the test."""
    import urllib.request

    monkeypatch.setattr(urllib.request, "urlopen", never)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture(scope="session")
def tokenizer():
    return open_clip.SimpleTokenizer(context_length=32)


@pytest.fixture
def small():
    """The builder of small models."""
    return build


@pytest.fixture
def listed(monkeypatch):
    """Two small architectures among those that open_clip lists: `small-ViT` and `small-ViT-quickgelu`."""
    config = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small-ViT", config)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small-ViT-quickgelu", config | {"quick_gelu": True})
    gelu = {"hf_hub": "nobody/small/", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "interpolation": "bilinear"}
    quick = {"url": "https://weights.invalid/small-quick.pt", "hf_hub": "", "quick_gelu": True}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "small-ViT", {"mine": gelu, "quick": quick})
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "small-ViT-quickgelu", {"quick": quick})
    return "small-ViT"


@pytest.fixture
def store(tiny, tmp_path):
    """An empty store of the features of `tiny`."""
    return FeatureStore(tiny, tmp_path / "cache", batch_size=4)
