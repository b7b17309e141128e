"""The data sets that lamm_cl knows by name: where CoOp keeps them, how large they are, how they are prompted.

Folder layouts, class names, templates and sizes are those of CoOp (Zhou et al., "Learning to Prompt for
Vision-Language Models", IJCV 2022, Table 8 and its DATASETS.md), which the papers of this family share. CIFAR-100 and
MNIST, which only MTIL and X-TAIL use, have torchvision's class names and the first template of MTIL's code (Zheng et
al., "Preventing Zero-Shot Transfer Degradation in Continual Learning of Vision-Language Models", ICCV 2023).

The subsets are those of papers on class-incremental learning with CLIP: `setting-a` is RAPF (Huang et al., ECCV 2024),
`setting-b` PROOF (Zhou et al., TPAMI 2025), and `vtab50` SimpleCIL (Zhou et al., IJCV 2024). The README says which of
their numbers were checked. RAPF's list of ImageNet-R was read; that its CUB-200 is as the makers divide it was not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal

import yaml

from lamm_cl.data.items import SplitKind, ViewOptions
from lamm_cl.errors import unknown

Reader = Literal["split_file", "aircraft", "imagenet", "imagenet_variant", "part_folders", "subset", "embedded"]
OwnSplit = Literal["folders", "pets", "cars", "flowers", "scenes"]


@dataclass(frozen=True)
class Source:
    """What `lamm-cl data prepare` brings: a file, pictures that come as arrays of pixels, or what is got by hand."""

    url: str = ""  # or `drive:ID`; "" for an archive that must be fetched by hand and is unpacked where it lies
    name: str = ""  # what it is called in the data set's folder, where its address does not end so
    md5: str = ""  # "" where none is published
    moves: Mapping[str, str] = field(default_factory=dict)  # for an archive, what goes where (see `unpack.unpack`)
    by_hand: str = ""  # what a user can do when the address is dead
    beside: str = ""  # another place where the readers find it, from the data set's folder
    optional: str = ""  # what it is good for, where no reader of the papers' split needs it: it is not fetched
    text: str = ""  # what to do for that which no program may or can fetch
    read: str = ""  # which of `unpack.READERS` reads the arrays in `files`, of which every picture becomes a file
    files: tuple["Source", ...] = ()
    made: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """What it is called in the data set's folder."""
        return self.name or self.url.rpartition("/")[2]

    @property
    def makes(self) -> tuple[str, ...]:
        """The paths, in the data set's folder, whose presence says that this is not needed any more."""
        return self.made or tuple(self.moves.values()) or (self.file,)


@dataclass(frozen=True)
class Entry:
    """One data set of the catalogue."""

    name: str  # what configs and commands call it
    title: str  # what tables call it
    folder: str  # under the root
    classes: int
    sizes: tuple[int, int, int]  # train, val and test images; where val and test are the same (ImageNet), both say so
    images: str = "images"  # the folder, inside `folder`, that paths in the split start from
    reader: Reader = "split_file"
    split_file: str = ""  # the papers' split, inside `folder`
    own_split: OwnSplit = "folders"  # how a split is made here where the papers' is missing
    ignored: tuple[str, ...] = ()  # class folders that the papers leave out
    renamed: Mapping[str, str] = field(default_factory=dict)  # class folders that the papers call otherwise
    template: str = "a photo of a {}."  # the papers' prompt, `{}` stands for the class name
    source: str = ""
    licence: str = ""  # what its makers allow, in short; read theirs before use
    aliases: tuple[str, ...] = ()
    views: ViewOptions = field(default_factory=ViewOptions)
    synthetic: bool = False  # drawn by code
    repeated_names: bool = False  # two classes share a name in the papers' list (ImageNet's "missile", "sunglasses")
    fingerprint: str = ""  # `Dataset.fingerprint` of the papers' split, "" where it is not known
    # Of a subset that papers split in several ways, the sizes of each by its setting; `sizes` is the first.
    settings: Mapping[SplitKind, tuple[int, int, int]] = field(default_factory=dict)
    # The setting whose training files are known, and the SHA-256 of their paths in `train/`, sorted, joined by "\n".
    train_list: tuple[SplitKind | None, str] = (None, "")
    telling: tuple[str, ...] = ()  # some of its class folders; those of another data set have not all of them
    files: tuple[Source, ...] = ()  # where it comes from, and where it goes in CoOp's layout

    @property
    def embedded(self) -> bool:
        """Whether it needs no file of the user's."""
        return self.reader == "embedded"


def _read() -> dict[str, Entry]:
    text = files(__package__).joinpath("catalogue.yaml").read_bytes()
    said = _without_lists(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))  # the fast one, if compiled
    for name, entry in said.items():
        entry["views"] = ViewOptions(**entry.get("views", {}))
        entry["files"] = _sources(entry.get("files", ()))
        if entry.get("reader") == "subset" and not entry["files"]:
            how = (
                f"Get {entry['source']}, and put train/ and test/ (or val/), each with one folder per class, into "
                f"{{folder}}. Where they lie elsewhere, a config can say `{{{{name: {name}, folder: PATH}}}}`."
            )
            entry["files"] = (Source(text=how, made=("train",)),)
    return {name: Entry(name, **{"folder": name, **entry}) for name, entry in said.items()}


def _sources(said: tuple[dict[str, Any], ...]) -> tuple[Source, ...]:
    return tuple(Source(**{**one, "files": _sources(one.get("files", ()))}) for one in said)


def _without_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_lists(item) for key, item in value.items()}
    return tuple(map(_without_lists, value)) if isinstance(value, list) else value


CATALOGUE: dict[str, Entry] = _read()


def find(name: object) -> Entry:
    """Return the entry of a name, title, folder or alias, in any spelling of case, `-`, `_` and space, or raise."""
    if entry := _SPELLINGS.get(_plain(str(name))):
        return entry
    raise unknown("data set", name, CATALOGUE)


def called_so(entry: Entry, name: str) -> bool:
    """Whether the longest spelling of any data set that a folder's name is, or begins with, is one of this."""
    longest = max(filter(_plain(name).startswith, _SPELLINGS), key=len, default="")
    return _SPELLINGS.get(longest) is entry


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter not in "-_ ")


_SPELLINGS = {
    _plain(spelling): entry
    for entry in CATALOGUE.values()
    for spelling in (entry.name, entry.title, entry.folder, *entry.aliases)
    if spelling
}
