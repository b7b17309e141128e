"""ImageNet's validation images as its archive has them, without class folders: sorted by the labels of the devkit."""

import csv
import io
import re
import tarfile
from pathlib import Path
from typing import Any

from lamm_cl.data.images import show
from lamm_cl.errors import UsageError

DEVKIT = "ILSVRC2012_devkit_t12"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
KAGGLE = "LOC_val_solution.csv"
_FLAT = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


def flat_images(folder: Path) -> list[str]:
    """Return the names of the validation images that lie in no class folder."""
    return sorted(path.name for path in folder.iterdir() if _FLAT.fullmatch(path.name)) if folder.is_dir() else []


def what_to_do(folder: Path) -> str:
    """Say what flat validation images are and how to sort them.

    Args:
        folder: ImageNet's folder, which holds images/val.
    """
    place = folder / "images"
    try:
        labels = f"the labels are in {_where(folder)[1]}"
    except UsageError as error:
        labels = str(error)
    return (
        f"{show(str(place / 'val'))} holds ImageNet's validation images as the archive has them, not in class folders: "
        f"`lamm-cl data prepare imagenet --root {folder.parent} --fix` sorts them ({labels.rstrip('.')})."
    )


def sort_images(folder: Path) -> int:
    """Move every flat validation image into the folder of its class; may be repeated after a kill. Returns how many.

    Raises:
        UsageError: there is no list of labels, or not one for these images; nothing is moved then.
    """
    val = folder / "images" / "val"
    names, wnids = flat_images(val), labels_of(folder)
    if names and int(names[-1][15:23]) > len(wnids):
        raise UsageError(f"{_where(folder)[1]} has {len(wnids):,} labels, none for {names[-1]}.")
    for name in names:
        place = val / wnids[int(name[15:23]) - 1]
        place.mkdir(exist_ok=True)
        (val / name).rename(place / name)
    return len(names)


def labels_of(folder: Path) -> list[str]:
    """Return the WordNet ids of the validation images 1, 2, ..., from the devkit or Kaggle's list.

    Raises:
        UsageError: neither is there, or it cannot be read.
    """
    kind, path = _where(folder)
    try:
        if kind == KAGGLE:
            with path.open(encoding="utf-8", newline="") as file:
                found = {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}
            wnids = [found[name] for name in sorted(found)]
        else:
            truth, meta = (_member(path, name) for name in (TRUTH, "meta.mat"))
            wnid_of = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in _synsets(meta)}
            wnids = [wnid_of[int(line)] for line in truth.split()]
    except Exception as error:
        # scipy raises whatever its parser stumbles over; every kind means a damaged file.
        raise UsageError(f"{path}: does not hold the labels that it should: {error!r}. Fetch it again.") from None
    if not all(re.fullmatch(r"n\d{8}", wnid) for wnid in wnids):
        raise UsageError(f"{path}: does not hold WordNet ids. Fetch it again.")
    return wnids


def _where(folder: Path) -> tuple[str, Path]:
    for place in (folder / "images", folder, folder / "images" / "val"):
        for name in (f"{DEVKIT}.tar.gz", DEVKIT, KAGGLE):
            if (place / name).exists():
                return name, place / name
    raise UsageError(
        f"the labels come with the devkit, which is not there: put {DEVKIT}.tar.gz from https://image-net.org "
        f"(registration), or Kaggle's {KAGGLE}, into {folder / 'images'}."
    )


def _member(devkit: Path, name: str) -> bytes:
    if devkit.is_dir():
        return (devkit / "data" / name).read_bytes()
    with tarfile.open(devkit, "r:*") as tar:
        file = tar.extractfile(f"{DEVKIT}/data/{name}")
        if file is None:
            raise KeyError(name)
        return file.read()


def _synsets(meta: bytes) -> Any:
    from scipy.io import loadmat

    return loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
