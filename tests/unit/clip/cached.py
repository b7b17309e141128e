"""Random pictures by number, and what a store of their features has on disk."""

import hashlib

import torch


def picture(number: int, size: int = 32) -> torch.Tensor:
    return torch.randn(3, size, size, generator=torch.Generator().manual_seed(number))


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


class Pictures:
    """Random pictures by number, counting how often each was asked for."""

    def __init__(self, numbers):
        self.numbers = list(numbers)
        self.keys = [key(n) for n in self.numbers]
        self.loaded = []

    def __call__(self, i):
        self.loaded.append(self.numbers[i])
        return picture(self.numbers[i])


def get(store, numbers, view="eval"):
    pictures = Pictures(numbers)
    return store.features(pictures.keys, pictures, view)


def files(store):
    return sorted(store.directory.rglob("*.safetensors"))
