"""What may stand behind `**`, by name and type, for editors and type checkers; models of options decide at run time.

A test compares these with the options of all registered methods. Options of a method of one's own pass a type checker
as `**own`, a `dict[str, Any]`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict


class MethodOptions(TypedDict, total=False):
    """Options of all methods; which of them a method has, and what they mean: `lamm-cl list methods --options`."""

    alpha: float
    augment_epoch: int
    average: bool | Literal["batch", "image"]
    best_epoch: Literal["val", "test", "none"]
    beta: float
    buffer_size: int
    class_token_position: Literal["front", "middle", "end"]
    clone_projections: bool
    context_tokens: int
    csc: bool
    ctx_init: str
    dialect: Literal["official", "paper"]
    distance: Literal["cosine", "l1", "l2"]
    dropout: float
    dropout_rate: float
    encoder: Literal["both", "vision", "text"]
    eps: float
    fixed_memory: bool
    form: Literal["primal", "dual"]
    fusion: Literal["official", "probabilities", "text", "visual"] | float
    gate: Literal["all", "seen"]
    gpa_mean: float | None
    gpa_std: float | None
    hidden: int
    hierarchical: bool
    image_aug: float
    image_features: Literal["raw", "unit", "unprojected"]
    image_loss_weight: float
    init_alpha: float
    init_beta: float
    kd_target: Literal["learned", "zero_shot"]
    kernel_gamma: float
    kl_loss_weight: float
    Kt: int
    label_init: Literal["words", "random"]
    lambda_cos: float
    lambda_kd: float
    lambda_wc: float | None
    layer: int | None
    logit_scale: float | None
    lora_alpha: float
    lora_rank: int
    loss_scale: Literal["parameter", "exponential"]
    M: int
    margin: float
    max_iter: int
    memory_per_class: int
    memory_size: int
    mix: Literal["swapped", "searched"]
    mix_bias: float
    n_ctx: int
    n_ctx_text: int
    n_ctx_vision: int
    n_prompts: int
    own_decay: float
    own_lr: float
    pairs: Mapping[str, Mapping[str, Sequence[str]]] | str | None
    params: Sequence[Literal["q", "k", "v", "o"]]
    position: Literal["all", "bottom", "mid", "up", "half-bottom", "half-up", "top3"]
    prefilter: bool
    prograd_lambda: float
    prograd_t: float
    prompt: str | None
    prompt_depth: int | None
    prompt_depth_text: int | None
    prompt_depth_vision: int | None
    prompt_template: str
    r: int
    ratio: float
    reduction: int
    reference: Literal["zero_shot", "previous_stage"]
    replay_classes: int
    rerank: float
    rerank_top: int
    ridge: Literal["select"] | float | None
    sample_noise: float
    sample_num: int
    score: Literal["linear", "cosine"]
    search_scale: Sequence[float]
    search_step: Sequence[int]
    selection: Literal["val", "test", "none"]
    shrinkage: bool
    sign: Literal["released", "paper"]
    spread: Literal["merged", "pooled"]
    stat: float
    teacher: str | None
    teacher_templates: str | Sequence[str] | None
    template: str | None
    templates: str | Sequence[str] | None
    text: Mapping[str, Any] | None
    text_des: float
    text_loss_weight: float
    thresh: float
    threshold: float
    tuned_epoch: int
    visual_batch_size: int
    visual_epochs: int
    visual_lr: float
    visual_weight: float
    w: float


class Schedule(TypedDict, total=False):
    """Settings of a recipe, see `lamm_cl.methods.recipe.Recipe`; None: the method's own."""

    lr: float | None
    epochs: int | None
    batch_size: int | None
    momentum: float | None
    weight_decay: float | None
    adam_eps: float | None
    warmup_epochs: int | None
    warmup_lr: float | None
    schedule: Literal["cosine", "constant", "cosine_step", "multistep"] | None
    min_lr: float | None
    milestones: tuple[int, ...] | None
    gamma: float | None
    drop_last: bool | None
    steps_per_shot: int | None
    cosine_epochs: int | None


class RecipeOptions(Schedule, total=False):
    """The same, and the optimizer by its name."""

    optimizer: Literal["sgd", "adam", "adamw"] | None
