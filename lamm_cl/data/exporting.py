"""Any labelled images as class folders, which are then read like all others: one's own, or a library's data set."""

import hashlib
import importlib.util
import inspect
import io
import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

from lamm_cl.data.images import is_deep, to_bytes
from lamm_cl.data.items import PARTS
from lamm_cl.data.own_files import JUNK_FOLDERS, PART_NAMES
from lamm_cl.data.splits import check_names
from lamm_cl.errors import UsageError, check_known

Count = Callable[[int, int | None], None]  # bytes so far, bytes in all


def export(
    parts: Mapping[str, Iterable[Any]],
    folder: str | PathLike[str],
    report: Count = lambda done, total: None,
    columns: Mapping[str, str] | None = None,
) -> int:
    """Write labelled images as `folder/PART/CLASS/NUMBER.ppm`, which `{folder: ...}` in a config reads; say how many.

    PGM and PPM hold the pixels after a short header: every machine writes the same bytes, which PNG's do not when two
    machines compress differently. Images given by path are copied as they are.

    Args:
        parts: rows for "train" and, where there are such parts, "val" and "test": pairs of an image and its class's
            name; a data set of torchvision; or one of Hugging Face's `datasets`. An image is Pillow's, an array (H, W)
            or (H, W, 3) of bytes, a tensor (C, H, W) of bytes or of floats from 0 to 1, or a path.
        folder: absent or empty; its parts appear together, when all is written.
        report: called now and then.
        columns: of Hugging Face's, which is the image ("path") and which the class ("class_name").

    Raises:
        UsageError: a row or a name cannot be written, or the folder holds something; nothing is left in it then.
        OSError: the disk is full, or cannot be written; nothing is left in it then.
    """
    target = Path(folder).expanduser().absolute()
    check_known("part of a data set", parts, PARTS)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"export: {target} is there and not empty. Give another folder.")
    target.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    count = done = 0
    names: dict[str, None] = {}
    try:
        for part, rows in parts.items():
            for number, (image, name) in enumerate(labelled(rows, columns or {})):
                suffix, content = _encoded(image)
                place = scratch / part / _folder_name(name) / f"{number:05d}{suffix}"
                names[name] = None
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
                count, done = count + 1, done + len(content)
                if count % 1000 == 0:
                    report(done, None)
        if not count:
            raise UsageError("export: there is no row.")
        check_names("export", names)
        target.rmdir()
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return count


def labelled(rows: Any, columns: Mapping[str, str]) -> Iterator[tuple[Any, str]]:
    """Give (image, class name) of rows as people have them: see `export`."""
    image: Any = 0
    label: Any = 1
    features, names = getattr(rows, "features", None), getattr(rows, "classes", None)
    if isinstance(features, Mapping):
        image, label = (_column(features, *one, columns) for one in (("path", "Image"), ("class_name", "ClassLabel")))
        names = getattr(features[label], "names", None)
    for row in rows:
        if not isinstance(row, Mapping) and (not isinstance(row, tuple | list) or len(row) != 2):
            raise UsageError(f"export: a row must be an image and its class's name, not {type(row).__name__}.")
        found = row[label]
        if not isinstance(found, str):
            found = str(int(found)) if names is None else names[int(found)]
        yield row[image], found


def _column(features: Mapping[str, Any], role: str, kind: str, columns: Mapping[str, str]) -> str:
    found = [columns[role]] if role in columns else [key for key, one in features.items() if type(one).__name__ == kind]
    if len(found) != 1 or found[0] not in features:
        raise UsageError(
            f"{' and '.join(map(repr, found)) or 'no column'} may be the {role}; the data set has "
            f"{', '.join(features)}. Say `columns: {{{role}: ...}}`."
        )
    return found[0]


def _folder_name(name: object) -> str:
    text = name if isinstance(name, str) else ""
    seen = text.strip() and text.isprintable() and text[0] != "." and text not in JUNK_FOLDERS
    if not seen or set(text) & set("/\\") or len(text.encode()) > 255:
        raise UsageError(f"export: no folder can be called {name!r}. Give its rows another class name.")
    return text


