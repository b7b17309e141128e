"""CLIP-LoRA: low-rank deltas of the attention matrices of both towers, or of one (Zanella and Ben Ayed, CVPRW 2024)."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from lamm_cl.methods import parts
from lamm_cl.methods.method import Method, Options, Setting
from lamm_cl.methods.recipe import Recipe
from lamm_cl.methods.zero_shot import PLAIN

Position = Literal["all", "bottom", "mid", "up", "half-bottom", "half-up", "top3"]


class CLIPLoRAOptions(Options):
    """Options of CLIP-LoRA."""

    encoder: Literal["both", "vision", "text"] = Field("both", description="which towers have deltas")
    params: list[Literal["q", "k", "v", "o"]] = Field(
        ["q", "k", "v"], min_length=1, description="which attention matrices have deltas"
    )
    position: Position = Field("all", description="which layers have deltas: all, a third, a half, or the last three")
    r: int = Field(2, ge=1, description="rank of the deltas")
    alpha: float = Field(1, gt=0, description="deltas are scaled by alpha / sqrt(r)")
    dropout_rate: float = Field(0.25, ge=0, lt=1, description="share of a delta's input that a training step drops")
    logit_scale: float | None = Field(100, gt=0, description="factor of the cosines; null = the backbone's own")
    templates: str | list[str] | None = Field(
        None,
        min_length=1,
        description="the first one trains and scores; `encoder: vision` trains against the mean of all of them; "
        "default: the data set's own",
    )


def layers_at(position: Position, layers: int) -> list[int]:
    """Return the layers of a tower at a position.

    >>> layers_at("mid", 12), layers_at("half-up", 12), layers_at("top3", 24)
    ([4, 5, 6, 7], [6, 7, 8, 9, 10, 11], [21, 22, 23])
    """
    third, half = layers / 3, layers / 2
    first, stop = {
        "all": (0.0, layers),
        "bottom": (0.0, third),
        "mid": (third, 2 * third),
        "up": (2 * third, layers),
        "half-bottom": (0.0, half),
        "half-up": (half, layers),
        "top3": (max(0, layers - 3), layers),
    }[position]
    return list(range(round(first), round(stop)))


def mean_of_templates(batch: Any) -> Any:
    """Return the logits (batch, n) of the images with the mean of all templates."""
    return batch.output.against(batch.output.zero_shot())[:, batch.keep]


def deltas_in(
    setting: Setting, encoder: str, params: Sequence[str], position: Position, rank: int, scale: float, **more: Any
) -> Any:
    """Return deltas of the matrices `params` in the tower or towers that `encoder` names."""
    towers: dict[str, Any] = {"text": setting.backbone.text, "vision": setting.backbone.image}
    text, image = (
        tower.matrices(params, layers_at(position, tower.layers)) if encoder in (name, "both") else {}
        for name, tower in towers.items()
    )
    return parts.DELTAS(text, image, rank, scale, setting.initial, **more)


def compose(setting: Setting, options: CLIPLoRAOptions) -> Any:
    """Put deltas beside the matrices of the towers that the options name."""
    scale, dropout = options.alpha / options.r**0.5, options.dropout_rate
    deltas = deltas_in(setting, options.encoder, options.params, options.position, options.r, scale, dropout=dropout)
    made: dict[str, Any] = {"deltas": deltas, "logit_scale": options.logit_scale}
    if options.templates is None:
        return parts.PARTS(parts.FIXED_TEMPLATE([[one] for one in setting.templates or [PLAIN]]), **made)
    templates = [options.templates] if isinstance(options.templates, str) else options.templates
    if options.encoder == "vision" and len(templates) > 1:
        made["teacher_wording"] = [parts.WORDING.load().of(template) for template in templates]
        made["objective"] = parts.CROSS_ENTROPY(logits=mean_of_templates)
    return parts.PARTS(parts.FIXED_TEMPLATE([templates[:1]]), **made)


METHOD = Method(
    name="clip_lora",
    title="CLIP-LoRA",
    paper="Zanella and Ben Ayed, CVPRW 2024",
    options=CLIPLoRAOptions,
    recipe=Recipe(
        lr=2e-4,
        epochs=None,
        batch_size=32,
        optimizer="adamw",
        weight_decay=1e-2,
        warmup_epochs=0,
        schedule="cosine_step",
        min_lr=1e-6,
        drop_last=False,
        steps_per_shot=500,
    ),
    parts=(parts.FIXED_TEMPLATE, parts.DELTAS.called("low-rank, both towers"), *parts.PLAIN),
    compose=compose,
    tiny={"steps_per_shot": 10},
)
