"""The data sets of a config: where they lie, which are there, and what is said of them before a run."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from lamm_cl.data import folders
from lamm_cl.errors import UsageError
from lamm_cl.experiments import run
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import data_of, environment, grid, notes, only_available, states
from lamm_cl.experiments.preflight import _assemble, _layouts
from lamm_cl.experiments.progress import Summary

Write = Callable[..., Path]


def photos(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 20) -> Path:
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.new("RGB", (4, 4), (i, i, number)).save(folder / name / f"{i:02d}.png")
    return folder


def test_relative_paths_start_from_the_configs_folder(
    tmp_path: Path, write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    photos(elsewhere / "photos")
    photos(elsewhere / "own" / "x")
    monkeypatch.chdir(elsewhere)
    path = write_config(datasets=[{"folder": "photos"}, {"csv": "list.csv", "names": "names.txt"}], root="data")
    config = read_config(path)
    # Only the working directory has the photos, nobody has the rest.
    first, second = data_of(config)
    assert first["folder"] == str(elsewhere / "photos")
    assert second == {"csv": str(tmp_path / "list.csv"), "names": str(tmp_path / "names.txt")}
    assert environment(config).root == str(tmp_path / "data")
    assert f"folder photos is that of the working directory: {tmp_path} has none" in notes(config)
    ids = [spec.run_id for spec in grid(config)]
    photos(tmp_path / "photos", count=10)
    (elsewhere / "data").mkdir()
    config = read_config(path)
    assert data_of(config)[0]["folder"] == str(tmp_path / "photos")
    assert environment(config).root == str(elsewhere / "data")
    found = notes(config)
    assert f"root data is that of the working directory: {tmp_path} has none" in found
    assert not any("folder photos" in note for note in found)
    assert [spec.run_id for spec in grid(config)] == ids  # no directory is part of what a run is


def test_notes_are_said_of_what_is_there_and_nothing_is_fetched(
    tmp_path: Path, write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMM_CL_DATA", str(tmp_path / "data"))
    own = {"folder": "photos", "name": "pets"}
    path = write_config(datasets=["digits", own, "dtd", {"torchvision": "MNIST"}], shots=[4, 16], seeds=[1])
    photos(tmp_path / "photos")
    found = notes(read_config(path), quick=True)
    assert found == [
        "pets: own data",
        "pets: split made here, 50% train, 20% val, 30% test of each class",
        "pets: fewer than 16 train images, taken whole: cat (10), dog (10)",
    ]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("dry_run", [True, False])
def test_notes_stand_before_a_run_and_before_what_would_be_run(
    tmp_path: Path, write_config: Write, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    photos(tmp_path / "photos")
    monkeypatch.setattr(run, "dry_run", lambda *rest: 0)
    monkeypatch.setattr(run, "_work", lambda *rest: Summary(0))
    console = Console(file=io.StringIO(), width=200)
    config = read_config(write_config(datasets=[{"folder": "photos"}]))
    run.run_experiment(config, run.Request(out=tmp_path / "out", dry_run=dry_run), console)
    assert "note: photos: split made here" in console.file.getvalue()  # type: ignore[attr-defined]


def test_another_split_than_the_papers_is_said(shared: Path, tmp_path: Path, write_config: Write) -> None:
    source = shared / "data" / "coop_splits" / "eurosat" / "split_zhou_EuroSAT.json"
    split = json.loads(source.read_bytes())
    split["train"][0], split["test"][0] = split["test"][0], split["train"][0]
    (tmp_path / "data" / "eurosat").mkdir(parents=True)
    (tmp_path / "data" / "eurosat" / source.name).write_text(json.dumps(split))
    path = write_config(datasets=["eurosat"], root="data")
    assert any("is not the papers' split" in note for note in notes(read_config(path)))


def test_only_what_is_there_is_run(tmp_path: Path, write_config: Write) -> None:
    photos(tmp_path / "photos")
    path = write_config(
        datasets=["digits", "dtd", {"folder": "photos"}, {"folder": "gone"}], root=str(tmp_path / "data")
    )
    config, missing = only_available(read_config(path))
    assert [spec.dataset for spec in grid(config)][::4] == ["digits", "photos"]
    assert [(one.name, one.state) for one in missing] == [("dtd", "absent"), ("gone", "broken")]
    with pytest.raises(UsageError, match=r"none of the data sets is there: dtd: .*does not exist"):
        only_available(read_config(path, ["datasets=[dtd]"]))
    with pytest.raises(UsageError, match=r"cross_dataset takes all its data sets in one run.*Not there: dtd"):
        only_available(read_config(path, ["datasets=[digits, dtd]", "protocol=cross_dataset"]))
    whole = read_config(path, ["datasets=[digits]"])
    assert only_available(whole) == (whole, [])


def test_domain_generalization_reads_the_variants_as_well(tmp_path: Path, write_config: Write) -> None:
    path = write_config(datasets=["imagenet"], protocol="domain_generalization", root=str(tmp_path))
    assert [one.name for one in states(read_config(path))] == [
        "imagenet",
        "imagenetv2",
        "imagenet_sketch",
        "imagenet_a",
        "imagenet_r",
    ]


def test_no_image_is_asked_for_twice_before_a_grid(
    tmp_path: Path, write_config: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(tmp_path / "photos")
    asked: list[str] = []
    real = folders.sizes_of

    def noting(paths: Any, ask: bool = True) -> dict[str, int]:
        wanted = list(paths)
        asked.extend(wanted)
        return real(wanted, ask)

    monkeypatch.setattr(folders, "sizes_of", noting)
    config = read_config(write_config(datasets=[{"folder": "photos"}], shots=[1, 2, 4], seeds=[1, 2, 3]))
    _layouts(grid(config), environment(config))
    assert len(asked) == len(set(asked)) > 12


def test_numbers_are_no_names_for_prompts(tmp_path: Path, write_config: Write) -> None:
    photos(tmp_path / "photos", ("0", "1", "10"))
    for more, refused in (({}, True), ({"names": ["cat", "dog", "fox"]}, False), ({"numbers_are_names": True}, False)):
        config = read_config(write_config(datasets=[{"folder": "photos", **more}], methods=["lamm"]))
        (spec, *_) = grid(config)
        (layout,) = _layouts([spec], environment(config)).values()
        if refused:
            with pytest.raises(UsageError, match=r"'photos': its classes are called by numbers, of which lamm.*`names"):
                _assemble(spec, None, layout, environment(config))
        else:
            assert layout.numbered == ()
