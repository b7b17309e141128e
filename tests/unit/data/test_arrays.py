"""MNIST and CIFAR-100: from arrays of pixels to picture files, with small fakes of what the makers offer."""

import errno
import gzip
import importlib
import io
import shutil
import stat
import struct
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lamm_cl.data.catalogue import CATALOGUE, Source
from lamm_cl.data.download.network import DownloadError, Response
from lamm_cl.data.download.prepare import Tools, prepare
from lamm_cl.data.download.unpack import read_mnist
from lamm_cl.data.exporting import export
from lamm_cl.data.load import load_dataset
from lamm_cl.data.status import state_of
from lamm_cl.streams.build import build_layout

DIGITS = {"train": [3, 0, 3], "test": [9, 0]}
THINGS = {"train": [1, 0, 1], "test": [0, 1]}


def mnist_files() -> list[bytes]:
    """Make MNIST's four files with a few pictures of 28 x 28, picture i filled with grey i."""
    files = []
    for labels in DIGITS.values():
        pixels = b"".join(bytes([i]) * 784 for i in range(len(labels)))
        files.append(gzip.compress(struct.pack(">IIII", 2051, len(labels), 28, 28) + pixels))
        files.append(gzip.compress(struct.pack(">II", 2049, len(labels)) + bytes(labels)))
    return files


def cifar_files() -> list[bytes]:
    """Make CIFAR-100's archive of two classes, picture i with red i, green 100 and blue 200."""
    contents = {"fine_label_names.txt": b"apple\naquarium_fish\n"}
    for part, labels in THINGS.items():
        planes = [
            bytes([7, label]) + bytes([i]) * 1024 + b"d" * 1024 + b"\xc8" * 1024 for i, label in enumerate(labels)
        ]
        contents[f"{part}.bin"] = b"".join(planes)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"cifar-100-binary/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return [buffer.getvalue()]


ARRAYS = {"mnist": mnist_files, "cifar100": cifar_files}


class Network:
    """Serves small fakes of a data set's files; notes what was asked for."""

    def __init__(self, name: str) -> None:
        self.asked: list[str] = []
        self.contents = dict(zip([file.url for file in sources(name).files], ARRAYS[name](), strict=True))

    def __call__(self, url: str, offset: int) -> Response:
        self.asked.append(url)
        if url not in self.contents:
            raise DownloadError(f"{url} answers 404 Not Found")
        return Response(0, len(self.contents[url]), iter([self.contents[url]]))


def sources(name: str) -> Source:
    (arrays,) = CATALOGUE[name].files
    return arrays


