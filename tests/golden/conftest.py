"""Fixtures of the golden tests: what the official codes computed, and a backbone with the weights they used."""

import copy
import importlib.util
import json
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


@dataclass
class Oracle:
    """The reference values, and the functions of names that made weights, images and initial prompts.

    Attributes:
        folder: where the reference files are.
        index: `index.json`: architecture, check sums and the cases.
        detgen: the module whose `arr`, `raw`, `images` and `clip_state_dict` give arrays by name.
        backbones: those built in this process, by their architecture and type; families of cases share them.
    """

    folder: Path
    index: dict[str, Any]
    detgen: Any
    backbones: dict[tuple[str, torch.dtype], Any] = field(default_factory=dict)

    def values(self, case: str) -> Any:
        """Arrays of `<case>.npz`, keyed `f64/...` and `f32/...`."""
        return np.load(self.folder / f"{case}.npz")

    def case(self, name: str) -> dict[str, Any]:
        """Description of one case: class names, labels, initialisation."""
        found: dict[str, Any] = self.index["cases"][name]
        return found

    def images(self, tag: str, batch: int = 8, size: int = 64, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """Input images by name: (batch, 3, size, size)."""
        return torch.tensor(self.detgen.images(tag, batch, size)).to(dtype)

    def backbone(self, dtype: torch.dtype = torch.float64) -> Any:
        """The backbone of all cases, as a `ClipBackbone`; one a process and type."""
        arch = json.dumps(self.index["arch"], sort_keys=True)
        if (arch, dtype) not in self.backbones:
            self.backbones[arch, dtype] = self._build(dtype)
        return self.backbones[arch, dtype]

    def direction(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """The array that a tensor is projected on: the same for each optimizer, type and moment of a case."""
        return _direction(self.detgen, name, shape)

    def _build(self, dtype: torch.dtype) -> Any:
        import open_clip

        from lamm_cl import ClipBackbone

        arch = json.dumps(self.index["arch"], sort_keys=True)
        # The weights are drawn once, as 16-bit numbers, which every type holds exactly.
        built = next((backbone.model for (known, _), backbone in self.backbones.items() if known == arch), None)
        model = self._model() if built is None else copy.deepcopy(built)
        return computing_once(ClipBackbone(model.to(dtype), open_clip.get_tokenizer("ViT-B-16"), name="oracle"))

    def _model(self) -> Any:
        import open_clip

        arch = self.index["arch"]
        state = {k: torch.tensor(v) for k, v in self.detgen.clip_state_dict(**arch).items()}
        width, text_width = (state[k].shape[0] for k in ("visual.class_embedding", "ln_final.weight"))
        vision = {
            "layers": sum(k.endswith("in_proj_weight") and k.startswith("visual") for k in state),
            "width": width,
            "patch_size": state["visual.conv1.weight"].shape[-1],
            "image_size": arch.get("image", 64),
        }
        text = {
            "context_length": state["positional_embedding"].shape[0],
            "vocab_size": state["token_embedding.weight"].shape[0],
            "width": text_width,
            "heads": text_width // 64,
            "layers": sum(k.endswith("in_proj_weight") and k.startswith("transformer") for k in state),
        }
        model = open_clip.CLIP(state["text_projection"].shape[1], vision, text, quick_gelu=True)
        model.load_state_dict(state)
        return model


def computing_once(backbone: Any) -> Any:
    """Let the towers keep what they give where nothing learned acts on it: all cases have the same few images."""
    image, encode = backbone.image, backbone.text.encode
    known: dict[Any, torch.Tensor] = {}

    class Images:
        def __getattr__(self, name: str) -> Any:
            return getattr(image, name)

        def __call__(self, images: torch.Tensor, *learned: Any) -> Any:
            if learned:
                return image(images, *learned)
            key = images.numpy().tobytes()
            if key not in known:
                known[key] = image(images)
            return known[key]

    def texts(layout: Any, *learned: Any, **more: Any) -> Any:
        if learned or more:
            return encode(layout, *learned, **more)
        codes = [part.numpy().tobytes() for part in (layout.prefix, layout.suffix, layout.lengths)]
        key = (*codes, layout.ends is None, backbone.text.exact)
        if key not in known:
            known[key] = encode(layout)
        return known[key]

    backbone.image, backbone.text.encode = Images(), texts
    return backbone


@lru_cache(128)  # of one case: up to 3 MB each
def _direction(detgen: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    found: np.ndarray = detgen.raw(name, shape)
    return found


def reference_folder() -> Path:
    """Where the reference values are: `$LAMM_CL_ORACLE`, or beside the checkout."""
    shared = Path(os.environ.get("LAMM_CL_REFERENCE", Path(__file__).parents[3] / "shared"))
    return Path(os.environ.get("LAMM_CL_ORACLE", shared / "oracle"))


def recorded(folder: Path) -> dict[str, Any]:
    """What the index of a folder says of each of its cases; empty where there is none."""
    index = folder / "index.json"
    found: dict[str, Any] = json.loads(index.read_text()) if index.is_file() else {}
    return found.get("cases", found)  # type: ignore[no-any-return]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each recorded case: `case` by name, `replay` as (what the index says, arrays)."""
    for fixture, folder in (("case", reference_folder()), ("replay", reference_folder() / "replay")):
        if fixture in metafunc.fixturenames:
            absent = pytest.param("absent", marks=pytest.mark.skip(reason="reference data not present"))
            metafunc.parametrize(fixture, list(recorded(folder)) or [absent], indirect=fixture == "replay")


@pytest.fixture
def replay(request: pytest.FixtureRequest) -> tuple[dict[str, Any], Any]:
    """One run of a released trainer: what the index says of it, and its arrays."""
    folder = reference_folder() / "replay"
    return recorded(folder)[request.param], np.load(folder / f"{request.param}.npz")


@pytest.fixture(scope="session")
def detgen() -> Any:
    """The module that makes arrays by name: `arr`, `raw`, `images`, `clip_state_dict`."""
    code = reference_folder() / "detgen.py"
    if not code.is_file():
        pytest.skip("reference data not present")
    spec = importlib.util.spec_from_file_location("reference_detgen", code)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def oracle(detgen: Any) -> Oracle:
    """What the official codes computed on weights that are a function of their names."""
    folder = reference_folder()
    if not (folder / "index.json").is_file():
        pytest.skip("reference data not present")
    return Oracle(folder, json.loads((folder / "index.json").read_text()), detgen)
