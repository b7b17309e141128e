"""Features of frozen image towers, computed once and kept on disk for every method, run and process."""

import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.clip.cache_folder import evict, limit, write_about
from lamm_cl.clip.feature_encode import encode_rows
from lamm_cl.clip.feature_files import Segment, ViewFolder
from lamm_cl.clip.feature_key import describe, digest, engine_of, scope_of
from lamm_cl.clip.feature_locks import wait
from lamm_cl.clip.trust import distrust
from lamm_cl.errors import UsageError

if TYPE_CHECKING:
    from lamm_cl.clip.backbone import ClipBackbone, FeatureKind

LOG = logging.getLogger("lamm_cl")
BATCH_SIZE = 32
ROUND = 8  # batches that one process claims at a time, so that others can take the next ones
OPEN_VIEWS = 8

Load = Callable[[int], Tensor]


class FeatureStore:
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
    ) -> None:
        max_bytes = limit() if max_bytes is None else max_bytes
        if batch_size < 1 or max_bytes < 0:
            raise UsageError(
                f"a feature store needs batch_size >= 1 and max_bytes >= 0, got {batch_size} and {max_bytes}."
            )
        self.backbone = backbone
        self.directory = None if directory is None else Path(directory).expanduser()
        self.max_bytes = max_bytes
        self.batch_size = batch_size
        self.encoded = 0
        self.writable = self.directory is not None
        self._about: dict[str, Any] | None = None
        self._state: tuple[Any, ...] = ()
        self._bounded = False
        self._memory: OrderedDict[str, list[Segment]] = OrderedDict()
        self._folders: OrderedDict[str, ViewFolder] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def about(self) -> dict[str, Any]:
        """What the features depend on besides image and view, and the backbone's name."""
        self._notice_changes()
        if self._about is None:
            self._about = describe(self.backbone, self.batch_size)
        return self._about

    def _notice_changes(self) -> None:
        """Forget what is held when the backbone, its transform or torch's settings are no longer what made it."""
        backbone = self.backbone
        transform = (backbone.preprocess, repr(backbone.preprocess))  # the same object may have been changed
        state = (backbone.fingerprint, str(backbone.device), *transform, engine_of(backbone, self.batch_size))
        if state != self._state:
            self._state, self._about = state, None
            self._memory.clear()
            self._folders.clear()

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
        view = f"{view}/{kind}"
        with self._lock:
            self._notice_changes()
            position: dict[str, int] = {}
            for i, key in enumerate(keys):
                position.setdefault(key, i)
            kept = self._memory.setdefault(view, [])
            self._memory.move_to_end(view)
            folder = self._folder(view, kind)
            found = {segment.file: segment for segment in folder.segments()} if folder else {}
            before = len(found)
            if folder is not None and self.writable:
                try:
                    self._complete(folder, found, kept, position, load, kind)
                except _UnusableError as error:
                    self._give_up(error)
            segments = [*found.values(), *kept]
            missing = _missing(position, segments)
            if missing:
                kept.append(self._encode(missing, position, load, kind))
                segments.append(kept[-1])
            rows = _gather(keys, segments, self._empty(kind))
            if folder is not None and self.directory is not None:
                self._keep_house(self.directory, folder, grown=len(found) > before)
            self._bound_memory()
            return rows

    def _keep_house(self, directory: Path, folder: ViewFolder, grown: bool) -> None:
        """Note what was used, and hold the bound: after each growth, and once for what earlier runs left."""
        folder.touch()
        with contextlib.suppress(OSError):
            if self.writable and folder.used:
                write_about(folder.folder.parent, self.about)  # without it nobody would count or delete what is there
        if grown or not self._bounded:
            evict(directory, self.max_bytes)
            self._bounded = True

    def _folder(self, view: str, kind: "FeatureKind") -> ViewFolder | None:
        """Return the view's folder, which need not exist yet."""
        if self.directory is None:
            return None
        if self.about["transform"] is None:
            LOG.info("features stay in memory: the transform does not do the same each time")
            self.directory, self.writable = None, False
            return None
        if not self._folders and (reason := distrust(self.directory)):
            LOG.warning("the feature cache %s is not used: %s.", self.directory, reason)
            self.directory, self.writable = None, False
            return None
        if view not in self._folders:
            scope, empty = scope_of(self.about), self._empty(kind)
            where = self.directory / scope[:16] / digest(view)[:16]
            self._folders[view] = ViewFolder(where, scope, view, empty.shape[1], empty.dtype)
            while len(self._folders) > OPEN_VIEWS:
                self._folders.popitem(last=False)
        self._folders.move_to_end(view)
        return self._folders[view]

    def _complete(
        self,
        folder: ViewFolder,
        found: dict[Path | None, Segment],
        kept: list[Segment],
        position: dict[str, int],
        load: Load,
        kind: "FeatureKind",
    ) -> None:
        """Bring what is missing into the view's folder, sharing the work with other processes.

        `found` grows by all that was read or written: it stays good though another process clear the cache meanwhile.
        """
        ignored: set[Path] = set()
        wrote = False
        while missing := _missing(position, [*found.values(), *kept]):
            with _disk():
                write_about(folder.folder.parent, self.about)
                claim, mine, others = folder.share(missing, self.batch_size * ROUND, ignored)
            if claim is not None:
                try:
                    kept.append(self._encode(mine, position, load, kind))  # if writing fails, this work is not lost
                    with _disk():
                        written = folder.write(mine, kept[-1].rows)
                    if written is not None:
                        found[written.file] = written
                        kept.pop()
                        wrote = True
                finally:
                    claim.release()
            else:
                with _disk():
                    ignored |= {other for other in others if not wait(other)}
            now = {segment.file: segment for segment in folder.segments()}
            for file in folder.spoiled:
                found.pop(file, None)
            found |= now
        if wrote:
            with _disk():
                folder.merge()

    def _encode(self, keys: Sequence[str], position: dict[str, int], load: Load, kind: "FeatureKind") -> Segment:
        rows = encode_rows(self.backbone, load, [position[key] for key in keys], self.batch_size, kind)
        self.encoded += len(keys)
        return Segment(rows, {key: row for row, key in enumerate(keys)})

    def _empty(self, kind: "FeatureKind") -> Tensor:
        return torch.zeros(0, self.backbone.width(kind), dtype=self.backbone.logit_scale.dtype)

    def _bound_memory(self) -> None:
        """Forget the views used longest ago; the last one stays."""
        sizes = {view: sum(s.rows.nbytes for s in segments) for view, segments in self._memory.items()}
        total = sum(sizes.values())
        for view in list(self._memory)[:-1]:
            if total > self.max_bytes or not sizes[view]:
                total -= sizes[view]
                del self._memory[view]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureStore, (self.backbone, self.directory, self.max_bytes, self.batch_size)

    def _give_up(self, error: Exception) -> None:
        self.writable = False
        LOG.warning(
            "the feature cache %s can't be written (%s): features are computed again in every run. "
            "Free some space, or set LAMM_CL_CACHE to a folder that can be written.",
            self.directory,
            error,
        )


class _UnusableError(Exception):
    """The folder of the cache can't be used; the features still can be computed."""


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    """Tell trouble with the cache's files from trouble with the images'."""
    try:
        yield
    except OSError as error:
        raise _UnusableError(str(error)) from error


def _missing(position: dict[str, int], segments: Sequence[Segment]) -> list[str]:
    """List the keys that no segment has, in their order."""
    return [key for key in position if not any(key in segment.index for segment in segments)]


def _gather(keys: Sequence[str], segments: Sequence[Segment], empty: Tensor) -> Tensor:
    """Collect the rows of `keys` (n, d) from the segments that have them."""
    out = empty.new_empty(len(keys), empty.shape[1])
    for segment in segments:
        found = [(i, segment.index[key]) for i, key in enumerate(keys) if key in segment.index]
        if found:
            target, row = (torch.tensor(part) for part in zip(*found, strict=True))
            out[target] = segment.rows[row]
    return out
