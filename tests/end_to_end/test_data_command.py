"""`lamm-cl data` as a user runs it."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lamm_cl.reports.output import render
from lamm_cl.reports.report import make_report
from lamm_cl.reports.results import read_results


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def lamm_cl(lamm_cl_in: Any) -> Any:
    def go(*arguments: str, cwd: Path, **environment: str) -> Any:
        return lamm_cl_in(cwd, *arguments, **{"LAMM_CL_DATA": "", "COLUMNS": "160", **environment})

    return go


@pytest.fixture
def run(lamm_cl: Any) -> Any:
    return partial(lamm_cl, "data")


def eurosat(root: Path) -> Path:
    for name in ("River", "Forest"):
        folder = root / "eurosat" / "2750" / name
        folder.mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (8, 8), (i, i, i)).save(folder / f"{i}.jpg")
    return root


def test_status_of_an_empty_root(tmp_path: Path, run: Any) -> None:
    done = run("status", "--root", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("absent") >= 15
    assert "digits" in done.stdout
    assert listed(tmp_path) == []


def test_status_of_the_mini_caltech(shared: Path, tmp_path: Path, run: Any) -> None:
    done = run("status", "--sizes", "--root", str(shared / "data" / "mini"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Size" in done.stdout
    line = next(line for line in done.stdout.splitlines() if "caltech101" in line)
    assert "ready" in line
    assert "own" in line
    assert "2,400 / 2,400" in line
    assert "not the papers' data" in done.stdout


def test_the_root_may_come_from_the_environment(tmp_path: Path, run: Any) -> None:
    done = run("status", "eurosat", cwd=tmp_path, LAMM_CL_DATA=str(eurosat(tmp_path)))
    assert "20 / 20" in done.stdout


def test_verify_says_what_is_wrong_and_exits_with_1(tmp_path: Path, run: Any) -> None:
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
def test_a_data_set_that_cannot_be_read_does_not_hide_the_others(
    tmp_path: Path, names: tuple[str, ...], run: Any
) -> None:
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
def test_wrong_use_exits_with_2_and_writes_nothing(
    tmp_path: Path, arguments: tuple[str, ...], message: str, run: Any
) -> None:
    (tmp_path / "file").write_text("")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert listed(tmp_path) == ["file"]


def test_prepare_of_an_embedded_set_has_nothing_to_do(tmp_path: Path, run: Any) -> None:
    done = run("prepare", "digits", "--root", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0
    assert "needs no file" in done.stdout


def test_prepare_of_damaged_data_says_what_to_do_and_exits_with_1(tmp_path: Path, run: Any) -> None:
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


CONFIG = """protocol: few_shot
datasets: [{folder: photos, name: pets}, digits, eurosat]
methods: {lamm: {epochs: 1}}
shots: 4
seeds: [1]
root: data
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config of three data sets, of which one's own and the embedded one are there."""
    for name in ("cat", "dog"):
        folder = tmp_path / "there" / "photos" / name
        folder.mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (8, 8), (i, i, i)).save(folder / f"{i}.png")
    (tmp_path / "there" / "try.yaml").write_text(CONFIG)
    return tmp_path / "there" / "try.yaml"


def test_status_and_verify_take_configs_with_ones_own_data(tmp_path: Path, config: Path, run: Any) -> None:
    done = run("status", str(config), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "12 / 12" in next(line for line in done.stdout.splitlines() if " pets " in line)
    assert "absent" in next(line for line in done.stdout.splitlines() if " eurosat " in line)
    assert run("verify", str(config), cwd=tmp_path).returncode == 2  # eurosat is not there
    eurosat(config.parent / "data")
    done = run("verify", str(config), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for text in ("pets: 12 images, whole", "digits: 1,797 images, whole", "eurosat: 20 images, whole"):
        assert text in done.stdout
    assert run("prepare", str(tmp_path / "no.yaml"), cwd=tmp_path).returncode == 2


def test_all_means_the_catalogue(tmp_path: Path, run: Any) -> None:
    done = run("status", "all", "--root", str(eurosat(tmp_path)), cwd=tmp_path)
    assert done.stdout.count("│ absent") == 26
    assert "20 images, whole" in run("verify", "all", "--root", str(tmp_path), cwd=tmp_path).stdout


def test_what_lies_elsewhere_is_named_and_put_in_place_on_request(tmp_path: Path, run: Any) -> None:
    rows = [[f"{name}/{i}.jpg", label, name] for label, name in enumerate(("Forest", "River")) for i in range(10)]
    split = {"train": rows[::2], "val": rows[1::4], "test": rows[3::4]}
    (eurosat(tmp_path) / "eurosat" / "split_zhou_EuroSAT.json").write_text(json.dumps(split))  # nothing to fetch
    (tmp_path / "eurosat").rename(tmp_path / "EuroSAT_RGB")
    done = run("status", "eurosat", "--root", str(tmp_path), cwd=tmp_path)
    command = f"data prepare eurosat --root {tmp_path} --fix"
    assert f"`lamm-cl {command}` puts it there" in done.stdout
    done = run(*command.split()[1:], cwd=tmp_path)
    assert f"put in place: linked {tmp_path}/eurosat to {tmp_path}/EuroSAT_RGB" in done.stdout
    assert "20 / 20" in run("status", "eurosat", "--root", str(tmp_path), cwd=tmp_path).stdout


def test_what_is_to_be_known_of_the_data_is_said_wherever_people_look(
    tmp_path: Path, config: Path, lamm_cl: Any
) -> None:
    note = "pets: split made here, 50% train, 20% val, 30% test of each class"
    few = "pets: fewer than 4 train images, taken whole: cat (3), dog (3)"
    done = lamm_cl("validate", str(config), cwd=tmp_path)
    assert f"note: {note}" in done.stdout, done.stderr
    assert f"note: {few}" in done.stdout
    done = lamm_cl("run", str(config), "--available", "--out", "out", "--jobs", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"left out: eurosat: {config.parent}/data/eurosat does not exist" in done.stdout
    assert f"note: {note}" in done.stdout
    record = next(path for path in tmp_path.glob("out/runs/*/record.json") if '"name": "pets"' in path.read_text())
    assert few in json.loads(record.read_text())["data"]["notes"]
    report = make_report(read_results(tmp_path / "out"))
    for form in ("text", "markdown", "latex", "csv", "html"):
        text = render(report, form)
        assert text.replace("\\", "").count("split made here, 50% train") >= 2, form  # under each table
