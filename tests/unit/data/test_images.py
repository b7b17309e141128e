"""Opening images as the papers' code does, and errors that name the file."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lamm_cl.data import images
from lamm_cl.data.folders import missing_files
from lamm_cl.data.images import content_key, open_rgb
from lamm_cl.errors import UsageError


def pixels(height: int = 6, width: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_every_mode_becomes_what_pillow_makes_of_it(tmp_path: Path, mode: str) -> None:
    path = tmp_path / f"x.{'jpg' if mode == 'CMYK' else 'png'}"
    Image.fromarray(pixels()).convert(mode).save(path)
    opened = open_rgb(str(path))
    assert opened.mode == "RGB"
    with Image.open(path) as expected:
        assert np.array_equal(np.asarray(opened), np.asarray(expected.convert("RGB")))


@pytest.mark.parametrize(
    ("suffix", "values"),
    [
        ("png", pixels()[..., 0].astype(np.uint16) * 257),
        ("tif", pixels()[..., 0].astype(np.uint16) * 257),
        ("pgm", pixels()[..., 0].astype(np.uint16) * 257),
        ("tif", pixels()[..., 0].astype(np.int32)),
        ("tif", pixels()[..., 0].astype(np.int32) * 257),
        ("tif", pixels()[..., 0].astype(np.float32)),
        ("tif", pixels()[..., 0].astype(np.float32) / 255),
        ("tif", pixels()[..., 0].astype(np.float32) * 257),
    ],
)
def test_more_than_8_bits_are_scaled_and_not_clipped(tmp_path: Path, suffix: str, values: np.ndarray) -> None:
    path = str(tmp_path / f"x.{suffix}")
    Image.fromarray(values).save(path)
    assert images.deep(path)
    assert np.array_equal(np.asarray(open_rgb(path))[..., 0], pixels()[..., 0])
    with Image.open(path) as picture:  # what the papers' code made of their own images
        assert np.array_equal(np.asarray(open_rgb(path, clip=True)), np.asarray(picture.convert("RGB")))


def test_dark_16_bits_stay_dark(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 200, np.uint16)).save(tmp_path / "x.png")
    assert np.asarray(open_rgb(str(tmp_path / "x.png"))).max() == 1


def test_floats_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(UsageError, match=r"x\.tif' cannot be decoded: it holds values that are no numbers"):
        open_rgb(str(tmp_path / "x.tif"))


def test_exif_rotation_is_not_applied(tmp_path: Path) -> None:
    picture = Image.fromarray(pixels())
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "x.jpg", exif=exif)
    assert open_rgb(str(tmp_path / "x.jpg")).size == (9, 6)


def test_transparency_given_as_bytes_is_no_news(tmp_path: Path) -> None:
    palette = Image.fromarray(pixels()).convert("P")
    palette.save(tmp_path / "x.png", transparency=bytes(range(256)))
    assert open_rgb(str(tmp_path / "x.png")).mode == "RGB"


def test_a_very_large_photograph_opens_and_a_bomb_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(pixels(20, 20)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    assert open_rgb(str(tmp_path / "x.png")).size == (20, 20)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UsageError, match=r"x\.png.*too large"):
        open_rgb(str(tmp_path / "x.png"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"hello", "not an image"), (b"\xff\xd8\xff", "x.jpg"), (b"GIF89a", "x.jpg")],
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        open_rgb(str(path))
    assert "x.jpg" in str(caught.value)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp"])
def test_truncated_files_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(pixels(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UsageError, match=rf"x\.{suffix}"):
        open_rgb(str(path))


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.jpg.*does not exist"):
        open_rgb(str(tmp_path / "nowhere.jpg"))
    with pytest.raises(UsageError, match="is not a file"):
        open_rgb(str(tmp_path))
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UsageError, match=r"pipe\.jpg' is not a file"):
        open_rgb(str(tmp_path / "pipe.jpg"))
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with pytest.raises(UsageError, match=r"loop\.jpg' cannot be decoded: Too many"):
        open_rgb(str(tmp_path / "loop.jpg"))
    with pytest.raises(UsageError, match=r"x' cannot be decoded: File name too long") as caught:
        open_rgb(str(tmp_path / ("x" * 5000)))
    assert len(str(caught.value)) < 500
    with pytest.raises(UsageError, match=r"nowhere\.jpg"):
        content_key(str(tmp_path / "nowhere.jpg"))


def test_files_that_are_missing_or_empty_are_found(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").symlink_to("0.jpg")
    (tmp_path / "1.jpg").symlink_to("nowhere")
    (tmp_path / "2.jpg").mkdir()
    os.mkfifo(tmp_path / "3.jpg")
    (tmp_path / "4.jpg").write_bytes(b"")
    (tmp_path / "5.jpg").write_bytes(b"x")
    (tmp_path / "6.jpg").symlink_to("5.jpg")
    paths = [str(tmp_path / f"{k}.jpg") for k in range(8)]
    others = ["x\0y", str(tmp_path / ("x" * 5000)), "caf\ud800"]
    assert missing_files([*paths, *others]) == [*paths[:5], paths[7], *others]


def test_names_that_are_not_utf8_work_and_print(tmp_path: Path) -> None:
    path = str(tmp_path / "caf\udce9.png")
    Image.fromarray(pixels()).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(path)
    assert open_rgb(path).size == (9, 6)
    assert len(content_key(path)) == 64
    Path(path).write_bytes(b"no")
    with pytest.raises(UsageError, match=r"caf\\xe9\.png") as caught:
        open_rgb(path)
    str(caught.value).encode()


def test_content_keys_follow_the_bytes_not_the_name(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    keys = [content_key(str(tmp_path / name)) for name in "abc"]
    assert keys[0] == keys[1] != keys[2]
    (tmp_path / "a").write_bytes(b"longer")
    assert content_key(str(tmp_path / "a")) != keys[0]


@pytest.mark.parametrize("replaced", [False, True])
def test_content_keys_follow_bytes_whose_time_was_set_back(tmp_path: Path, replaced: bool) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"1")
    before, times = content_key(str(file)), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    changed = tmp_path / "b" if replaced else file
    changed.write_bytes(b"2")
    os.utime(changed, ns=times)
    changed.replace(file)
    assert content_key(str(file)) != before


def test_files_that_stay_as_they_are_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"1")
    monkeypatch.setattr(images, "_TICK_NS", -(10**12))
    before = images._digest.cache_info()
    assert content_key(str(file)) == content_key(str(file))
    after = images._digest.cache_info()
    assert (after.hits - before.hits, after.misses - before.misses) == (1, 1)
