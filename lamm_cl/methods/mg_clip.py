"""MG-CLIP: low-rank deltas that keep the gap of image and text, and a visual classifier (Huang et al., ICCV 2025)."""

from typing import Any, Literal

from pydantic import Field

from lamm_cl.methods import clip_lora, parts
from lamm_cl.methods.method import Method, Options, Setting
from lamm_cl.methods.recipe import Recipe


class MGCLIPOptions(Options):
    """Options of MG-CLIP."""

    lora_rank: int = Field(8, ge=1, description="rank of the deltas of keys and values")
    lora_alpha: float = Field(1, gt=0, description="deltas are scaled by lora_alpha / lora_rank")
    encoder: Literal["both", "vision", "text"] = Field("both", description="which towers have deltas")
    prompt_template: str = Field("a good photo of a {}.", description="fixed template around the names")
    fusion: Literal["official", "probabilities", "text", "visual"] = Field(
        "official",
        description="of text and visual classifier: as released (a softmax of probabilities and a softmax of plain "
        "cosines), the probabilities of both at CLIP's own scale, or one of them alone",
    )
    visual_weight: float = Field(4, ge=0, description="weight of the visual classifier; the text's is 1")
    visual_lr: float = Field(5e-4, gt=0, description="Adam's rate of the visual classifier")
    visual_epochs: int = Field(3, ge=0, description="passes of the visual classifier over the stage's features")
    visual_batch_size: int = Field(64, ge=1, description="features a step of the visual classifier")


def compose(setting: Setting, options: MGCLIPOptions) -> Any:
    """Put deltas beside keys and values, and a classifier beside the text."""
    backbone = setting.backbone
    rank, scale = options.lora_rank, options.lora_alpha / options.lora_rank
    deltas = clip_lora.deltas_in(setting, options.encoder, ["k", "v"], "all", rank, scale, start="xavier")
    head = parts.VISUAL_CLASSIFIER(
        backbone.width("unit"),
        setting.initial.dtype,
        lr=options.visual_lr,
        epochs=options.visual_epochs,
        batch_size=options.visual_batch_size,
        weight=options.visual_weight,
        fusion=options.fusion,
        scale=backbone.exp_logit_scale,
    )
    wording = parts.WORDING.load().of(options.prompt_template)
    return parts.PARTS(
        parts.FIXED_TEMPLATE([[options.prompt_template]]), deltas=deltas, head=head, teacher_wording=wording
    )


METHOD = Method(
    name="mg_clip",
    title="MG-CLIP",
    paper="Huang et al., ICCV 2025",
    options=MGCLIPOptions,
    recipe=Recipe(
        lr=1e-3,
        epochs=1,
        batch_size=128,
        optimizer="adam",
        weight_decay=0.0,
        warmup_epochs=0,
        min_lr=1e-5,
        drop_last=False,
    ),
    parts=(
        parts.FIXED_TEMPLATE,
        parts.DELTAS.called("low-rank, both towers"),
        *parts.PLAIN,
        parts.VISUAL_CLASSIFIER,
        parts.SUM,
    ),
    compose=compose,
    tiny={"epochs": 5, "batch_size": 16},
)
