"""prepare: CoOp's layout from a faked network, and exact words for what must be done by hand."""

import hashlib
import importlib
import io
import json
import os
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lamm_cl.data.catalogue import CATALOGUE
from lamm_cl.data.download import unpack
from lamm_cl.data.download.network import DownloadError, Response, fetch
from lamm_cl.data.download.prepare import Tools, prepare
from lamm_cl.data.download.unpack import action_folder, middle_frames
from lamm_cl.data.imagenet import check_class_names
from lamm_cl.data.load import check_split, load_dataset
from lamm_cl.data.status import state_of
from lamm_cl.errors import UsageError


def archive(name: str, paths: list[str]) -> bytes:
    """Make an archive of small files, of the kind that `name` says."""
    buffer = io.BytesIO()
    if name.endswith(".zip"):
        with zipfile.ZipFile(buffer, "w") as opened:
            for path in paths:
                outer, _, inner = path.partition("!")
                opened.writestr(outer if inner else f"{path}/x.jpg", archive("t.tar", [inner]) if inner else b"x")
    else:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for path in paths:
                info = tarfile.TarInfo(path if path.endswith(".txt") else f"{path}/x.jpg")
                info.size = 1
                tar.addfile(info, io.BytesIO(b"x"))
    return buffer.getvalue()


SOURCES = {name: entry.files for name, entry in CATALOGUE.items() if entry.files}
SUBSETS = {name for name, entry in CATALOGUE.items() if entry.reader == "subset"} - {"cub200"}  # test_subsets
OTHERS = ("imagenet", "stanford_cars", "cifar100", "mnist", *SUBSETS)  # by hand, and arrays (test_arrays)


class Network:
    """Serves what a data set's sources would give; notes what was asked for."""

    def __init__(self, name: str, splits: dict[str, Any] | None = None) -> None:
        self.asked: list[str] = []
        self.contents: dict[str, bytes] = {}
        for source in SOURCES[name]:
            if source.url:
                made = archive(source.file, list(source.moves)) if source.moves else json.dumps(splits or {}).encode()
                self.contents[source.url] = made

    def __call__(self, url: str, offset: int) -> Response:
        self.asked.append(url)
        if url not in self.contents:
            raise DownloadError(f"{url} answers 404 Not Found")
        content = self.contents[url]
        return Response(0, len(content), iter([content]))


