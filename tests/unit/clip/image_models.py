"""Kinds of image towers, and what goes into them."""

import torch

F64 = torch.float64

TOWERS = {
    "GELU": {},
    "QuickGELU": {"quick_gelu": True},
    "averaged": {"vision": {"pool_type": "avg"}},
    "norm after pooling": {"vision": {"final_ln_after_pool": True}},
    "averaged, norm after": {"vision": {"pool_type": "avg", "final_ln_after_pool": True}},
    "no first norm": {"vision": {"no_ln_pre": True}},
    "layer scale": {"vision": {"ls_init_value": 0.3}},
    "attention pool": {"vision": {"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 3}},
    "sine positions": {"vision": {"pos_embed_type": "sin_cos_2d"}},
    "custom blocks": {"vision": {"qk_norm": True, "scale_heads": True}},
    "ResNet": {"vision": {"layers": [1, 1, 1, 1], "width": 16, "image_size": 64, "head_width": 16}},
}


def images(tower, count=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, *tower.image_size, generator=generator, dtype=F64)


def tower_prompts(tower, *shape, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, tower.width, generator=generator, dtype=F64).requires_grad_()
