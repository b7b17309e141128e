"""The data sets that lamm_cl knows by name: where CoOp keeps them, how large they are, how they are prompted.

Folder layouts, class names, templates and sizes are those of CoOp (Zhou et al., "Learning to Prompt for
Vision-Language Models", IJCV 2022, Table 8 and its DATASETS.md), which the papers of this family share. CIFAR-100 and
MNIST, which only MTIL and X-TAIL use, have torchvision's class names and the first template of MTIL's code (Zheng et
al., "Preventing Zero-Shot Transfer Degradation in Continual Learning of Vision-Language Models", ICCV 2023).

The subsets are those of papers on class-incremental learning with CLIP: `setting-a` is RAPF (Huang et al., ECCV 2024),
`setting-b` PROOF (Zhou et al., TPAMI 2025), and `vtab50` SimpleCIL (Zhou et al., IJCV 2024). Their numbers of images
are as reported. Checked: the test sizes of Cars, UCF, Food, ImageNet-R and ObjectNet, of which the accuracies in the
logs of PROOF's code are fractions, and ImageNet-R of Setting A, whose list has 30,001 lines. Not checked: the other
test sizes and the training sizes of `setting-b`, `vtab50`, `imagenet100`, and that RAPF's CUB-200 is as its makers
divide it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lamm_cl.data.embedded import DIGIT_NAMES
from lamm_cl.data.items import SplitKind, ViewOptions
from lamm_cl.errors import unknown

Reader = Literal["split_file", "aircraft", "imagenet", "imagenet_variant", "part_folders", "subset", "embedded"]
OwnSplit = Literal["folders", "pets", "cars", "flowers", "scenes"]


@dataclass(frozen=True)
class Entry:
    """One data set of the catalogue.

    Attributes:
        name, title: what configs and commands, and what tables call it.
        folder: its folder under the root.
        sizes: number of train, val and test images; where val and test are the same (ImageNet), both say so.
        images: the folder, inside `folder`, that paths in the split start from.
        reader: how its split is read.
        split_file: the papers' split, inside `folder`.
        own_split: how a split is made here where the papers' is missing.
        ignored, renamed: class folders that the papers leave out or call otherwise.
        template: the papers' prompt, `{}` stands for the class name.
        licence: what its makers allow, in short; read theirs before use.
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


__all__ = ["CATALOGUE", "Entry", "find"]

# Mirrored or closely cropped digits and letters are other symbols, or none.
SYMBOLS = ViewOptions(scale=(0.6, 1.0), flip=False)
RESEARCH = "non-commercial research and education only"
PROOF = "https://github.com/zhoudw-zdw/PROOF (its README names the archive)"
PHOTOGRAPHERS = "images belong to their photographers; research use"
FOODSPOTTING = "images belong to Foodspotting and its users; scientific fair use"
VIDEOS = "videos belong to their makers; research use"
AIRCRAFT, FOOD = "a photo of a {}, a type of aircraft.", "a photo of {}, a type of food."
ACTION = "a photo of a person doing {}."


def _subset(name: str, about: tuple[str, int, int, int], **more: Any) -> Entry:
    """Return the entry of a subset; `about`: title, classes, and training and test images."""
    title, classes, train, test = about
    more = {"source": PROOF, "licence": RESEARCH, **more}
    return Entry(name, title, name, classes, (train, 0, test), images="", reader="subset", **more)