@pytest.fixture(autouse=True)
def _no_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faked archives have other checksums, faked lists other contents; both are tested on their own."""
    for name, sources in SOURCES.items():
        monkeypatch.setitem(CATALOGUE[name].__dict__, "fingerprint", "")
        if CATALOGUE[name].split_file:
            monkeypatch.setitem(CATALOGUE[name].__dict__, "classes", 1)
        for source in sources:
            for one in (source, *source.files):
                monkeypatch.setitem(one.__dict__, "md5", "")
    monkeypatch.setattr("lamm_cl.data.download.prepare.check_class_names", lambda path: "")
    monkeypatch.setattr("lamm_cl.data.download.network.sleep", lambda seconds: None)


def test_every_data_set_of_the_catalogue_has_a_source() -> None:
    assert set(SOURCES) == {name for name, entry in CATALOGUE.items() if not entry.embedded}
    for name, sources in SOURCES.items():
        entry = CATALOGUE[name]
        made = {path for source in sources for path in source.makes}
        assert not entry.split_file or entry.split_file in made
        assert not entry.images or any(path.split("/")[0] == entry.images for path in made)


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in OTHERS])
def test_files_land_in_coops_layout(tmp_path: Path, name: str) -> None:
    network = Network(name, {part: [["x.jpg", 0, "x"]] * n for part, n in _sizes(name).items()})
    outcome = prepare(name, tmp_path, Tools(fetch=network))
    assert not outcome.failed
    assert not outcome.by_hand
    # The lists of the others are not faked so well that they could be read.
    assert outcome.complete == bool(CATALOGUE[name].split_file)
    folder = tmp_path / CATALOGUE[name].folder
    wanted = [source for source in SOURCES[name] if not source.optional]
    assert len(outcome.optional) == len(SOURCES[name]) - len(wanted)
    for source in wanted:
        for made in source.makes:
            assert (folder / made).exists()
    assert not [
        path for path in folder.iterdir() if path.name.startswith(".") or path.suffix in (".gz", ".zip", ".tar")
    ]
    again = prepare(name, tmp_path, Tools(fetch=network))
    assert again.complete == outcome.complete
    assert len(again.present) == len(wanted)
    assert sorted(network.asked) == sorted(source.url for source in wanted)


@pytest.fixture
def caltech(tmp_path: Path) -> Path:
    """A folder in which every file is there by name."""
    folder = tmp_path / "caltech-101"
    (folder / "101_ObjectCategories" / "cat").mkdir(parents=True)
    for i in range(4):
        (folder / "101_ObjectCategories" / "cat" / f"{i}.jpg").write_bytes(b"x")
    split = {part: [[f"cat/{i}.jpg", 0, "cat"]] for i, part in enumerate(("train", "val", "test"))}
    split["train"].append(["cat/3.jpg", 0, "cat"])
    (folder / "split_zhou_Caltech101.json").write_text(json.dumps(split))
    return folder


def test_what_is_there_and_whole_is_complete(tmp_path: Path, caltech: Path) -> None:
    outcome = prepare("caltech101", tmp_path, Tools(fetch=Network("caltech101")))
    assert outcome.complete
    assert "not the papers' data" in outcome.notes[0]


def test_images_that_are_missing_or_empty_are_left_to_do(tmp_path: Path, caltech: Path) -> None:
    images = caltech / "101_ObjectCategories"
    (images / "cat" / "0.jpg").unlink()
    (images / "cat" / "2.jpg").write_bytes(b"")
    network = Network("caltech101")
    outcome = prepare("caltech101", tmp_path, Tools(fetch=network))
    assert not outcome.complete
    (text,) = outcome.damaged
    assert "2 of 4 images are missing or empty" in text
    assert str(images / "cat" / "0.jpg") in text
    assert f"or remove {images} and run this command again" in text
    # The cure works.
    shutil.rmtree(images)
    assert "101_ObjectCategories" in prepare("caltech101", tmp_path, Tools(fetch=network)).fetched


def test_a_split_file_that_is_cut_off_is_left_to_do(tmp_path: Path, caltech: Path) -> None:
    split = caltech / "split_zhou_Caltech101.json"
    split.write_bytes(split.read_bytes()[:-9])
    outcome = prepare("caltech101", tmp_path, Tools(fetch=Network("caltech101")))
    assert not outcome.complete
    assert "is not JSON" in outcome.damaged[0]
    assert f"Remove {split} and run this command again" in outcome.damaged[0]


def test_damage_in_what_came_by_hand_is_cured_by_hand(tmp_path: Path) -> None:
    folder = tmp_path / "stanford_cars"
    for name in ("cars_train", "cars_test"):
        (folder / name).mkdir(parents=True)
    split = {part: [[f"cars_train/{part}.jpg", 0, "x"]] for part in ("train", "val", "test")}
    (folder / "split_zhou_StanfordCars.json").write_text(json.dumps(split))
    (text,) = prepare("stanford_cars", tmp_path, Tools(fetch=Network("stanford_cars"))).damaged
    assert "3 of 3 images are missing" in text
    assert "By hand: Stanford took the images offline" in text


def test_folders_without_images_are_left_to_do(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / "mnist" / "images" / part).mkdir(parents=True)
    (text,) = prepare("mnist", tmp_path).damaged
    assert "holds no class folder" in text
    assert "Remove the file or folder that this names and run this command again" in text


def _sizes(name: str) -> dict[str, int]:
    return dict(zip(("train", "val", "test"), CATALOGUE[name].sizes, strict=True))


def test_what_must_be_fetched_by_hand_is_said_with_its_place(tmp_path: Path) -> None:
    for name, words in (("imagenet", "image-net.org"), ("stanford_cars", "cars_train")):
        outcome = prepare(name, tmp_path, Tools(fetch=Network(name, {"train": []})))
        assert not outcome.complete
        assert words in outcome.by_hand[0]
        assert str(tmp_path / CATALOGUE[name].folder) in outcome.by_hand[0]
    for made in ("cars_train", "cars_test"):
        (tmp_path / "stanford_cars" / made).mkdir()
    assert prepare("stanford_cars", tmp_path, Tools(fetch=Network("stanford_cars"))).by_hand == []


def test_a_dead_address_does_not_stop_the_rest_and_says_what_to_do(tmp_path: Path) -> None:
    network = Network("sun397", {part: [["x.jpg", 0, "x"]] * n for part, n in _sizes("sun397").items()})
    dead = "http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz"
    del network.contents[dead]
    outcome = prepare("sun397", tmp_path, Tools(fetch=network))
    assert outcome.fetched == ["split_zhou_SUN397.json"]
    assert "404" in outcome.failed[0]
    assert str(tmp_path / "sun397" / "SUN397.tar.gz") in outcome.failed[0]
    # An archive that was fetched by hand is used.
    (tmp_path / "sun397" / "SUN397.tar.gz").write_bytes(archive("x.tar", ["SUN397"]))
    assert prepare("sun397", tmp_path, Tools(fetch=network)).complete
    assert (tmp_path / "sun397" / "SUN397" / "x.jpg").exists()


@pytest.mark.parametrize("content", [b"<html>quota</html>", b'{"train": [], "val": [], "test": []}'])
def test_a_split_file_that_is_not_the_papers_is_removed(tmp_path: Path, content: bytes) -> None:
    network = Network("dtd")
    network.contents["drive:1u3_QfB467jqHgNXC00UIzbLZRQCg2S7x"] = content
    outcome = prepare("dtd", tmp_path, Tools(fetch=network))
    assert "not the papers' split" in outcome.failed[0]
    assert not (tmp_path / "dtd" / "split_zhou_DescribableTextures.json").exists()


def test_the_unreachable_outside_is_an_outcome_not_a_crash(tmp_path: Path) -> None:
    def nowhere(url: str, offset: int) -> Response:
        raise DownloadError("no network", retry=True)

    outcome = prepare("dtd", tmp_path, Tools(fetch=nowhere))
    assert len(outcome.failed) == 2
    assert prepare("digits", tmp_path).complete


def test_a_full_disk_is_an_outcome_that_says_what_to_do(tmp_path: Path) -> None:
    def huge(url: str, offset: int) -> Response:
        return Response(0, 1 << 60, iter(()))

    for text in prepare("dtd", tmp_path, Tools(fetch=huge)).failed:
        assert f"{tmp_path / 'dtd'}: cannot be written: the disk is full. Free some space" in text


def test_a_root_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be made"):
        prepare("dtd", tmp_path / "file")


def test_middle_frames_come_from_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = tmp_path / "ucf101" / "UCF-101"
    for name in ("ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01", "YoYo/v_YoYo_g01_c01"):
        path = videos / f"{name}.avi"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"video")
    grabbed: list[str] = []

    def grab(video: Path, frame: Path) -> None:
        grabbed.append(video.name)
        if len(grabbed) == 2:
            raise DownloadError("stopped")
        Image.new("RGB", (4, 4)).save(frame)

    monkeypatch.setattr(unpack, "_ffmpeg", grab)
    network = Network("ucf101", {part: [["x.jpg", 0, "x"]] * n for part, n in _sizes("ucf101").items()})
    first = prepare("ucf101", tmp_path, Tools(fetch=network))
    assert "stopped" in first.failed[0]
    assert not (tmp_path / "ucf101" / "UCF-101-midframes").exists()
    second = prepare("ucf101", tmp_path, Tools(fetch=network))
    assert "2 middle frames" in second.fetched[0]
    assert grabbed.count("v_ApplyEyeMakeup_g01_c01.avi") == 1
    frames = tmp_path / "ucf101" / "UCF-101-midframes"
    assert sorted(str(p.relative_to(frames)) for p in frames.rglob("*.jpg")) == [
        "Apply_Eye_Makeup/v_ApplyEyeMakeup_g01_c01.jpg",
        "Yo_Yo/v_YoYo_g01_c01.jpg",
    ]
    with pytest.raises(DownloadError, match="holds no video"):
        middle_frames(tmp_path, tmp_path / "out")


def test_actions_are_called_as_coop_calls_them() -> None:
    assert [action_folder(name) for name in ("ApplyEyeMakeup", "TaiChi", "Archery", "YoYo")] == [
        "Apply_Eye_Makeup",
        "Tai_Chi",
        "Archery",
        "Yo_Yo",
    ]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_ffmpeg_takes_the_frame_in_the_middle(tmp_path: Path) -> None:
    import subprocess

    video = tmp_path / "v" / "Archery" / "v_Archery_g01_c01.avi"
    video.parent.mkdir(parents=True)
    for i in range(9):
        Image.new("RGB", (32, 32), (28 * i,) * 3).save(tmp_path / f"{i}.png")
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(tmp_path / "%d.png"), "-c:v", "mjpeg", "-q:v", "2", str(video)], check=True
    )
    middle_frames(tmp_path / "v", tmp_path / "out")
    with Image.open(tmp_path / "out" / "Archery" / "v_Archery_g01_c01.jpg") as frame:
        assert abs(frame.convert("L").getpixel((16, 16)) - 112) < 8


def test_addresses_and_checksums_are_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    torchvision: Any = importlib.import_module("torchvision.datasets")
    ours = {source.md5: source.url for s in SOURCES.values() for source in s if source.md5}
    theirs = {md5: url for url, md5 in torchvision.OxfordIIITPet._RESOURCES}
    theirs |= {
        torchvision.DTD._MD5: torchvision.DTD._URL,
        torchvision.SUN397._DATASET_MD5: torchvision.SUN397._DATASET_URL,
    }
    flowers = torchvision.Flowers102
    theirs |= {
        flowers._file_dict[k][1]: flowers._download_url_prefix + flowers._file_dict[k][0] for k in ("image", "label")
    }
    assert theirs.items() <= ours.items()
    assert torchvision.Food101._MD5 in ours


def test_an_archive_put_there_by_hand_is_checked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = SOURCES["dtd"][0]
    network = Network("dtd", {part: [["x.jpg", 0, "x"]] * n for part, n in _sizes("dtd").items()})
    monkeypatch.setitem(images.__dict__, "md5", hashlib.md5(network.contents[images.url]).hexdigest())
    archive_file = tmp_path / "dtd" / images.file
    archive_file.parent.mkdir()
    archive_file.write_bytes(b"another file")
    (text,) = prepare("dtd", tmp_path, Tools(fetch=network)).failed
    assert f"{archive_file} is not the archive: expected md5" in text
    assert archive_file.read_bytes() == b"another file"
    archive_file.write_bytes(network.contents[images.url])
    assert prepare("dtd", tmp_path, Tools(fetch=network)).complete
    assert archive_file.exists()
    assert network.asked.count(images.url) == 0


def test_a_local_copy_serves_instead_of_an_address(tmp_path: Path) -> None:
    split = {part: [["x.jpg", 0, "x"]] * n for part, n in _sizes("eurosat").items()}
    for place in (tmp_path / "mine", tmp_path / "mine" / "eurosat"):
        place.mkdir()
        (place / "split_zhou_EuroSAT.json").write_text(json.dumps(split))
        root = tmp_path / f"root of {place.name}"
        outcome = prepare("eurosat", root, Tools(fetch=fetch_local, local=tmp_path / "mine"))
        assert outcome.fetched == ["split_zhou_EuroSAT.json"]
        assert (root / "eurosat" / "split_zhou_EuroSAT.json").read_bytes() == json.dumps(split).encode()
        (place / "split_zhou_EuroSAT.json").unlink()


def fetch_local(url: str, offset: int) -> Response:
    """Read files as the real one does, and reach nothing else."""
    if "://" in url or url.startswith("drive:"):
        raise DownloadError(f"{url} answers 404 Not Found")
    return fetch(url, offset)


@pytest.mark.parametrize("there", [True, False])
def test_a_mirror_is_asked_before_the_makers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setenv("LAMM_CL_MIRROR", "https://mirror.example/coop/")
    network = Network("dtd", {part: [["x.jpg", 0, "x"]] * n for part, n in _sizes("dtd").items()})
    if there:
        for source in SOURCES["dtd"]:
            network.contents[f"https://mirror.example/coop/dtd/{source.file}"] = network.contents.pop(source.url)
    assert prepare("dtd", tmp_path, Tools(fetch=network)).complete
    assert network.asked[0] == "https://mirror.example/coop/dtd/dtd-r1.0.1.tar.gz"
    assert len(network.asked) == (2 if there else 4)


def test_a_copy_is_checked_by_its_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOGUE["dtd"].__dict__, "fingerprint", "0" * 64)
    monkeypatch.setitem(CATALOGUE["dtd"].__dict__, "classes", 1)
    split = {part: [["x.jpg", 0, "x"]] * n for part, n in _sizes("dtd").items()}
    (tmp_path / "split_zhou_DescribableTextures.json").write_text(json.dumps(split))
    failed = prepare("dtd", tmp_path / "root", Tools(fetch=fetch_local, local=tmp_path)).failed
    assert "(dtd: split_zhou_DescribableTextures.json is not the papers' split, though it has its name" in failed[-1]
    assert not (tmp_path / "root" / "dtd" / "split_zhou_DescribableTextures.json").exists()


def test_the_variants_find_imagenets_class_names(tmp_path: Path) -> None:
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet" / "classnames.txt").write_text("n01440764 tench\n")
    network = Network("imagenet_a")
    outcome = prepare("imagenet_a", tmp_path, Tools(fetch=network))
    assert "classnames.txt" in outcome.present
    assert not any(url.startswith("drive:") for url in network.asked)


def test_a_root_that_is_whole_and_cannot_be_written_is_complete(
    tmp_path: Path, caltech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("something was to be written")

    for name in ("mkdir", "unlink", "rename", "symlink_to", "write_bytes", "touch"):
        monkeypatch.setattr(Path, name, refuse)
    assert prepare("caltech101", tmp_path, Tools(fetch=refuse)).complete


def test_no_archive_is_fetched_for_what_no_reader_reads(tmp_path: Path) -> None:
    for name in ("food101", "dtd", "oxford_pets"):
        entry = CATALOGUE[name]
        folder = tmp_path / entry.folder
        (folder / entry.images / "x").mkdir(parents=True)
        (folder / entry.images / "x" / "1.jpg").write_bytes(b"x")
        (folder / entry.split_file).write_text(json.dumps({part: [["x/1.jpg", 0, "x"]] for part in _sizes(name)}))
        network = Network(name)
        outcome = prepare(name, tmp_path, Tools(fetch=network))
        assert outcome.complete, outcome
        assert network.asked == []
        assert (name == "oxford_pets") == bool(outcome.optional)


def test_a_split_drawn_at_random_under_the_papers_name_is_left_to_do(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = CATALOGUE["eurosat"]
    split = json.loads((shared / "data" / "coop_splits" / "eurosat" / entry.split_file).read_bytes())
    split["train"][0], split["test"][0] = split["test"][0], split["train"][0]
    folder = tmp_path / "eurosat"
    for path, _, _ in (one for part in split.values() for one in part):
        (folder / "2750" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "2750" / path).write_bytes(b"x")
        break
    (folder / entry.split_file).write_text(json.dumps(split))
    monkeypatch.undo()
    damaged = prepare("eurosat", tmp_path, Tools(fetch=fetch_local)).damaged
    assert "is not the papers' split" in damaged[0]
    assert f"Remove {folder / entry.split_file} and run this command again" in damaged[0]
    assert state_of("eurosat", tmp_path).split == "other"


def test_the_dead_address_is_said_with_its_date_and_a_copy(tmp_path: Path) -> None:
    outcome = prepare("sun397", tmp_path, Tools(fetch=fetch_local))
    assert "404 since July 2025" in outcome.failed[0]
    assert "https://opendatalab.com/OpenDataLab/SUN397" in outcome.failed[0]


def test_lists_without_checksum_are_checked_by_what_they_hold(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    papers = shared / "data" / "coop_splits"
    assert check_class_names(papers / "imagenet" / "classnames.txt") == ""
    lines = (papers / "imagenet" / "classnames.txt").read_text()
    (tmp_path / "list").write_text(lines.replace("tench", "trench"))
    assert "its 1000 names are not CoOp's" in check_class_names(tmp_path / "list")
    (tmp_path / "list").write_text(lines.replace("\n", "\r\n"))
    assert check_class_names(tmp_path / "list") == ""
    (tmp_path / "list").write_text("<html>quota</html>")
    assert "expected a new WordNet id" in check_class_names(tmp_path / "list")
    for name in ("caltech101", "oxford_pets", "eurosat"):
        assert check_split(CATALOGUE[name], papers / CATALOGUE[name].folder / CATALOGUE[name].split_file) == ""


def test_status_asks_for_no_size_and_lists_each_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "caltech-101" / "101_ObjectCategories"
    paths = [f"{name}/{i}.jpg" for name in ("ant", "bass") for i in range(50)]
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")
    split = {part: [[path, path[0] == "b", path[:3]] for path in paths[k::3]] for k, part in enumerate(_sizes("dtd"))}
    text = json.dumps(split).replace("true", "1").replace("false", "0")
    (tmp_path / "caltech-101" / "split_zhou_Caltech101.json").write_text(text)
    listed: list[str] = []
    asked: list[str] = []
    scandir, stat = os.scandir, os.stat

    def noting(place: Any) -> Any:
        listed.append(Path(place).name)
        return scandir(place)

    def asking(place: Any, *rest: Any, **options: Any) -> Any:
        asked.append(str(place))
        return stat(place, *rest, **options)

    monkeypatch.setattr(os, "scandir", noting)
    monkeypatch.setattr(os, "stat", asking)
    row = state_of("caltech101", tmp_path)
    assert (row.state, row.images) == ("ready", 100)
    assert sorted(listed) == ["ant", "bass"]
    assert not [path for path in asked if path.endswith(".jpg")]


def test_status_tells_what_is_there(tmp_path: Path) -> None:
    assert {row.state for row in (state_of(name, tmp_path) for name in CATALOGUE)} == {"absent", "embedded"}
    folder = tmp_path / "eurosat" / "2750" / "River"
    folder.mkdir(parents=True)
    for i in range(10):
        (folder / f"{i}.jpg").write_bytes(b"12345")
    row = state_of("eurosat", tmp_path, sizes=True)
    assert (row.state, row.split, row.images, row.expected, row.size) == ("ready", "own", 10, 10, 50)
    (folder / "3.jpg").write_bytes(b"")
    row = state_of("eurosat", tmp_path, sizes=True)
    assert (row.state, row.note.split(";")[0]) == ("incomplete", "1 of 10 images are empty files")
    row = state_of("eurosat", tmp_path)
    assert (row.state, row.size) == ("ready", None)  # to see it would take a question a file
    split = {part: [[f"River/{i}.jpg", 0, "River"]] for i, part in enumerate(("train", "val", "test"))}
    (tmp_path / "eurosat" / "split_zhou_EuroSAT.json").write_text(json.dumps(split))
    assert load_dataset("eurosat", tmp_path).split == "own"
    (folder / "1.jpg").unlink()
    row = state_of("eurosat", tmp_path)
    assert (row.state, row.images, row.expected) == ("incomplete", 2, 3)
    shutil.rmtree(folder)
    assert state_of("eurosat", tmp_path).state == "no images"
    (tmp_path / "eurosat" / "split_zhou_EuroSAT.json").write_text("{")
    assert state_of("eurosat", tmp_path).state == "broken"
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet" / "classnames.txt").write_text("n01440764 tench\n")
    assert state_of("imagenet", tmp_path).state == "no images"
