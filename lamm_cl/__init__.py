"""lamm_cl: what happens to CLIP when it learns some classes and later others.

Names are imported on first use, so that `import lamm_cl` and the command line start at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lamm_cl.avalanche_home import import_avalanche

__version__ = "0.1.0"

_HOME = {
    "ClipBackbone": "lamm_cl.clip.backbone",
    "load_clip": "lamm_cl.clip.load",
    "FeatureBackbone": "lamm_cl.clip.feature_backbone",
    "export_images": "lamm_cl.clip.backbone",
    "build_model": "lamm_cl.methods.build",
    "fit_stage": "lamm_cl.methods.fit",
    "Learner": "lamm_cl.methods.learner",
    "PromptedCLIP": "lamm_cl.methods.prompted_clip",
    "save_learner": "lamm_cl.methods.storage",
    "load_learner": "lamm_cl.methods.storage",
    "load_model": "lamm_cl.methods.storage",
    "predict": "lamm_cl.methods.learner",
    "load_dataset": "lamm_cl.data.load",
    "few_shot": "lamm_cl.data.few_shot",
    "base_to_novel": "lamm_cl.streams.build",
    "build_stream": "lamm_cl.streams.build",
    "Benchmark": "lamm_cl.streams.benchmark",
    "build_strategy": "lamm_cl.strategies.build",
    "LearnerStrategy": "lamm_cl.strategies.strategy",
    "AccuracyMatrix": "lamm_cl.evaluation.accuracy_matrix",
    "UsageError": "lamm_cl.errors",
    **dict.fromkeys(
        (
            *("ZeroShot", "CoOp", "CoCoOp", "LAMM", "VPT", "LanguagePrompting", "IVLP", "MaPLe", "ALIGN", "CLIPLoRA"),
            *("CLIPAdapter", "TipAdapter", "TipAdapterF", "SimpleCIL", "RanPAC", "ACIL", "RAIL"),
        ),
        "lamm_cl.strategies.named",
    ),
}
__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from lamm_cl.clip.backbone import ClipBackbone as ClipBackbone
    from lamm_cl.clip.backbone import export_images as export_images
    from lamm_cl.clip.feature_backbone import FeatureBackbone as FeatureBackbone
    from lamm_cl.clip.load import load_clip as load_clip
    from lamm_cl.data.few_shot import few_shot as few_shot
    from lamm_cl.data.load import load_dataset as load_dataset
    from lamm_cl.errors import UsageError as UsageError
    from lamm_cl.evaluation.accuracy_matrix import AccuracyMatrix as AccuracyMatrix
    from lamm_cl.methods.build import build_model as build_model
    from lamm_cl.methods.fit import fit_stage as fit_stage
    from lamm_cl.methods.learner import Learner as Learner
    from lamm_cl.methods.learner import predict as predict
    from lamm_cl.methods.prompted_clip import PromptedCLIP as PromptedCLIP
    from lamm_cl.methods.storage import load_learner as load_learner
    from lamm_cl.methods.storage import load_model as load_model
    from lamm_cl.methods.storage import save_learner as save_learner
    from lamm_cl.strategies.build import build_strategy as build_strategy
    from lamm_cl.strategies.named import ACIL as ACIL
    from lamm_cl.strategies.named import ALIGN as ALIGN
    from lamm_cl.strategies.named import IVLP as IVLP
    from lamm_cl.strategies.named import LAMM as LAMM
    from lamm_cl.strategies.named import RAIL as RAIL
    from lamm_cl.strategies.named import VPT as VPT
    from lamm_cl.strategies.named import CLIPAdapter as CLIPAdapter
    from lamm_cl.strategies.named import CLIPLoRA as CLIPLoRA
    from lamm_cl.strategies.named import CoCoOp as CoCoOp
    from lamm_cl.strategies.named import CoOp as CoOp
    from lamm_cl.strategies.named import LanguagePrompting as LanguagePrompting
    from lamm_cl.strategies.named import MaPLe as MaPLe
    from lamm_cl.strategies.named import RanPAC as RanPAC
    from lamm_cl.strategies.named import SimpleCIL as SimpleCIL
    from lamm_cl.strategies.named import TipAdapter as TipAdapter
    from lamm_cl.strategies.named import TipAdapterF as TipAdapterF
    from lamm_cl.strategies.named import ZeroShot as ZeroShot
    from lamm_cl.strategies.strategy import LearnerStrategy as LearnerStrategy
    from lamm_cl.streams.benchmark import Benchmark as Benchmark
    from lamm_cl.streams.build import base_to_novel as base_to_novel
    from lamm_cl.streams.build import build_stream as build_stream


def __getattr__(name: str) -> Any:
    if name in _HOME:
        if _HOME[name].startswith(("lamm_cl.strategies", "lamm_cl.streams")):
            import_avalanche()
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'lamm_cl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