_ENTRIES = (
    Entry(
        *("imagenet", "ImageNet", "imagenet", 1000, (1_281_167, 50_000, 50_000)),
        reader="imagenet",
        repeated_names=True,
        source="https://image-net.org (registration)",
        licence=RESEARCH,
        aliases=("imagenet1k", "ilsvrc2012", "ilsvrc"),
    ),
    Entry(
        *("caltech101", "Caltech101", "caltech-101", 100, (4128, 1649, 2465)),
        images="101_ObjectCategories",
        split_file="split_zhou_Caltech101.json",
        fingerprint="a379dc8af3ec17da166baaa5260a1295faf70f721638879dcee422e47d1f4f7b",
        ignored=("BACKGROUND_Google", "Faces_easy"),
        renamed={"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"},
        source="https://data.caltech.edu/records/mzrjq-6wc02",
        licence="CC BY 4.0",
    ),
    Entry(
        *("oxford_pets", "OxfordPets", "oxford_pets", 37, (2944, 736, 3669)),
        split_file="split_zhou_OxfordPets.json",
        fingerprint="82f666eb422232150491f44fd9436c73f0d6b2206a5d9889657292047ae08060",
        own_split="pets",
        template="a photo of a {}, a type of pet.",
        source="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        licence="CC BY-SA 4.0",
        aliases=("pets", "oxfordiiitpet"),
    ),
    Entry(
        *("stanford_cars", "StanfordCars", "stanford_cars", 196, (6509, 1635, 8041)),
        images="",
        split_file="split_zhou_StanfordCars.json",
        fingerprint="e425e494be7b73d0ae7493d17bdc5ad1f5ee73a0aad545b1c92f5d7972f7134b",
        own_split="cars",
        source="https://ai.stanford.edu/~jkrause/cars/car_dataset.html (gone since 2023)",
        licence=RESEARCH,
        aliases=("cars", "cars196"),
    ),
    Entry(
        *("oxford_flowers", "Flowers102", "oxford_flowers", 102, (4093, 1633, 2463)),
        images="jpg",
        split_file="split_zhou_OxfordFlowers.json",
        fingerprint="0957c22340328ad17ff162a3ff33911d1813fa16970ce7ef4bdf78f73a6dc293",
        own_split="flowers",
        template="a photo of a {}, a type of flower.",
        source="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        licence=PHOTOGRAPHERS,
        aliases=("flowers", "flowers102", "oxfordflowers102"),
    ),
    Entry(
        *("food101", "Food101", "food-101", 101, (50_500, 20_200, 30_300)),
        split_file="split_zhou_Food101.json",
        template=FOOD,
        source="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        licence=FOODSPOTTING,
        aliases=("food",),
    ),
    Entry(
        *("fgvc_aircraft", "FGVCAircraft", "fgvc_aircraft", 100, (3334, 3333, 3333)),
        reader="aircraft",
        template=AIRCRAFT,
        source="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
        licence=RESEARCH,
        aliases=("fgvc", "aircraft"),
    ),
    Entry(
        *("sun397", "SUN397", "sun397", 397, (15_880, 3970, 19_850)),
        images="SUN397",
        split_file="split_zhou_SUN397.json",
        own_split="scenes",
        source="https://vision.princeton.edu/projects/2010/SUN/ (gone since 2025)",
        licence=PHOTOGRAPHERS,
        aliases=("sun",),
    ),
    Entry(
        *("dtd", "DTD", "dtd", 47, (2820, 1128, 1692)),
        split_file="split_zhou_DescribableTextures.json",
        fingerprint="cbccb4f5399458008e3dd53273f89ea765748fc7dd54989f35a13879f33cb59d",
        template="{} texture.",
        source="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        licence=PHOTOGRAPHERS,
        aliases=("describabletextures", "textures"),
    ),
    Entry(
        *("eurosat", "EuroSAT", "eurosat", 10, (13_500, 5400, 8100)),
        images="2750",
        split_file="split_zhou_EuroSAT.json",
        fingerprint="f2aeecb6fde6389f152da1f2447255b078beaaec19b920a2916ea3e355255ca5",
        renamed={
            "AnnualCrop": "Annual Crop Land",
            "HerbaceousVegetation": "Herbaceous Vegetation Land",
            "Highway": "Highway or Road",
            "Industrial": "Industrial Buildings",
            "Pasture": "Pasture Land",
            "PermanentCrop": "Permanent Crop Land",
            "Residential": "Residential Buildings",
            "SeaLake": "Sea or Lake",
        },
        template="a centered satellite photo of {}.",
        source="https://github.com/phelber/EuroSAT",
        licence="MIT; contains modified Copernicus Sentinel data",
    ),
    Entry(
        *("ucf101", "UCF101", "ucf101", 101, (7639, 1898, 3783)),
        images="UCF-101-midframes",
        split_file="split_zhou_UCF101.json",
        fingerprint="5e52ed945ebdcc94b28bb08e97bc24057d2c33363826907aa6861d20a2af2d50",
        template=ACTION,
        source="https://www.crcv.ucf.edu/data/UCF101.php",
        licence=VIDEOS,
        aliases=("ucf",),
    ),
    Entry(
        *("imagenetv2", "ImageNetV2", "imagenetv2", 1000, (0, 0, 10_000)),
        images="imagenetv2-matched-frequency-format-val",
        reader="imagenet_variant",
        repeated_names=True,
        source="https://github.com/modestyachts/ImageNetV2",
        licence="MIT (collection); images belong to their photographers",
    ),
    Entry(
        *("imagenet_sketch", "ImageNet-Sketch", "imagenet-sketch", 1000, (0, 0, 50_889)),
        reader="imagenet_variant",
        repeated_names=True,
        source="https://github.com/HaohanWang/ImageNet-Sketch",
        licence="MIT (collection); images belong to their makers",
        aliases=("imagenets",),
    ),
    Entry(
        *("imagenet_a", "ImageNet-A", "imagenet-adversarial", 200, (0, 0, 7500)),
        images="imagenet-a",
        reader="imagenet_variant",
        source="https://github.com/hendrycks/natural-adv-examples",
        licence="MIT (collection); images belong to their photographers",
    ),
    Entry(
        *("imagenet_r", "ImageNet-R", "imagenet-rendition", 200, (0, 0, 30_000)),
        images="imagenet-r",
        reader="imagenet_variant",
        source="https://github.com/hendrycks/imagenet-r",
        licence="MIT (collection); images belong to their makers",
    ),
    Entry(
        *("cifar100", "CIFAR100", "cifar100", 100, (50_000, 0, 10_000)),
        reader="part_folders",
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="none stated; research use",
        telling=("aquarium_fish", "sweet_pepper", "willow_tree"),
    ),
    Entry(
        *("mnist", "MNIST", "mnist", 10, (60_000, 0, 10_000)),
        reader="part_folders",
        renamed={str(digit): f"{digit} - {name}" for digit, name in enumerate(DIGIT_NAMES)},
        template='a photo of the number: "{}".',
        source="http://yann.lecun.com/exdb/mnist/",
        licence="CC BY-SA 3.0",
        views=SYMBOLS,
    ),
    # Subsets, each in the user's own train/ and val/ or test/.
    _subset(
        "imagenet100",
        ("ImageNet-100", 100, 129_395, 5000),
        telling=("n01440764", "n01491361", "n01496331"),
        source="the first 100 WordNet ids of ImageNet's train/ and val/",
    ),
    _subset(
        "imagenet_r200",
        ("ImageNet-R (200, train and test)", 200, 24_000, 6001),
        telling=("n12267677", "n10565667", "n07920052"),
        source=f"{PROOF}; Setting A: imgr_split/ in https://github.com/linlany/RAPF",
        licence="MIT (collection); images belong to their makers",
        settings={"setting-a": (24_000, 0, 6001), "setting-b": (24_000, 0, 6000)},
        train_list=("setting-a", "2e6e4c6dd3fd465bc876119a63c999f29de66e06bff8d570849eee3b876e8f57"),
    ),
    _subset(
        "cub200",
        ("CUB-200", 200, 5994, 5794),
        telling=("Black_footed_Albatross", "Groove_billed_Ani", "Common_Yellowthroat"),
        template="a photo of a {}, a type of bird.",
        source=f"{PROOF}; Setting A: https://www.vision.caltech.edu/datasets/cub_200_2011/, read as it is",
        aliases=("cub",),
        settings={"setting-a": (5994, 0, 5794), "setting-b": (9430, 0, 2358)},
    ),
    _subset(
        "objectnet200",
        ("ObjectNet (200)", 200, 26_509, 6628),
        telling=("air_freshener", "alarm_clock", "baking_sheet"),
        licence="CC BY 4.0, and no training on it; read its terms",
        aliases=("objectnet",),
    ),
    _subset(
        "fgvc_aircraft100",
        ("Aircraft-100", 100, 6667, 3333),
        telling=("727-200", "Tu-134", "Yak-42"),
        template=AIRCRAFT,
        aliases=("aircraft100",),
    ),
    _subset(
        "stanford_cars100",
        ("Cars-100", 100, 4135, 4083),
        telling=("Acura RL Sedan 2012", "Acura TL Sedan 2012", "Acura TSX Sedan 2012"),
        aliases=("cars100",),
    ),
    _subset(
        "food101_100",
        ("Food-100", 100, 79_998, 20_012),
        telling=("apple_pie", "baby_back_ribs", "tiramisu"),
        template=FOOD,
        licence=FOODSPOTTING,
        aliases=("food100",),
    ),
    _subset(
        "ucf101_100",
        ("UCF-100", 100, 10_053, 2639),
        telling=("ApplyEyeMakeup", "ApplyLipstick", "BabyCrawling"),
        template=ACTION,
        licence=VIDEOS,
        aliases=("ucf100",),
    ),
    _subset(
        "sun397_300",
        ("SUN-300", 300, 72_870, 18_179),
        telling=("abbey", "amusement_park", "anechoic_chamber"),
        licence=PHOTOGRAPHERS,
        aliases=("sun300",),
    ),
    _subset(
        "vtab50",
        ("VTAB-50", 50, 1796, 8619),
        source="https://github.com/LAMDA-CL/LAMDA-PILOT (its README names the archive)",
        licence="those of its five data sets",
        aliases=("vtab",),
    ),
    Entry(
        *("digits", "Digits", "", 10, (718, 180, 899)),
        images="",
        reader="embedded",
        source="scikit-learn, from the UCI optical recognition of handwritten digits set",
        licence="CC BY 4.0",
        views=SYMBOLS,
    ),
    Entry(
        *("glyphs", "Glyphs (synthetic)", "", 60, (2400, 600, 2400)),
        images="",
        reader="embedded",
        source="drawn by lamm_cl.data.glyphs",
        licence="MIT",
        views=SYMBOLS,
        synthetic=True,
    ),
)

CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def find(name: object) -> Entry:
    """Return the entry of a name, title, folder or alias, in any spelling of case, `-`, `_` and space.

    Raises:
        UsageError: no such data set; names the nearest and all.
    """
    entry = _SPELLINGS.get(_plain(str(name)))
    if entry is None:
        raise unknown("data set", name, CATALOGUE)
    return entry


def called_so(entry: Entry, name: str) -> bool:
    """Whether a folder's name is a spelling of a data set, or begins with one of its and is none of another's."""
    plain = _plain(name)
    if plain in _SPELLINGS:
        return _SPELLINGS[plain] is entry
    mine = [spelling for spelling, one in _SPELLINGS.items() if one is entry and plain.startswith(spelling)]
    others = [spelling for spelling, one in _SPELLINGS.items() if one is not entry and plain.startswith(spelling)]
    return max(map(len, mine), default=0) > max(map(len, others), default=0)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter not in "-_ ")


_SPELLINGS = {
    _plain(spelling): entry
    for entry in _ENTRIES
    for spelling in (entry.name, entry.title, *filter(None, [entry.folder]), *entry.aliases)
}
