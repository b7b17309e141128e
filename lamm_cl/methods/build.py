"""From a method's name and options to a learner."""

from collections.abc import Sequence
from typing import Unpack

import torch

from lamm_cl.clip.backbone import ClipBackbone
from lamm_cl.clip.feature_backbone import Backbone, FeatureBackbone
from lamm_cl.errors import UsageError
from lamm_cl.methods.composed import FeatureLearner
from lamm_cl.methods.keywords import MethodOptions
from lamm_cl.methods.learner import Learner
from lamm_cl.methods.method import Setting
from lamm_cl.methods.prompted_clip import PromptedCLIP
from lamm_cl.methods.registry import get_method
from lamm_cl.prompts.vectors import Initial


def check_backbone(backbone: object, call: str) -> None:
    """Refuse what is no backbone, such as a model or the name of one.

    Raises:
        UsageError: names what it is, and the call.
    """
    if not isinstance(backbone, ClipBackbone | FeatureBackbone):
        hint = ": a model knows it as model.backbone" if isinstance(backbone, Learner) else ""
        hint = f": write lamm_cl.load_clip({backbone!r})" if isinstance(backbone, str) else hint
        raise UsageError(f"{call} takes a backbone, not {type(backbone).__name__}{hint}")


_SOURCE = ("name", "pretrained", "precision", "quick_gelu", "resize_mode")  # of a backbone: what gives it anywhere


def build_model(
    name: str,
    backbone: Backbone,
    class_names: Sequence[str],
    shots: int = 16,
    *,
    learn: bool = True,
    seed: int = 0,
    class_templates: Sequence[str] | None = None,
    repeated_names: bool = False,
    half: bool = False,
    **options: Unpack[MethodOptions],
) -> Learner:
    """Build a method on a backbone.

    Args:
        name: a method ("lamm") or a method with learned labels ("maple+lamm").
        backbone: the frozen CLIP; or a `FeatureBackbone`, for methods that take features and learn no prompts.
        class_names: the classes, one column of logits each.
        shots: training images a class; LAMM's weight of L_WC is 1 / shots.
        learn: whether the labels of all classes are learned from the start; otherwise none is, until
            `PromptedCLIP.learn_classes`.
        seed: of random initial values.
        class_templates: each class's own template (its data set's), for zero-shot CLIP.
        repeated_names: whether a name may stand for several classes (of several data sets).
        half: whether towers, prompts, features and logits are in float16, as in the released trainers (`PREC: fp16`).
            There, the deep prompts and the projections of MaPLe's and ALIGN's stay in float32 and are rounded where
            they enter a layer; so they do here. A backbone in another precision is copied.
        **options: the method's own options; `lamm-cl list methods` shows them.

    Raises:
        UsageError: unknown method or option, a wrong value, a backbone or class name that does not fit.
    """
    method = get_method(name)
    if isinstance(shots, bool) or not isinstance(shots, int) or shots < 0:
        raise UsageError(f"shots is a number of training images a class, not {shots!r}")
    check_backbone(backbone, "build_model(name, backbone, class_names)")
    if isinstance(class_names, str):
        raise UsageError(f"class_names is a list of names, not one name: write [{class_names!r}]")
    if len(class_names) == 0:
        raise UsageError("class_names is empty: give at least one class")
    if method.vision and isinstance(backbone, ClipBackbone) and not backbone.image.supports_prompts:
        raise UsageError(
            f"{name} puts prompts into the image tower, which the backbone {backbone.name} does not take: use one with "
            "open_clip's own VisionTransformer, or a text-side method such as coop or lamm"
        )
    chosen, source = method.options.read(name, options), getattr(backbone, "source", None)
    if half:
        if not isinstance(backbone, ClipBackbone) or not method.prompts_only:
            raise UsageError(
                f"{name} on {backbone!r} does not compute in half precision: only methods that have prompts and "
                "nothing else do, on a CLIP with its towers"
            )
        backbone = backbone.rounded(torch.float16)
    dtype = torch.float16 if half else torch.promote_types(backbone.dtype, torch.float32)
    initial = Initial(seed, backbone.device, dtype)
    setting = Setting(backbone, class_names, class_templates, shots, initial, repeated_names)
    made = method.compose(setting, chosen)
    learner: Learner
    if isinstance(made, Learner):
        learner = made
    elif made.context is None:
        learner = FeatureLearner(backbone, class_names, made, method=name, repeated_names=repeated_names)
    else:
        learner = PromptedCLIP(
            backbone, class_names, made, method=name, learn=learn, repeated_names=repeated_names, half=half
        )
    learner.method, learner.options = name, chosen.model_dump()
    learner.built = {
        "classes": len(class_names),
        "shots": shots,
        "seed": seed,
        "class_templates": None if class_templates is None else list(class_templates),
        "repeated_names": repeated_names,
        "half": half,
        "source": None if source is None else {key: source[1][key] for key in _SOURCE if key in source[1]},
    }
    return learner.to(backbone.device)
