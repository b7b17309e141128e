"""A real architecture with random weights: what they are matters to nothing but how soon ALIGN's transport stops."""

import logging

import open_clip
import torch

from lamm_cl import ClipBackbone


def random_backbone(name: str = "ViT-B-16-quickgelu") -> ClipBackbone:
    """Return the architecture with weights from a fixed seed, in float32 on the CPU."""
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    model = open_clip.create_model(name)
    return ClipBackbone(model, open_clip.get_tokenizer(name), name=name)
