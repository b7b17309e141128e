"""Features of frozen image towers, computed once and kept on disk for every method, run and process.

Each image's feature is the same bits, whatever is encoded beside it: with one thread and batches of one size, a row
depends neither on its place nor on the others (measured: README.md). Several batches run side by side to use all cores.
"""

import contextlib
import errno
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.clip.backbone import Uncopied
from lamm_cl.clip.cache_folder import distrust, evict, limit, make_view
from lamm_cl.clip.feature_files import View
from lamm_cl.clip.feature_key import describe, engine_of
from lamm_cl.errors import UsageError
from lamm_cl.files import disk_error

if TYPE_CHECKING:
    from lamm_cl.clip.backbone import ClipBackbone, FeatureKind

LOG = logging.getLogger("lamm_cl")
BATCH_SIZE = 32
ROUND = 8  # batches that are written at a time: what a kill loses at most
OPEN_VIEWS = 8
PATIENCE_SECONDS = 900.0
LOADERS = 16

Encode = Callable[[Tensor], Tensor]
Load = Callable[[int], Tensor]


class FeatureStore(Uncopied):
    """Gives the features of images, encoding only those that nobody has encoded before.

    What is kept is keyed by the backbone's weights, its transform, the versions and kind of device that computed it,
    the image's content and the view. On the CPU a feature is the same bits whatever else is encoded beside it, from
    the cache or not, with any number of threads or processes.

    Args:
        backbone: a frozen CLIP.
        directory: folder of the cache; None keeps features in memory only. Where it can't be written (read-only,
            disk full), the store says so once, reads what is there and keeps the rest in memory.
        max_bytes: what the folder may hold; beyond it, what was used longest ago is deleted. In memory the same.
            None: $LAMM_CL_CACHE_GIB, or 10 GiB.
        batch_size: images encoded at once (features for other sizes differ in the last bits, so it is in the key).
        kinds: what each pass of the tower keeps beside the kind that is asked for: "raw", "unprojected".

    Attributes:
        encoded: number of images that this store has really encoded.
        writable: whether features are kept on disk.
    """

    def __init__(
        self,
        backbone: "ClipBackbone",
        directory: str | Path | None,
        max_bytes: int | None = None,
        batch_size: int = BATCH_SIZE,
        kinds: Sequence["FeatureKind"] = (),
    ) -> None:
        max_bytes = limit() if max_bytes is None else max_bytes
        if batch_size < 1 or max_bytes < 0:
            raise UsageError(
                f"a feature store needs batch_size >= 1 and max_bytes >= 0, got {batch_size} and {max_bytes}."
            )
        self.backbone, self.max_bytes, self.batch_size, self.kinds = backbone, max_bytes, batch_size, tuple(kinds)
        self.directory = None if directory is None else Path(directory).expanduser()
        self.encoded = 0
        self.writable = self.directory is not None
        self._about: dict[str, Any] | None = None
        self._state: tuple[Any, ...] = ()
        self._bounded = False
        self._views: OrderedDict[str, View] = OrderedDict()
        self._lock = threading.RLock()

    def _notice_changes(self) -> None:
        """Forget what is held when the backbone, its transform or torch's settings are no longer what made it."""
        backbone = self.backbone
        transform = (backbone.preprocess, repr(backbone.preprocess))  # the same object may have been changed
        state = (backbone.fingerprint, str(backbone.device), *transform, engine_of(backbone, self.batch_size))
        if state != self._state:
            self._state, self._about = state, None
            self._views.clear()

    def features(self, keys: Sequence[str], load: Load, view: str, kind: "FeatureKind" = "unit") -> Tensor:
        """Return the features of images, computing the missing ones.

        Args:
            keys: content key of each image (a digest of its bytes): the same key means the same image.
            load: gives image i of `keys` in this view, preprocessed: (3, H, W). Called for the missing ones only,
                from several threads where torch uses several.
            view: name of the view: the same name and key mean the same pixels. `eval` is the backbone's own
                transform.
            kind: see `ClipBackbone.encode_images`.

        Returns:
            (len(keys), width) on the CPU.
        """
        if kind == "unit":  # of the same rows, so that one pass of the tower serves both kinds
            return F.normalize(self.features(keys, load, view, "raw"), dim=-1)
        with self._lock:
            self._notice_changes()
            position: dict[str, int] = {}
            for i, key in enumerate(keys):
                position.setdefault(key, i)
            views = {one: self._view(f"{view}/{one}", one) for one in (*self.kinds, kind)}
            found, before = views[kind], self.encoded
            found.refresh()
            if self.writable and found.missing(position):
                try:
                    self._complete(found, views, position, load)
                except OSError as error:
                    assert self.directory is not None
                    folder, named = self.directory.absolute(), Path(str(error.filename)).absolute()
                    if not (disk_error(error, folder) or folder.is_relative_to(named)):
                        raise  # it was about an image
                    self.writable = False
                    LOG.warning(
                        "the feature cache %s can't be written (%s): features are computed again in every run. "
                        "Free some space, or set LAMM_CL_CACHE to a folder that can be written.",
                        self.directory,
                        error,
                    )
            if missing := found.missing(position):
                for one, rows in self._encode(missing, position, load, views).items():
                    views[one].keep(missing, rows)
            features = found.gather(keys)
            self._keep_house(found, self.encoded > before)
            return features

    def _view(self, name: str, kind: "FeatureKind") -> View:
        """Return a view, whose files need not exist yet."""
        about = self._about = self._about or describe(self.backbone, self.batch_size)
        if self.directory is not None and not self._views:
            if about["transform"] is None:
                LOG.info("features stay in memory: the transform does not do the same each time")
                self.directory, self.writable = None, False
            elif reason := distrust(self.directory):
                LOG.warning("the feature cache %s is not used: %s.", self.directory, reason)
                self.directory, self.writable = None, False
        if name not in self._views:
            dtype = self.backbone.exp_logit_scale.dtype
            self._views[name] = View(self.directory, about, name, self.backbone.width(kind), dtype)
        self._views.move_to_end(name)
        return self._views[name]

    def _complete(self, view: View, views: dict["FeatureKind", View], position: dict[str, int], load: Load) -> None:
        """Bring what is missing into the files of a view, unless another process does.

        The other views take what a pass gives of their kinds, unless another process writes there.
        """
        try:
            if not self._take(view, position):
                return
            held = {kind: one for kind, one in views.items() if one is view or one.acquire(0)}
            while missing := view.missing(position)[: self.batch_size * ROUND]:
                found = self._encode(missing, position, load, views)
                for kind, one in held.items():
                    self._write(one, missing, found[kind])
            for one in held.values():
                one.merge()
        finally:
            for one in views.values():
                one.release()

    @staticmethod
    def _write(view: View, keys: Sequence[str], rows: Tensor) -> None:
        """Write what a view lacks of these rows."""
        lacking = set(view.missing(keys))
        if not lacking:
            return
        kept = [row for row, key in enumerate(keys) if key in lacking]
        names, rows = [keys[row] for row in kept], rows[kept]
        try:
            view.write(names, rows)
        except OSError:
            view.keep(names, rows)  # this work is not lost
            raise
        view.refresh(keep_deleted=True)

    @staticmethod
    def _take(view: View, position: dict[str, int]) -> bool:
        """Take a view's lock, waiting as long as its holder brings anything; False when nothing is missing any more."""
        patience, files = time.monotonic() + PATIENCE_SECONDS, len(view.files)
        while True:
            taken = view.acquire(0.2)
            if taken or not view.missing(position):
                return bool(view.missing(position))
            if len(view.files) != files:
                patience, files = time.monotonic() + PATIENCE_SECONDS, len(view.files)
            elif time.monotonic() > patience:
                raise TimeoutError(errno.ETIMEDOUT, "another process keeps it locked", f"{view.folder}/lock")

    def _encode(
        self, keys: Sequence[str], position: dict[str, int], load: Load, kinds: Iterable["FeatureKind"]
    ) -> dict["FeatureKind", Tensor]:
        """Encode images, each once: (len(keys), width) of each kind, on the CPU.

        In the backbone's own number type, whatever autocast region this is called in.
        """
        backbone, size, wanted = self.backbone, self.batch_size, list(kinds)
        indices = [position[key] for key in keys]
        groups: list[Sequence[int]] = [indices[start : start + size] for start in range(0, len(indices), size)]

        def encode(images: Tensor) -> Tensor:
            found = backbone.encode_kinds(images, wanted)
            return torch.cat([found[kind] for kind in wanted], dim=1)

        with torch.autocast(backbone.device.type, enabled=False):
            run = _on_cpu if backbone.device.type == "cpu" else _on_device
            parts = run(encode, backbone.device, load, groups, size)
            rows = torch.split(torch.cat(parts), [backbone.width(kind) for kind in wanted], dim=1)
        self.encoded += len(keys)
        return {kind: part.contiguous() for kind, part in zip(wanted, rows, strict=True)}

    def _keep_house(self, view: View, grown: bool) -> None:
        """Note what was used, and hold the bounds: on disk after each growth, and once for what earlier runs left."""
        view.touch()
        if self.directory is not None and view.folder is not None:
            with contextlib.suppress(OSError):
                if self.writable and view.files:
                    make_view(view.folder, view.about)  # without it nobody would count or delete what is there
            if (grown and self.writable) or not self._bounded:
                evict(self.directory, self.max_bytes)
                self._bounded = True
        older = list(self._views.items())[:-1]
        kept = sum(one.kept_bytes for one in self._views.values())
        for number, (name, one) in enumerate(older):
            if kept > self.max_bytes:
                kept -= one.kept_bytes
                one.kept.clear()
            if number <= len(older) - OPEN_VIEWS:
                one.files.clear()
            if not one.files and not one.kept_bytes:
                del self._views[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureStore, (self.backbone, self.directory, self.max_bytes, self.batch_size, self.kinds)


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
            for group in (*groups, *[()] * depth):
                waiting.append([pool.submit(load, i) for i in group])
                if len(waiting) > depth:
                    yield [image.result() for image in waiting.pop(0)]
        finally:
            pool.shutdown(cancel_futures=True)
