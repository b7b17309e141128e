"""ENGINE: maps of image and text features a stage, and sentences that tell classes apart (Zhou et al., ICCV 2025)."""

import math
from typing import Any, Literal

from pydantic import Field

from lamm_cl.methods import parts, text_bank, zero_shot
from lamm_cl.methods.method import Method, Setting
from lamm_cl.methods.recipe import Recipe


class ENGINEOptions(zero_shot.ZeroShotOptions):
    """Options of ENGINE; the defaults are those of most released configs."""

    pairs: text_bank.Pairs | None = Field(
        None,
        description="sentences that tell classes apart, {class: {other class: [sentences]}}, or a JSON file of them; "
        "null: the terms and the reranking that need them are left out",
    )
    text_des: float = Field(2, ge=0, description="weight of the term of the sentences")
    image_aug: float = Field(
        0,
        ge=0,
        description="weight of the term of noisy images, which trains from images, not from the cache "
        "(released configs: 0, 0.5 or 2)",
    )
    sample_noise: float = Field(0.25, ge=0, description="standard deviation of the noise on older classes' means")
    sample_num: int = Field(0, ge=0, description="older classes a step; 0: all of them")
    loss_scale: Literal["parameter", "exponential"] = Field(
        "parameter", description="the loss scales cosines by CLIP's parameter (4.6, released code) or its exponential"
    )
    stat: float = Field(0.8, ge=0, le=1, description="weight of the Gaussian discriminant in the score")
    spread: Literal["merged", "pooled"] = Field(
        "merged", description="the discriminant averages the stages' precision matrices (released code) or pools images"
    )
    rerank: float = Field(0.8, ge=0, le=1, description="weight of the sentences against the text in the score")
    rerank_top: int = Field(5, ge=2, description="classes that the sentences tell apart")


def compose(setting: Setting, options: ENGINEOptions) -> Any:
    """Map both sides, and score by text, discriminant and sentences."""
    backbone, initial, width = setting.backbone, setting.initial, setting.backbone.embed_dim
    pairs = text_bank.read_pairs(options.pairs)
    texts = None if pairs is None else parts.PAIR_TEXTS(backbone, pairs, setting.class_names)
    means = parts.NOISY_MEANS(backbone, options.sample_noise, options.sample_num, options.image_aug > 0)
    described = parts.DESCRIBED(means, texts)
    scale = float(backbone.exp_logit_scale)
    contrast = parts.CONTRAST(math.log(scale) if options.loss_scale == "parameter" else scale)
    terms = {
        "second_view": (described.second_view, options.image_aug),
        "descriptions": (described.descriptions, options.text_des if texts is not None else 0.0),
    }
    discriminant = parts.GAUSSIAN_DISCRIMINANT(backbone.width("unprojected"), options.spread)
    return zero_shot.compose(
        setting,
        options,
        adapter=parts.STAGE_SUM(width, initial, "image", backbone),
        text_adapter=parts.STAGE_SUM(width, initial, "text"),
        head=parts.RERANK(discriminant, backbone, texts, options.stat, options.rerank, options.rerank_top),
        rehearsal=means,
        objective=parts.CROSS_ENTROPY(terms, ce=contrast.ce),
        trains_on_first=True,
    )


METHOD = Method(
    name="engine",
    title="ENGINE",
    paper="Zhou et al., ICCV 2025",
    options=ENGINEOptions,
    recipe=Recipe(lr=0.05, epochs=10, batch_size=64, weight_decay=0.05, warmup_epochs=0, drop_last=False),
    parts=(
        *zero_shot.TEXT,
        parts.STAGE_SUM,
        parts.GAUSSIAN_DISCRIMINANT,
        parts.RERANK,
        parts.NOISY_MEANS,
        parts.STATISTICS.called("noisy class means"),
        parts.CONTRAST,
        parts.DESCRIBED,
    ),
    compose=compose,
)
