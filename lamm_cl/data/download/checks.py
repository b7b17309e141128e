"""Whether a list that was fetched holds what the papers' does: Drive answers some requests with a web page."""

import hashlib
import json
from pathlib import Path

from lamm_cl.data.entry import Entry
from lamm_cl.data.imagenet import parse_class_names
from lamm_cl.data.items import PARTS
from lamm_cl.data.load import judge
from lamm_cl.data.split_file import read_split
from lamm_cl.errors import UsageError

# Of CoOp's list: its lines with single spaces, joined by line feeds.
CLASS_NAMES_SHA256 = "51b5b1d8b800502030c5556eb206abaafdd682ef363ff7a7077591ea3c9befa5"
FLOWERS = 102


def check_split(entry: Entry, path: Path) -> str:
    """Say what is wrong with a split file, "" where it is the papers'; by its sizes where nothing more is known."""
    try:
        dataset = judge(entry, read_split(path, str(path.parent)), str(path.parent))
    except UsageError as error:
        return str(error)
    sizes = tuple(len(getattr(dataset, part)) for part in PARTS)
    if sizes != entry.sizes:
        return f"lists {sizes} images, not {entry.sizes}"
    return "is another split of their sizes" if dataset.split == "other" else ""


def check_class_names(path: Path) -> str:
    """Say what is wrong with ImageNet's `classnames.txt`."""
    try:
        names = parse_class_names(path)
    except UsageError as error:
        return str(error)
    text = "\n".join(f"{wnid} {name}" for wnid, name in names.items())
    same = hashlib.sha256(text.encode()).hexdigest() == CLASS_NAMES_SHA256
    return "" if same else f"its {len(names)} names are not CoOp's 1000"


def check_flower_names(path: Path) -> str:
    """Say what is wrong with the names of the flowers: one for each of the numbers 1 to 102."""
    try:
        names = json.loads(path.read_bytes())
        right = set(names) == {str(number) for number in range(1, FLOWERS + 1)} and len(set(names.values())) == FLOWERS
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        return f"is not JSON of names by number: {error!r}"
    return "" if right else "does not name the flowers 1 to 102"
