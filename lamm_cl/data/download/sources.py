"""Where each data set's files come from, and where they go in CoOp's layout.

Addresses and checksums of images are torchvision's, or the makers' own; split files and ImageNet's class names are the
papers' on Google Drive (CoOp's DATASETS.md). No checksum is published for those and for some archives (md5 ""): lists
are checked by what they hold, an archive must unpack. Only what a reader reads is fetched.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lamm_cl.data.catalogue import CATALOGUE
from lamm_cl.data.download.unpack import MNIST_FILES, Reader, read_cifar, read_mnist
from lamm_cl.data.imagenet import check_class_names
from lamm_cl.data.splits import AIRCRAFT_LISTS, check_flower_names


@dataclass(frozen=True)
class Source:
    """One file to fetch.

    Attributes:
        url: its address, or `drive:ID`; "" for an archive that must be fetched by hand and is unpacked where it lies.
        name: what it is called in the data set's folder, where its address does not end so.
        md5: its checksum, "" where none is published.
        moves: for an archive, what goes where (see `unpack.unpack`).
        by_hand: what a user can do when the address is dead.
        check: says what is wrong with what the file holds, "" where nothing is.
        beside: another place where the readers find it, from the data set's folder.
        optional: what it is good for, where no reader of the papers' split needs it: it is not fetched.
    """

    url: str
    name: str = ""
    md5: str = ""
    moves: dict[str, str] = field(default_factory=dict)
    by_hand: str = ""
    check: Callable[[Path], str] = lambda path: ""
    beside: str = ""
    optional: str = ""

    @property
    def file(self) -> str:
        """What it is called in the data set's folder."""
        return self.name or self.url.rpartition("/")[2]

    @property
    def files(self) -> tuple["Source", ...]:
        """The files to fetch: this one."""
        return (self,)

    @property
    def makes(self) -> tuple[str, ...]:
        """The paths, in the data set's folder, whose presence says that this file is not needed any more."""
        return tuple(self.moves.values()) if self.moves else (self.file,)


@dataclass(frozen=True)
class ByHand:
    """Something that may not or cannot be fetched by a program: what to get, and what must be there then.

    Attributes:
        text: what to do.
        makes: as in `Source`.
        archives: which of it is unpacked when it lies in the data set's folder.
    """

    text: str
    makes: tuple[str, ...]
    archives: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Arrays:
    """Pictures that come as arrays of pixels, in one or more files; every picture becomes a file."""

    read: Reader
    files: tuple[Source, ...]
    makes: tuple[str, ...] = ("images/train", "images/test")


def _same(name: str) -> dict[str, str]:
    return {name: name}


VGG = "https://www.robots.ox.ac.uk/~vgg/data"
HUB = "https://huggingface.co/datasets"
CIFAR = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
BERKELEY = "https://people.eecs.berkeley.edu/~hendrycks"
CLASS_NAMES = Source(
    "drive:1-61f_ol79pViBFDG_IDlUQSwoLcn2XXF",
    "classnames.txt",
    by_hand="its lines are 'n01440764 tench' and so on",
    check=check_class_names,
    beside="../imagenet/classnames.txt",
)
FOR_AN_OWN_SPLIT = "a split of one's own where the papers' is missing"

MNIST_MD5 = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)

