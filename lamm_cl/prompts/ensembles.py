"""Ensembles of hand-written templates, by name: the features of their texts are averaged.

All are CLIP's own (Radford et al. 2021; openai/CLIP, MIT licence): the seven of its notebook on ImageNet, those of
CIFAR-10 and CIFAR-100 and of UCF101 in data/prompts.md, and 60 of its 80 of ImageNet, as PromptSRC's code has them, in
its order (muzairkhattak/PromptSRC, MIT licence).
"""

from itertools import product

ENSEMBLES: dict[str, tuple[str, ...]] = {
    "imagenet7": (
        "itap of a {}.", "a bad photo of the {}.", "a origami {}.", "a photo of the large {}.", "a {} in a video game.",
        "art of the {}.", "a photo of the small {}.",
    ),
    "cifar18": (
        "a photo of a {}.", "a blurry photo of a {}.", "a black and white photo of a {}.",
        "a low contrast photo of a {}.", "a high contrast photo of a {}.", "a bad photo of a {}.",
        "a good photo of a {}.", "a photo of a small {}.", "a photo of a big {}.", "a photo of the {}.",
        "a blurry photo of the {}.", "a black and white photo of the {}.", "a low contrast photo of the {}.",
        "a high contrast photo of the {}.", "a bad photo of the {}.", "a good photo of the {}.",
        "a photo of the small {}.", "a photo of the big {}.",
    ),
    "imagenet60": (
        "a photo of a {}.", "a bad photo of a {}.", "a photo of many {}.", "a sculpture of a {}.",
        "a photo of the hard to see {}.", "a low resolution photo of the {}.", "a rendering of a {}.",
        "graffiti of a {}.", "a bad photo of the {}.", "a cropped photo of the {}.", "a tattoo of a {}.",
        "the embroidered {}.", "a photo of a hard to see {}.", "a bright photo of a {}.", "a photo of a clean {}.",
        "a photo of a dirty {}.", "a dark photo of the {}.", "a drawing of a {}.", "a photo of my {}.",
        "the plastic {}.", "a photo of the cool {}.", "a close-up photo of a {}.", "a black and white photo of the {}.",
        "a painting of the {}.", "a painting of a {}.", "a pixelated photo of the {}.", "a sculpture of the {}.",
        "a bright photo of the {}.", "a cropped photo of a {}.", "a plastic {}.", "a photo of the dirty {}.",
        "a jpeg corrupted photo of a {}.", "a blurry photo of the {}.", "a photo of the {}.", "a good photo of the {}.",
        "a rendering of the {}.", "a {} in a video game.", "a photo of one {}.", "a doodle of a {}.",
        "a close-up photo of the {}.", "the origami {}.", "the {} in a video game.", "a sketch of a {}.",
        "a doodle of the {}.", "a origami {}.", "a low resolution photo of a {}.", "the toy {}.",
        "a rendition of the {}.", "a photo of the clean {}.", "a photo of a large {}.", "a rendition of a {}.",
        "a photo of a nice {}.", "a photo of a weird {}.", "a blurry photo of a {}.", "a cartoon {}.", "art of a {}.",
        "a sketch of the {}.", "a embroidered {}.", "a pixelated photo of a {}.", "itap of the {}.",
    ),
    "ucf48": tuple(
        f"a {form} of {person}{doing} {{}}."
        for doing, person, form in product(
            ("", " using", " doing", " during", " performing", " practicing"),
            ("a person", "the person"),
            ("photo", "video", "example", "demonstration"),
        )
    ),
}  # fmt: skip