@pytest.fixture
def no_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fakes have other checksums; transfers test theirs on their own."""
    for name in ARRAYS:
        for file in sources(name).files:
            monkeypatch.setitem(file.__dict__, "md5", "")


pytestmark = pytest.mark.usefixtures("no_checksums")


def test_mnist_becomes_pictures_that_load_as_a_data_set(tmp_path: Path) -> None:
    assert prepare("mnist", tmp_path, Tools(fetch=Network("mnist"))).fetched == [
        "images/train, images/test: 5 pictures"
    ]
    folder = tmp_path / "mnist"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [
        "images/test/0/00001.pgm",
        "images/test/9/00000.pgm",
        "images/train/0/00001.pgm",
        "images/train/3/00000.pgm",
        "images/train/3/00002.pgm",
    ]
    assert stat.S_IMODE((folder / "images" / "train").stat().st_mode) & 0o055 == 0o055
    with Image.open(folder / "images" / "train" / "3" / "00002.pgm") as picture:
        assert (picture.size, picture.mode, picture.getextrema()) == ((28, 28), "L", (2, 2))
    assert state_of("mnist", tmp_path).state == "broken"  # other digits in train than in test
    (folder / "images" / "train" / "3").rename(folder / "images" / "train" / "9")
    dataset = load_dataset("mnist", tmp_path, check_images=True)
    assert dataset.class_names == ("0 - zero", "9 - nine")
    assert dataset.split == "own"
    assert [len(part) for part in (dataset.train, dataset.val, dataset.test)] == [3, 0, 2]
    assert dataset.open(dataset.train[0]).mode == "RGB"
    assert state_of("mnist", tmp_path).state == "ready"
    shutil.rmtree(folder / "images")
    assert state_of("mnist", tmp_path).state == "no images"


def test_cifar_becomes_pictures_that_load_as_a_data_set(tmp_path: Path) -> None:
    assert prepare("cifar100", tmp_path, Tools(fetch=Network("cifar100"))).complete
    dataset = load_dataset("cifar100", tmp_path, check_images=True)
    assert dataset.class_names == ("apple", "aquarium_fish")
    assert [dataset.relative(item) for item in dataset.train] == [
        "train/apple/00001.ppm",
        "train/aquarium_fish/00000.ppm",
        "train/aquarium_fish/00002.ppm",
    ]
    picture = dataset.open(dataset.train[2])
    assert picture.size == (32, 32)
    assert picture.getpixel((31, 0)) == (2, 100, 200)


def test_a_split_of_the_official_size_is_official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare("cifar100", tmp_path, Tools(fetch=Network("cifar100")))
    assert "not the papers' data" in load_dataset("cifar100", tmp_path).notes[0]
    small = replace(CATALOGUE["cifar100"], classes=2, sizes=(3, 0, 2))
    monkeypatch.setattr("lamm_cl.data.load.find", lambda name: small)
    dataset = load_dataset("cifar100", tmp_path)
    assert (dataset.split, dataset.notes) == ("official", ())


def test_pictures_are_drawn_by_shots_and_tested_in_full(tmp_path: Path) -> None:
    prepare("cifar100", tmp_path, Tools(fetch=Network("cifar100")))
    layout = build_layout("few_shot", "cifar100", shots=1, root=str(tmp_path))
    assert [len(part.samples) for part in (*layout.train, *layout.test)] == [2, 2]
    assert layout.val == ()


def test_a_missing_file_of_four_says_what_to_fetch(tmp_path: Path) -> None:
    network = Network("mnist")
    url = list(network.contents)[2]
    content = network.contents.pop(url)
    outcome = prepare("mnist", tmp_path, Tools(fetch=network))
    assert str(tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz") in outcome.failed[0]
    assert not (tmp_path / "mnist" / "images").exists()
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(content)  # by hand
    assert prepare("mnist", tmp_path, Tools(fetch=network)).fetched == ["images/train, images/test: 5 pictures"]
    assert network.asked.count(url) == 1


def test_a_full_disk_leaves_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / str(i) for i in range(4)]
    for path, content in zip(files, mnist_files(), strict=True):
        path.write_bytes(content)

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        export({"train": read_mnist(files, "train")}, tmp_path / "images")
    assert list((tmp_path / "images").iterdir()) == []


def test_mnist_and_cifar_have_torchvisions_names() -> None:
    torchvision: Any = importlib.import_module("torchvision.datasets")
    assert tuple(CATALOGUE["mnist"].renamed.values()) == tuple(torchvision.MNIST.classes)
    assert CATALOGUE["mnist"].classes == len(CATALOGUE["mnist"].renamed)


def test_addresses_and_checksums_are_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    mnist: Any = importlib.import_module("torchvision.datasets").MNIST
    expected = [(mnist.mirrors[0] + file, md5) for file, md5 in mnist.resources]
    assert [(file.url, file.md5) for file in sources("mnist").files] == expected
    assert [file.md5 for file in sources("cifar100").files] == ["03b5dce01913d631647c71ecec9e9cb8"]


@pytest.mark.parametrize("name", ARRAYS)
def test_a_file_with_a_wrong_checksum_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.undo()
    outcome = prepare(name, tmp_path, Tools(fetch=Network(name)))
    assert all("wrong checksum" in text for text in outcome.failed)
    assert len(outcome.failed) == len(sources(name).files)
    assert list((tmp_path / name).iterdir()) == []