def _encoded(image: Any) -> tuple[str, bytes]:
    """Return a picture's ending and the bytes of its file."""
    from PIL import Image

    if isinstance(image, str | PathLike):
        return Path(image).suffix.lower(), Path(image).read_bytes()
    if not isinstance(image, Image.Image):
        image = _from_array(image)
    if is_deep(image):
        image = to_bytes(image)
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    image.save(file := io.BytesIO(), "PPM")
    return ".pgm" if image.mode == "L" else ".ppm", file.getvalue()


def _from_array(values: Any) -> Any:
    import numpy as np
    from PIL import Image

    tensor = hasattr(values, "detach")
    array = np.asarray(values.detach().cpu() if tensor else values)
    if tensor and array.ndim == 3:
        array = array.transpose(1, 2, 0)
    if tensor and array.dtype.kind == "f":
        array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim < 2 or array.shape[2:] not in ((), (3,)) or array.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"export: {array.dtype} of shape {array.shape} is no image of bytes, (H, W) or (H, W, 3).")
    return Image.fromarray(array)


def cached(description: Mapping[str, Any], store: Path) -> Path:
    """Return the folder where a library's data set is, or will be, under the root."""
    kind = "torchvision" if "torchvision" in description else "hf"
    name = str(description[kind])
    told = json.dumps([name, description.get("columns") or {}], sort_keys=True)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(name).name if Path(name).exists() else name).strip("-.")
    return store / kind / f"{plain}-{hashlib.sha256(told.encode()).hexdigest()[:8]}" / "images"


def is_written(spec: str | Mapping[str, Any], store: Path) -> bool:
    """Whether no library needs to fetch a data set before it can be read."""
    if isinstance(spec, str) or not spec.keys() & {"torchvision", "hf"}:
        return True
    folder = cached(spec, store)
    return folder.is_dir() and any(folder.iterdir())


def fetched(description: Mapping[str, Any], store: Path) -> Path:
    """Return the folder of a library's data set; where it is not there, let the library fetch it and write it."""
    folder = cached(description, store)
    if is_written(description, store):
        return folder
    get = _torchvision if "torchvision" in description else _hugging_face
    name = str(description.get("torchvision", description.get("hf")))
    try:
        export(get(name, folder.parent / "source"), folder, columns=description.get("columns"))
    except UsageError:
        if not is_written(description, store):  # else another process was faster
            raise
    except Exception as error:
        # The libraries pass on what the network, the disk and their own checks raise; each means the same to the user.
        raise UsageError(f"data set {name!r}: cannot be had: {type(error).__name__}: {error}") from error
    return folder


def _torchvision(name: str, source: Path) -> dict[str, Any]:
    import torchvision.datasets

    known = [one for one in torchvision.datasets.__all__ if inspect.isclass(getattr(torchvision.datasets, one))]
    check_known("data set of torchvision", [name], known)
    make: Any = getattr(torchvision.datasets, name)
    takes = inspect.signature(make).parameters
    options: dict[str, Any] = {"download": True} if "download" in takes else {}
    source.mkdir(parents=True, exist_ok=True)
    if "train" in takes:
        return {part: make(str(source), train=part == "train", **options) for part in ("train", "test")}
    if "split" not in takes:
        return {"train": make(str(source), **options)}
    parts: dict[str, Any] = {}
    for word, part in {**PART_NAMES, "trainval": "train"}.items():
        if part not in parts:
            with suppress(ValueError):  # it has no part of that name
                parts[part] = make(str(source), split=word, **options)
    return parts


def _hugging_face(name: str, source: Path) -> dict[str, Any]:
    if importlib.util.find_spec("datasets") is None:
        raise UsageError("a data set of Hugging Face needs the package: pip install 'lamm_cl[hf]'.")
    import datasets

    found = datasets.load_dataset(name, cache_dir=str(source))
    parts = {PART_NAMES.get(str(split).lower(), ""): rows for split, rows in found.items()}
    if "" in parts or len(parts) < len(found):
        have = ", ".join(map(str, found))
        raise UsageError(f"data set {name!r}: has the parts {have}; train, val and test expected.")
    return parts
