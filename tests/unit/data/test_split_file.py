"""Split files: read as they are, refused with file and entry where they are not what they should be."""

import json
from pathlib import Path
from typing import Any

import pytest

from lamm_cl.data.splits import class_names, read_split
from lamm_cl.errors import UsageError

GOOD: dict[str, Any] = {
    "train": [["b/2.jpg", 1, "bee"], ["a/1.jpg", 0, "ant"], ["a/2.jpg", "0", "ant"]],
    "val": [["a/3.jpg", 0, "ant"]],
    "test": [["b/4.jpg", 1, "bee"]],
}


def write(folder: Path, content: Any) -> Path:
    path = folder / "split.json"
    path.write_text(json.dumps(content))
    return path


def test_items_keep_the_order_of_the_file(tmp_path: Path) -> None:
    parts = read_split(write(tmp_path, GOOD), "/images")
    assert [(item.path, item.label) for item in parts["train"]] == [
        ("/images/b/2.jpg", 1),
        ("/images/a/1.jpg", 0),
        ("/images/a/2.jpg", 0),  # labels given as text are read as the papers' code reads them
    ]
    assert class_names("x", parts["train"]) == ("ant", "bee")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": None}, r"'train'.*null"),
        ({"val": {}}, r"'val'.*object"),
        ({"train": ["a.jpg"]}, r"train\[0\].*a\.jpg"),
        ({"train": [["a.jpg", 0]]}, r"train\[0\]"),
        ({"train": [["a.jpg", 0.5, "ant"]]}, r"train\[0\].*0\.5"),
        ({"train": [["a.jpg", True, "ant"]]}, r"train\[0\]"),
        ({"train": [["a.jpg", -1, "ant"]]}, r"train\[0\]"),
        ({"train": [["a.jpg", 0, None]]}, r"train\[0\]"),
        ({"train": [[3, 0, "ant"]]}, r"train\[0\]"),
        ({"train": [["/etc/passwd", 0, "ant"]]}, r"train\[0\].*outside.*/etc/passwd"),
        ({"test": [["../../x.jpg", 0, "ant"]]}, r"test\[0\].*outside"),
        ({"test": [["a/../../x.jpg", 0, "ant"]]}, r"test\[0\].*outside"),
        ({"test": [["a\\..\\x.jpg", 0, "ant"]]}, r"test\[0\].*outside"),
        ({"test": [["C:\\x.jpg", 0, "ant"]]}, r"test\[0\].*outside"),
        ({"test": [["", 0, "ant"]]}, r"test\[0\].*outside"),
        ({"test": [["x.jpg", 0, "wasp"]]}, r"label 0 has two class names.*ant.*wasp"),
        ({"test": [["x.jpg", 3, "wasp"]]}, r"gap.*label 2"),
        ({"test": [["x.jpg", 10**30, "wasp"]]}, r"gap.*label 2"),
        ({"test": [["caf\ud800.jpg", 0, "ant"]]}, r"test\[0\].*outside"),
        ({"test": [["x.jpg", 2, "two\nlines"]]}, r"two\\nlines' holds a line break"),
        ({"test": [["x.jpg", 2, "bee"]]}, r"two classes are called 'bee'"),
        ({"test": [["x.jpg", 2, "Bee"]]}, r"same prompt.*bee.*Bee"),
        ({"test": [["x.jpg", 2, " "]]}, r"class name is empty"),
        ({"test": [["x.jpg", 2, "caf\udcff"]]}, r"'caf\\xff' is not valid UTF-8"),
        ({"test": [["x.jpg", 2, "caf\ud800"]]}, r"'caf\\ud800' is not valid UTF-8"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path, GOOD | change)
    with pytest.raises(UsageError, match=message) as caught:
        read_split(path, "/images")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"train": []}', b"[" * 100_000, b"[" + b"9" * 5000]
)
def test_what_is_no_split_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "split.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"split\.json"):
        read_split(path, "/images")


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lists no image"):
        read_split(write(tmp_path, {"train": [], "val": [], "test": []}), "/images")
