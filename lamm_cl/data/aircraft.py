"""FGVCAircraft, read from the lists that come with it."""

from pathlib import Path

from lamm_cl.data.items import PARTS, Item
from lamm_cl.data.split_file import Parts
from lamm_cl.errors import UsageError

AIRCRAFT_LISTS = ("variants.txt", *(f"images_variant_{part}.txt" for part in PARTS))


def read_aircraft(folder: Path, images: str) -> Parts:
    """Return the parts of `images_variant_{train,val,test}.txt`; labels count the lines of `variants.txt`.

    Raises:
        UsageError: a list is missing or a line is none of theirs.
    """
    labels = {name: label for label, name in enumerate(_lines(folder / "variants.txt"))}
    parts: Parts = {}
    for part in PARTS:
        path = folder / f"images_variant_{part}.txt"
        items = []
        for number, line in enumerate(_lines(path), start=1):
            image, _, name = line.partition(" ")
            if name not in labels or not image.isalnum():
                raise UsageError(
                    f"{path}, line {number}: expected an image number and one of the {len(labels)} names in "
                    f"variants.txt, found {line!r}."
                )
            items.append(Item(f"{images}/{image}.jpg", labels[name], name))
        parts[part] = tuple(items)
    return parts


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}. `lamm-cl data prepare fgvc_aircraft` fetches the lists."
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not valid UTF-8 (byte {error.start}). Fetch the file again.") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
