"""Data sets without files, and a backbone without weights."""

from dataclasses import dataclass

import pytest
import torch
from PIL import Image

from lamm_cl.data.items import Dataset, Item


class Drawn(Dataset):
    """Pictures of one grey level, told by the path."""

    def missing(self, items):
        return []

    def open(self, item):
        return Image.new("RGB", (12, 12), (int(item.path.rsplit("/", 1)[1]) % 256,) * 3)

    def content_key(self, item):
        return item.path.encode().hex()


def items(name, part, classes, per_class, first=0):
    return tuple(
        Item(f"{name}/{part}/{first + label * per_class + k}", label, class_name)
        for label, class_name in enumerate(classes)
        for k in range(per_class)
    )


@pytest.fixture(scope="session")
def make_dataset():
    def make(name="toy", classes=6, train=4, val=2, test=3, template="a photo of a {}.", **more):
        names = tuple(classes) if not isinstance(classes, int) else tuple(f"{name}{k}" for k in range(classes))
        return Drawn(
            name=name,
            class_names=names,
            train=items(name, "train", names, train),
            val=items(name, "val", names, val, 100),
            test=items(name, "test", names, test, 200),
            template=template,
            **more,
        )

    return make


@dataclass
class Plain:
    """What a source asks of a backbone, and nothing else."""

    image_size: tuple = (4, 4)
    image_mean: tuple = (0.0, 0.0, 0.0)
    image_std: tuple = (1.0, 1.0, 1.0)
    interpolation: str = "bicubic"

    def preprocess(self, picture):
        return torch.full((3, 4, 4), picture.getpixel((0, 0))[0] / 255)


@pytest.fixture
def plain():
    return Plain()