SOURCES: dict[str, tuple[Source | ByHand | Arrays, ...]] = {
    "imagenet": (
        CLASS_NAMES,
        ByHand(
            "Register at https://image-net.org and fetch ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and "
            "ILSVRC2012_devkit_t12.tar.gz into {folder}/images. In Python, torchvision.datasets.ImageNet("
            "'{folder}/images', split) with split 'train' and then 'val' unpacks them into train/ and val/, one folder "
            "per WordNet id.",
            ("images/train", "images/val"),
        ),
    ),
    "caltech101": (
        Source(
            "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
            md5="3138e1922a9193bfa496528edbbc45d0",
            moves={"caltech-101/101_ObjectCategories.tar.gz!101_ObjectCategories": "101_ObjectCategories"},
        ),
        Source("drive:1hyarUivQE36mY6jSomru6Fjd-JzwcCzN", "split_zhou_Caltech101.json"),
    ),
    "oxford_pets": (
        Source(f"{VGG}/pets/data/images.tar.gz", md5="5c4f3ee8e5d25df40f4fd59a7f44e54c", moves=_same("images")),
        Source(
            f"{VGG}/pets/data/annotations.tar.gz",
            md5="95a8c909bbe2e81eed6a22bccdf3f68f",
            moves=_same("annotations"),
            optional="work of one's own",
        ),
        Source("drive:1501r8Ber4nNKvmlFVQZ8SeUHTcdTTEqs", "split_zhou_OxfordPets.json"),
    ),
    "stanford_cars": (
        Source("drive:1ObCFbaAgVu0I-k_Au-gIUcefirdAuizT", "split_zhou_StanfordCars.json"),
        ByHand(
            "Stanford took the images offline in 2023. Copies are named in "
            "https://github.com/pytorch/vision/issues/7545; put cars_train/ (8,144 images) and cars_test/ (8,041) into "
            "{folder}, or cars_train.tgz (md5 065e5b463ae28d29e77c1b4b166cfe61) and cars_test.tgz (md5 "
            "4ce7ebf6a94d07f1952d94dd34c4d501), and run this command again: it unpacks them.",
            ("cars_train", "cars_test"),
            (
                Source("", "cars_train.tgz", "065e5b463ae28d29e77c1b4b166cfe61", _same("cars_train")),
                Source("", "cars_test.tgz", "4ce7ebf6a94d07f1952d94dd34c4d501", _same("cars_test")),
            ),
        ),
    ),
    "oxford_flowers": (
        Source(f"{VGG}/flowers/102/102flowers.tgz", md5="52808999861908f626f3c1f4e79d11fa", moves=_same("jpg")),
        Source(f"{VGG}/flowers/102/imagelabels.mat", md5="e0620be6f572b9609742df49c70aed4d", optional=FOR_AN_OWN_SPLIT),
        Source(
            "drive:1AkcxCXeK_RCGCEC_GvmWxjcjaNhu-at0",
            "cat_to_name.json",
            check=check_flower_names,
            optional=FOR_AN_OWN_SPLIT,
        ),
        Source("drive:1Pp0sRXzZFZq15zVOzKjKBu4A9i01nozT", "split_zhou_OxfordFlowers.json"),
    ),
    "food101": (
        Source(
            "https://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
            md5="85eeb15f3717b99a5da872d97d918f87",
            moves={"food-101/images": "images"},
        ),
        Source("drive:1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl", "split_zhou_Food101.json"),
    ),
    "fgvc_aircraft": (
        Source(
            f"{VGG}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
            moves={f"fgvc-aircraft-2013b/data/{name}": name for name in ("images", *AIRCRAFT_LISTS)},
        ),
    ),
    "sun397": (
        Source(
            "http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",
            md5="8ca2778205c41d23104230ba66911c7a",
            moves=_same("SUN397"),
            by_hand="Princeton's address has answered 404 since July 2025, MIT's SUN397.tar does too (June 2026, "
            "https://github.com/pytorch/vision/issues/9348). https://opendatalab.com/OpenDataLab/SUN397 is said to be "
            "a copy (March 2026; not tried). Any copy will do that has this md5, or, as {folder}/SUN397, the files "
            "that the split names: this command checks both. Copies with folders train and test have them not",
        ),
        Source("drive:1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq", "split_zhou_SUN397.json"),
    ),
    "dtd": (
        Source(
            f"{VGG}/dtd/download/dtd-r1.0.1.tar.gz",
            md5="fff73e5086ae6bdbea199a49dfb8a4c1",
            moves={"dtd/images": "images"},
        ),
        Source("drive:1u3_QfB467jqHgNXC00UIzbLZRQCg2S7x", "split_zhou_DescribableTextures.json"),
    ),
    "eurosat": (
        Source(
            f"{HUB}/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
            md5="c8fa014336c82ac7804f0398fcb19387",
            moves=_same("2750"),
        ),
        Source("drive:1Ip7yaCWFi0eaOFUGga0lUdVi_DDQth1o", "split_zhou_EuroSAT.json"),
    ),
    "ucf101": (
        Source(
            "drive:10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O",
            "UCF-101-midframes.zip",
            moves=_same("UCF-101-midframes"),
            by_hand="or put the videos of https://www.crcv.ucf.edu/data/UCF101.php into {folder}/UCF-101 and run this "
            "command again: it takes their middle frames (with ffmpeg)",
        ),
        Source("drive:1I0S0q91hJfsV9Gf4xDIjgDq4AqBNJb1y", "split_zhou_UCF101.json"),
    ),
    "imagenetv2": (
        Source(
            f"{HUB}/vaishaal/ImageNetV2/resolve/main/imagenetv2-matched-frequency.tar.gz",
            moves=_same("imagenetv2-matched-frequency-format-val"),
        ),
        CLASS_NAMES,
    ),
    "imagenet_sketch": (
        Source(f"{HUB}/songweig/imagenet_sketch/resolve/main/data/ImageNet-Sketch.zip", moves={"sketch": "images"}),
        CLASS_NAMES,
    ),
    "imagenet_a": (
        Source(f"{BERKELEY}/imagenet-a.tar", md5="c3e55429088dc681f30d81f4726b6595", moves=_same("imagenet-a")),
        CLASS_NAMES,
    ),
    "imagenet_r": (
        Source(f"{BERKELEY}/imagenet-r.tar", md5="a61312130a589d0ca1a8fca1f2bd3337", moves=_same("imagenet-r")),
        CLASS_NAMES,
    ),
    "cifar100": (
        Arrays(
            read_cifar,
            (Source(CIFAR, md5="03b5dce01913d631647c71ecec9e9cb8"),),
        ),
    ),
    "mnist": (
        Arrays(
            read_mnist,
            tuple(
                Source(f"https://ossci-datasets.s3.amazonaws.com/mnist/{file}.gz", md5=md5)
                for file, md5 in zip(MNIST_FILES, MNIST_MD5, strict=True)
            ),
        ),
    ),
    **{
        entry.name: (
            ByHand(
                f"Get {entry.source}, and put train/ and test/ (or val/), each with one folder per class, into "
                f"{{folder}}. Where they lie elsewhere, a config can say `{{{{name: {entry.name}, folder: PATH}}}}`.",
                ("train",),
            ),
        )
        for entry in CATALOGUE.values()
        if entry.reader == "subset" and entry.name != "cub200"
    },
    "cub200": (  # as its makers divide it; what is a setting's own division in train/ and test/ stays
        Source(
            "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
            md5="97eceeb196236b17998738112f37df78",
            moves={f"CUB_200_2011/{one}": one for one in ("images", "images.txt", "train_test_split.txt")},
            by_hand=f"Setting B divides it otherwise: {CATALOGUE['cub200'].source}",
        ),
    ),
}
