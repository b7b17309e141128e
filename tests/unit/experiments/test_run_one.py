"""One run for real, on `tiny` and digits: what it records, and that stopping it changes nothing."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
from PIL import Image

from lamm_cl.clip.load import load_clip
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import environment, grid
from lamm_cl.experiments.run_one import execute, load_checkpoint
from lamm_cl.experiments.spec import RunSpec
from lamm_cl.experiments.work import CHECKPOINT, Job, Result, Stopped
from lamm_cl.methods.registry import method_names, recipe_for
from lamm_cl.records import MEASURED
from lamm_cl.strategies.settings import sort_options
from lamm_cl.tensor_file import pack, unpack


class Killed(BaseException):
    """The process ends here without another word."""


LAMM = {"lamm": {"epochs": 2}}


@pytest.fixture
def run(tmp_path: Path, write_config: Callable[..., Path]) -> Callable[..., Any]:
    def go(
        methods: Any, stop: int | None = None, how: type[BaseException] = Stopped, where: str = "run", **more: Any
    ) -> Result:
        config = read_config(
            write_config(
                protocol="class_incremental",
                methods=methods,
                seeds=[1],
                shots=2,
                cache=str(tmp_path / "cache"),
                checkpoint_minutes=1e-9,
                **more,
            )
        )
        spec = grid(config)[0]
        calls = 0

        def progress(fraction: float, text: str) -> None:
            nonlocal calls
            assert 0 <= fraction <= 1
            calls += 1
            if stop is not None and calls == stop:
                raise how

        directory = tmp_path / where
        directory.mkdir(exist_ok=True)
        return execute(Job(spec, directory, environment(config), "cpu", progress))

    return go


def numbers(result: Result) -> list[Any]:
    return [tuple(row) for row in result.rows if row[3] not in MEASURED]


@pytest.fixture
def whole(run: Callable[..., Any], finished: list[Result]) -> Result:
    """A run of `LAMM` that nothing stopped."""
    if not finished:
        finished.append(run(LAMM, where="whole"))
    return finished[0]


@pytest.fixture(scope="module")
def finished() -> list[Result]:
    """That run, where it has been done."""
    return []


@pytest.mark.parametrize(
    "methods",
    [{"lamm": {"epochs": 2, "lr": 0.1}}, {"maple": {"epochs": 2, "prompt_depth": 2, "batch_size": 8}}, ["zero_shot"]],
    ids=["lamm", "maple", "zero_shot"],
)
def test_a_run_that_was_stopped_gives_bitwise_the_result_of_one_that_was_not(
    run: Callable[..., Any], methods: Any
) -> None:
    """Stopped, and killed, at every moment that it reports, one after the other, in one run each."""
    whole = numbers(run(methods, where="whole"))
    # Early in each process, but not before it has come a little further than the one before.
    for how, moment in ((Stopped, 2), (Killed, 3)):
        stops = 0
        for _ in range(20):
            try:
                pieces = run(methods, stop=moment, how=how, where=how.__name__)
                break
            except how:
                stops += 1
        assert stops >= (1 if methods == ["zero_shot"] else 3)
        assert numbers(pieces) == whole


def test_what_is_recorded(run: Callable[..., Any]) -> None:
    result = run({"coop": {"epochs": 2}}, evaluation={"per_class": True, "calibration": True, "confusion": True})
    metrics = {row[3] for row in result.rows}
    assert {"accuracy", "degradation", "forgetting", "ece", "class_accuracy/9"} <= metrics
    assert {"seconds", "peak_memory_mb", "trained_parameters"} <= metrics
    details = result.details
    assert details["data"]["names"] == ["digits"]
    assert details["data"]["split"] == "embedded"
    assert len(details["data"]["fingerprint"]) >= 32
    assert len(details["backbone"]["fingerprint"]) >= 32
    assert details["stream"].pop("class_names")[:2] == ["zero", "one"]
    assert details["stream"] == {"train": ["set1", "set2"], "eval": ["set1", "set2"], "classes": 10}
    assert {space: (len(rows), len(rows[0])) for space, rows in details["matrices"].items()} == {
        "own": (3, 2),
        "seen": (3, 2),
        "all": (3, 2),
    }
    assert sum(count for _, _, count in details["confusion"]["sets"]["set1"]) == 462
    assert details["device"]["threads"] == 1
    assert details["seconds"] > 0
    assert details["peak_memory_mb"] > 0


@pytest.mark.filterwarnings("ignore:tiny has not learned the words")
def test_repeated_pictures_are_noted_in_the_record(run: Callable[..., Any], tmp_path: Path) -> None:
    for part in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            for value in range(2):
                color = (value, number, part == "train" or (value, name) == (0, "cat"))
                Image.new("RGB", (32, 32), color).save(tmp_path / "pets" / part / name / f"{value}.png")
    noted = run(["zero_shot"], datasets=[{"folder": str(tmp_path / "pets")}]).details["data"]["notes"]
    (said,) = [note for note in noted if "by content" in note]
    assert said == (
        "pets: 1 picture is in more than one of train, val and test, by content: 'train/cat/0.png' = 'test/cat/0.png'"
    )


def test_stage_zero_can_be_left_out(run: Callable[..., Any]) -> None:
    result = run(["zero_shot"], evaluation={"before_training": False})
    assert not any(row[0] == 0 and row[4] is not None for row in result.rows)


def test_a_checkpoint_holds_no_pickle_and_no_backbone(run: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(LAMM, stop=3)
    path = tmp_path / "run" / CHECKPOINT
    assert path.stat().st_size < 200_000
    with safetensors.safe_open(path, framework="pt") as file:
        assert set(file.metadata()) == {"version", "run_id", "state", "course", "digest"}
        assert json.loads(file.metadata()["state"])["momentum"]["dict"]


def test_a_run_in_pure_half_precision(run: Callable[..., Any]) -> None:
    methods = {"coop": {"epochs": 1}}
    full = run(methods, where="full")
    half = run(methods, backbone={"name": "tiny", "precision": "pure_fp16"})
    for result, precision in ((half, "fp16"), (full, "fp32")):
        assert result.details["backbone"]["fingerprint"] == load_clip("tiny", precision=precision).fingerprint
    assert numbers(half) != numbers(full)


def test_images_are_squeezed_where_the_config_says_so(run: Callable[..., Any], tmp_path: Path) -> None:
    for number, (part, name) in enumerate(itertools.product(["train", "test"], ["cat", "dog"])):
        (tmp_path / "wide" / part / name).mkdir(parents=True)
        for value in range(2):
            wide = Image.new("RGB", (96, 32), (value, number, 0))
            wide.paste((255, 255 * (name == "cat"), 0), (0, 0, 32, 32))  # left of what a crop shows
            wide.save(tmp_path / "wide" / part / name / f"{value}.png")
    data = [{"folder": str(tmp_path / "wide")}]
    cropped = run(["simplecil"], datasets=data, where="cropped")
    squeezed = run(["simplecil"], datasets=data, backbone={"name": "tiny", "resize_mode": "squash"})
    assert squeezed.details["backbone"] == cropped.details["backbone"]
    assert squeezed.details["matrices"]["own"][-1][-1] == 1.0
    assert numbers(squeezed) != numbers(cropped)


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "foreign"])
def test_a_damaged_checkpoint_is_not_trusted(
    run: Callable[..., Any], whole: Result, tmp_path: Path, damage: str
) -> None:
    with pytest.raises(Stopped):
        run(LAMM, stop=3)
    path = tmp_path / "run" / CHECKPOINT
    data = path.read_bytes()
    if damage == "foreign":
        data = data.replace(b'run_id":"', b'run_id":"x', 1)[: len(data)]
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "noise": b"\xff" * 100, "foreign": data}[damage])
    assert load_checkpoint(path, "x") is None
    assert numbers(run(LAMM)) == numbers(whole)


def without(content: dict[str, Any], path: str) -> dict[str, Any]:
    """Return a copy without one entry, `a.b` below `a`."""
    head, _, rest = path.partition(".")
    if set(content) == {"dict"}:
        return {"dict": [pair for pair in content["dict"] if pair[0] != head]}
    kept = {key: value for key, value in content.items() if key != head or rest}
    return {**kept, head: without(kept[head], rest)} if rest else kept


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("state scaler", "it differs in scaler"),
        ("state epoch", "it differs in epoch"),
        ("state clock.train_iterations", "it differs in clock.train_iterations"),
        ("state format", "has format None"),
        ("state matrix", "it lacks 'met'"),
        ("course evaluated", "it lacks 'evaluated'"),
        ("course stages", "it tells of 1 stages, and its course of 2 and 1"),
        ("state model", "it differs in model"),
        ("state momentum", "it differs in momentum"),
        ("state generators.torch", "it differs in generators.torch"),
        ("tensors 1", "it differs in tensors"),
    ],
)
def test_a_checkpoint_of_another_build_is_not_used_and_that_is_said(
    run: Callable[..., Any], whole: Result, tmp_path: Path, part: str, reason: str
) -> None:
    assert whole.details["notes"] == []
    inside = "epoch" in part or "momentum" in part
    with pytest.raises(Stopped):
        run(LAMM, stop=3 if inside else 5)
    path = tmp_path / "run" / CHECKPOINT
    head, tensors = unpack(path.read_bytes())
    state, course = json.loads(head["state"]), json.loads(head["course"])
    assert (state["epoch"] is not None) == inside
    kind, name = part.split()
    if kind == "tensors":
        tensors = {key: value for key, value in tensors.items() if not key.startswith(name)}
    elif part == "state matrix":
        (key,) = [key for key in state["plugins"] if key.endswith("AccuracyMatrix")]
        state = {**state, "plugins": {**state["plugins"], key: without(state["plugins"][key], "met")}}
    elif part == "course stages":
        course |= {"trained": 2, "evaluated": 1}
    elif kind == "state":
        state = without(state, name)
    else:
        course = without(course, name)
    path.write_bytes(pack({**head, "state": json.dumps(state), "course": json.dumps(course)}, tensors))
    again = run(LAMM)
    (note,) = again.details["notes"]
    assert note.startswith("it began anew, since its checkpoint could not be used: ")
    assert reason in note
    assert numbers(again) == numbers(whole)


def test_the_device_index_and_the_paths_are_no_part_of_the_id(write_config: Callable[..., Path]) -> None:
    def ids(device: str | None = None, **changes: Any) -> list[str]:
        return [spec.run_id for spec in grid(read_config(write_config(**changes)), device)]

    assert ids("cuda:0") == ids("cuda:1") != ids("cpu")
    assert (
        ids(root="/a", cache="/b", jobs=3, num_workers=2, graph="never", loggers=["csv"], checkpoint_minutes=1) == ids()
    )
    assert ids(experiment="renamed") == ids()
    assert ids(threads=2) != ids()
    assert len(set(ids())) == 4


def test_the_id_is_the_same_on_every_machine() -> None:
    spec = RunSpec("e", "few_shot", ("digits",), "digits", "lamm", "lamm", "tiny", 16, 1, options={"lr": 0.1})
    assert spec.run_id == "bc51a4e489f0"
    assert RunSpec(**{**vars(spec), "options": {"lr": 0.1}, "experiment": "f", "label": "g"}).run_id == spec.run_id


@pytest.mark.parametrize("logger", ["tensorboard", "csv", "text"])
def test_loggers_write_below_the_run_and_change_nothing(run: Callable[..., Any], tmp_path: Path, logger: str) -> None:
    methods = {"coop": {"epochs": 1}}
    watched = run(methods, loggers=[logger], where="watched")
    assert numbers(watched) == numbers(run(methods))
    written = {path.name.partition(".")[0] for path in (tmp_path / "watched").rglob("*") if path.is_file()}
    assert {"tensorboard": "events", "csv": "eval_results", "text": "log"}[logger] in written


def test_weights_and_biases_offline(run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run({"coop": {"epochs": 1}}, loggers={"wandb": {"mode": "offline"}}, where="watched")
    assert list((tmp_path / "watched").glob("wandb/offline-run-*/*.wandb"))


@pytest.mark.parametrize("method", method_names())
def test_every_recipe_arrives_at_the_strategy(method: str, write_config: Callable[..., Path], tiny: Any) -> None:
    spec = grid(read_config(write_config(protocol="class_incremental", methods=[method], seeds=[1], shots=2)))[0]
    assert sort_options(method, "tiny", spec.options, ("optimizer",)).recipe == recipe_for(method, "tiny")


def test_an_optimizer_by_name_and_steps_that_are_counted(run: Callable[..., Any]) -> None:
    result = run({"clip_lora": {"encoder": "text", "r": 1, "steps_per_shot": 2}})
    assert {row[0] for row in result.rows} == {0, 1, 2}


@pytest.mark.parametrize("how", ["silent", "failing"])
def test_a_run_does_not_end_for_want_of_a_network(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    reason = "http://127.0.0.1:9 does not answer"
    if how == "failing":
        real, reason = wandb.init, "the server hung up"

        def init(**options: Any) -> Any:
            if options.get("mode") != "offline":
                raise wandb.errors.CommError("the server hung up\nand more")
            return real(**options)

        monkeypatch.setattr(wandb, "init", init)
        monkeypatch.setattr("lamm_cl.clip.hub.reachable", lambda url: True)
    result = run({"zero_shot": {}}, loggers=["wandb"], where="watched")
    (note,) = result.details["notes"]
    assert note.startswith(f"W&B could not be told ({reason}); `wandb sync ")
    assert list((tmp_path / "watched").glob("wandb/offline-run-*/*.wandb"))
    assert numbers(result) == numbers(run({"zero_shot": {}}, where="plain"))


def test_processes_that_read_images_change_neither_result_nor_identity(run: Callable[..., Any]) -> None:
    found = []
    for number in (None, 2):
        told: Any = {"methods": {"vpt": {"epochs": 2, "batch_size": 10}}, "evaluation": {"before_training": False}}
        result = run(told.pop("methods"), where=str(number), **told, **({} if number is None else {"num_workers": 2}))
        found.append((numbers(result), result.details["data"]))
    assert found[0] == found[1]


def test_the_runs_of_a_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from unittest.mock import MagicMock

    from lamm_cl.experiments import run_one
    from lamm_cl.experiments.spec import Environment
    from lamm_cl.strategies import settings

    asked: list[int] = []

    def build_strategy(*_: Any, num_workers: int, **__: Any) -> None:
        asked.append(num_workers)
        raise Stopped

    monkeypatch.setattr(settings, "cores", lambda: 16)
    monkeypatch.setattr(run_one, "backbone_of", lambda *_: (MagicMock(), None))
    monkeypatch.setattr(run_one, "build_stream", MagicMock())
    monkeypatch.setattr(run_one, "build_strategy", build_strategy)
    spec = RunSpec("try", "few_shot", ("digits",), "digits", "vpt", "vpt", "tiny", 2, 1)
    for device, wanted, sharing in (("cuda:1", None, 4), ("cuda:1", None, 1), ("cuda:1", 7, 4), ("cpu", None, 1)):
        environment = Environment(num_workers=wanted)
        with pytest.raises(Stopped):
            execute(Job(spec, tmp_path, environment, device, lambda *_: None, 1, sharing))
    assert asked == [3, 15, 7, 0]
