"""lamm_cl: what happens to CLIP when it learns some classes and later others.

Names are imported on first use, so that `import lamm_cl` and the command line start at once.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "ClipBackbone": "lamm_cl.clip.backbone",
    "load_clip": "lamm_cl.clip.load",
    "FeatureBackbone": "lamm_cl.clip.feature_backbone",
    "build_model": "lamm_cl.methods.build",
    "fit_stage": "lamm_cl.methods.fit",
    "Learner": "lamm_cl.methods.learner",
    "PromptedCLIP": "lamm_cl.methods.prompted_clip",
    "save_learner": "lamm_cl.methods.storage",
    "load_learner": "lamm_cl.methods.storage",
    "load_model": "lamm_cl.methods.storage",
    "predict": "lamm_cl.methods.predict",
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


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'lamm_cl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
