"""PROOF: maps of both sides, fused by attention over texts, prototypes and context (Zhou et al., TPAMI 2025)."""

from typing import Any, Literal

from pydantic import Field

from lamm_cl.methods import parts, zero_shot
from lamm_cl.methods.method import Method, Setting
from lamm_cl.methods.recipe import Recipe


class PROOFOptions(zero_shot.ZeroShotOptions):
    """Options of PROOF."""

    context_tokens: int = Field(3, ge=0, description="learned tokens of a stage in the attention")
    dropout: float = Field(0.1, ge=0, lt=1, description="in the attention, in training steps")
    average: Literal["batch", "image"] = Field(
        "batch",
        description="texts and prototypes behind the attention are averaged over the images of the mini-batch in "
        "evaluation too (released code: a prediction depends on its mini-batch), or each image has its own",
    )
    fixed_memory: bool = Field(
        True, description="exemplars: memory_per_class of each class, or memory_size shared (released configs differ)"
    )
    memory_per_class: int = Field(20, ge=0, description="exemplars of each class, with fixed_memory")
    memory_size: int = Field(2000, ge=0, description="exemplars of all classes together, without fixed_memory")


def compose(setting: Setting, options: PROOFOptions) -> Any:
    """Map both sides, and let an image look at texts, prototypes and context."""
    backbone, initial, width = setting.backbone, setting.initial, setting.backbone.embed_dim
    image = parts.STAGE_SUM(width, initial, "image")
    head = parts.CROSS_MODAL(
        image, width, options.context_tokens, backbone.exp_logit_scale, options.average, initial, options.dropout
    )
    contrast = parts.CONTRAST(head.factor)
    terms = {"fused_text": (head.to_text, 1.0), "fused_prototypes": (head.to_prototypes, 1.0)}
    return zero_shot.compose(
        setting,
        options,
        adapter=image,
        text_adapter=parts.STAGE_SUM(width, initial, "text", all_train=True),
        head=head,
        objective=parts.CROSS_ENTROPY(terms, ce=contrast.ce),
        exemplars=parts.EXEMPLARS(
            *((options.memory_per_class, 0) if options.fixed_memory else (0, options.memory_size))
        ),
        trains_on_first=True,
    )


METHOD = Method(
    name="proof",
    title="PROOF",
    paper="Zhou et al., TPAMI 2025",
    options=PROOFOptions,
    recipe=Recipe(lr=0.001, epochs=10, batch_size=64, weight_decay=0.05, warmup_epochs=0, drop_last=False),
    parts=(
        *zero_shot.TEXT,
        parts.STAGE_SUM,
        parts.CROSS_MODAL,
        parts.EXEMPLARS.called("class means and exemplars"),
        parts.STATISTICS.called("class means and exemplars"),
        parts.CONTRAST,
    ),
    compose=compose,
)
