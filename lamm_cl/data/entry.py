"""What the catalogue says of a data set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lamm_cl.data.items import SplitKind, ViewOptions

Reader = Literal["split_file", "aircraft", "imagenet", "imagenet_variant", "part_folders", "subset", "embedded"]
OwnSplit = Literal["folders", "pets", "cars", "flowers", "scenes"]


@dataclass(frozen=True)
class Entry:
    """One data set of the catalogue.

    Attributes:
        name: what configs and commands call it.
        title: what tables call it.
        folder: its folder under the root.
        classes: number of classes.
        sizes: number of train, val and test images; where val and test are the same images (ImageNet), both
            say so.
        images: the folder, inside `folder`, that paths in the split start from.
        reader: how its split is read.
        split_file: the papers' split, inside `folder`.
        own_split: how a split is made here where the papers' is missing.
        ignored, renamed: class folders that the papers leave out or call otherwise.
        template: the papers' prompt, `{}` stands for the class name.
        source: where it comes from.
        licence: what its makers allow, in short; read theirs before use.
        aliases: other spellings.
        views: how training views are drawn.
        synthetic: drawn by code.
        repeated_names: two classes share a name in the papers' list (ImageNet's "missile" and "sunglasses").
        fingerprint: `Dataset.fingerprint` of the papers' split, "" where it is not known.
        settings: of a subset that papers split in several ways under one name, the sizes of each by its setting;
            `sizes` is the first of them.
        train_list: the setting whose training files are known, and the SHA-256 of their paths in `train/`, sorted and
            joined by line feeds.
        telling: some of its class folders; those of another data set have not all of them.
    """

    name: str
    title: str
    folder: str
    classes: int
    sizes: tuple[int, int, int]
    images: str = "images"
    reader: Reader = "split_file"
    split_file: str = ""
    own_split: OwnSplit = "folders"
    ignored: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    template: str = "a photo of a {}."
    source: str = ""
    licence: str = ""
    aliases: tuple[str, ...] = ()
    views: ViewOptions = field(default_factory=ViewOptions)
    synthetic: bool = False
    repeated_names: bool = False
    fingerprint: str = ""
    settings: Mapping[SplitKind, tuple[int, int, int]] = field(default_factory=dict)
    train_list: tuple[SplitKind | None, str] = (None, "")
    telling: tuple[str, ...] = ()

    @property
    def embedded(self) -> bool:
        """Whether it needs no file of the user's."""
        return self.reader == "embedded"
