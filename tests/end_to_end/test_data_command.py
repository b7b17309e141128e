"""`lamm-cl data` as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from lamm_cl.cli.main import main; main()", "data", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=os.environ | {"LAMM_CL_DATA": "", "COLUMNS": "160", **environment},
    )


def eurosat(root: Path) -> Path:
    for name in ("River", "Forest"):
        folder = root / "eurosat" / "2750" / name
        folder.mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (8, 8), (i, i, i)).save(folder / f"{i}.jpg")
    return root


def test_status_of_an_empty_root(tmp_path: Path) -> None:
    done = run("status", "--root", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("absent") >= 15
    assert "digits" in done.stdout
    assert listed(tmp_path) == []


def test_status_of_the_mini_caltech(shared: Path, tmp_path: Path) -> None:
    done = run("status", "--root", str(shared / "data" / "mini"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if "caltech101" in line)
    assert "ready" in line
    assert "own" in line
    assert "2,400 / 2,400" in line
    assert "not the papers' data" in done.stdout


def test_the_root_may_come_from_the_environment(tmp_path: Path) -> None:
    done = run("status", "eurosat", cwd=tmp_path, LAMM_CL_DATA=str(eurosat(tmp_path)))
    assert "20 / 20" in done.stdout


def test_verify_says_what_is_wrong_and_exits_with_1(tmp_path: Path) -> None:
    eurosat(tmp_path)
    whole = run("verify", "--root", str(tmp_path), cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert "20 images, whole" in whole.stdout
    assert "content fingerprint" in whole.stdout
    (tmp_path / "eurosat" / "2750" / "River" / "3.jpg").write_bytes(b"\xff\xd8")
    broken = run("verify", "EuroSAT", "--root", str(tmp_path), cwd=tmp_path)
    assert broken.returncode == 1
    assert "River/3.jpg" in broken.stdout


@pytest.mark.parametrize("names", [(), ("caltech101", "eurosat")])
def test_a_data_set_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path, names: tuple[str, ...]) -> None:
    (tmp_path / "caltech-101").mkdir()
    (tmp_path / "caltech-101" / "split_zhou_Caltech101.json").write_text("{")
    done = run("verify", *names, "--root", str(eurosat(tmp_path)), cwd=tmp_path)
    assert done.returncode == 1
    assert "split_zhou_Caltech101.json: is not JSON" in done.stdout
    assert "eurosat: 20 images, whole" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("status", "caltek101"), "Did you mean 'caltech101'"),
        (("verify", "dtd"), "dtd does not exist"),
        (("verify",), "holds none"),
        (("prepare", "dtd", "nope"), "unknown data set 'nope'"),
        (("prepare",), "NAME"),
        (("status", "--root", "file"), "not a folder"),
    ],
)
def test_wrong_use_exits_with_2_and_writes_nothing(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "file").write_text("")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert listed(tmp_path) == ["file"]


def test_prepare_of_an_embedded_set_has_nothing_to_do(tmp_path: Path) -> None:
    done = run("prepare", "digits", "--root", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0
    assert "needs no file" in done.stdout


def test_prepare_of_damaged_data_says_what_to_do_and_exits_with_1(tmp_path: Path) -> None:
    eurosat(tmp_path)
    split = {part: [[f"River/{i}.jpg", 0, "River"]] for i, part in enumerate(("train", "val", "test"))}
    (tmp_path / "eurosat" / "split_zhou_EuroSAT.json").write_text(json.dumps(split))
    whole = run("prepare", "eurosat", "--root", str(tmp_path), cwd=tmp_path)
    assert whole.returncode == 0, whole.stdout
    assert "note: eurosat: not the papers' data" in whole.stdout
    (tmp_path / "eurosat" / "2750" / "River" / "1.jpg").write_bytes(b"")
    damaged = run("prepare", "eurosat", "--root", str(tmp_path), cwd=tmp_path)
    assert damaged.returncode == 1
    assert "damaged: 1 of 3 images are missing or empty" in damaged.stdout
    assert f"remove {tmp_path / 'eurosat' / '2750'} and run this command again" in damaged.stdout
