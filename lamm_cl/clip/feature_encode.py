"""Encode images so that each image's feature is the same bits, whatever is encoded beside it.

Measured on CPU: with one thread and batches of one size, a row depends neither on its place in the batch nor on
the other rows; with several threads, or with batches of other sizes, it does, in the last bits. So batches are
padded to one size and each is encoded by one thread; several batches run side by side to use all cores.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lamm_cl.clip.backbone import ClipBackbone, FeatureKind

Encode = Callable[[Tensor], Tensor]
Load = Callable[[int], Tensor]
LOADERS = 16


def encode_rows(
    backbone: "ClipBackbone", load: Load, indices: Sequence[int], batch_size: int, kinds: Sequence["FeatureKind"]
) -> dict["FeatureKind", Tensor]:
    """Encode the images `load(i)` for i in `indices`, each once.

    Args:
        backbone: encodes, in its own number type whatever autocast region this is called in.
        load: gives image i, preprocessed: (3, H, W).
        indices: which images.
        batch_size: images encoded at once; results for one size are comparable bit by bit.
        kinds: what is wanted of each image; see `ClipBackbone.encode_images`.

    Returns:
        For each kind (len(indices), width) on the CPU.
    """
    groups = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    if not groups:
        return {kind: torch.zeros(0, backbone.width(kind), dtype=backbone.exp_logit_scale.dtype) for kind in kinds}
    with torch.autocast(backbone.device.type, enabled=False):
        run = _on_cpu if backbone.device.type == "cpu" else _on_device
        parts = run(partial(_joined, backbone, kinds), backbone.device, load, groups, batch_size)
        rows = torch.split(torch.cat(parts), [backbone.width(kind) for kind in kinds], dim=1)
        return {kind: part.contiguous() for kind, part in zip(kinds, rows, strict=True)}


def _joined(backbone: "ClipBackbone", kinds: Sequence["FeatureKind"], images: Tensor) -> Tensor:
    """Return all kinds of features of a batch side by side."""
    found = backbone.encode_kinds(images, kinds)
    return torch.cat([found[kind] for kind in kinds], dim=1)


def _stack(images: Sequence[Tensor], size: int) -> Tensor:
    """Stack images (3, H, W) and repeat the first until there are `size`."""
    return torch.stack([*images, *[images[0]] * (size - len(images))])


def _on_cpu(encode: Encode, device: torch.device, load: Load, groups: list[Sequence[int]], size: int) -> list[Tensor]:
    """Encode each group with one thread, as many at once as torch may use threads."""

    def work(group: Sequence[int]) -> Tensor:
        # Autocast is a setting of the thread; so is the number of threads.
        with torch.autocast("cpu", enabled=False):
            return encode(_stack([load(i) for i in group], size))[: len(group)].clone()

    threads = torch.get_num_threads()
    try:
        if threads == 1 or len(groups) == 1:
            torch.set_num_threads(1)
            return [work(group) for group in groups]
        workers = min(threads, len(groups))
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, groups))
    finally:
        torch.set_num_threads(threads)


def _on_device(
    encode: Encode, device: torch.device, load: Load, groups: list[Sequence[int]], size: int
) -> list[Tensor]:
    """Encode on an accelerator while threads load the next groups and copies overlap with computing."""
    pinned = device.type == "cuda"
    done: list[Tensor] = []
    for images in _ahead(load, groups):
        batch = _stack(images, size)
        batch = batch.pin_memory() if pinned else batch
        done.append(encode(batch.to(device, non_blocking=pinned))[: len(images)])
    return [torch.cat(done).cpu()]  # one wait for the device at the end, none in between


def _ahead(load: Load, groups: list[Sequence[int]], depth: int = 2) -> Iterator[list[Tensor]]:
    """Yield each group's images, with `depth` groups being loaded meanwhile."""
    with ThreadPoolExecutor(min(LOADERS, os.cpu_count() or 1)) as pool:
        waiting: list[list[Future[Tensor]]] = []
        try:
            for group in groups:
                waiting.append([pool.submit(load, i) for i in group])
                if len(waiting) > depth:
                    yield [image.result() for image in waiting.pop(0)]
            while waiting:
                yield [image.result() for image in waiting.pop(0)]
        finally:
            for image in (image for group in waiting for image in group):
                image.cancel()
