"""A long worker keeps nothing of the runs and stages that are over; the slow tier measures it in megabytes."""

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import environment, grid
from lamm_cl.experiments.run_one import execute
from lamm_cl.experiments.signals import Signals
from lamm_cl.experiments.spec import Grid, Job, RunSpec
from lamm_cl.experiments.work import Work, Worker
from lamm_cl.records import ExperimentDirectory

Write = Callable[..., Path]


@pytest.fixture
def no_automatic_collection() -> Iterator[None]:
    """Let nothing be collected that is not collected on purpose: else the tests would depend on when Python does it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive(*words: str) -> Counter[str]:
    names = (type(one).__name__ for one in gc.get_objects())
    return Counter(name for name in names if any(word in name for word in words))


def work(config: Path, out: Path, tell: Callable[[RunSpec], None]) -> None:
    read = read_config(config)
    home = ExperimentDirectory(out)
    home.open(read.experiment, "0", {})
    signals = Signals()
    Worker(home, Grid.of(grid(read, "cpu"), environment(read), home), Work(), "cpu", signals, tell).run()


@pytest.mark.usefixtures("no_automatic_collection")
def test_nothing_of_a_run_that_is_over_stays(tmp_path: Path, write_config: Write) -> None:
    """Models, strategies, streams: all that is left is what the worker shares among runs."""
    counts: list[Counter[str]] = []
    config = write_config(methods={"coop": {"epochs": 1}}, shots=1, seeds=[1, 2, 3, 4], cache=str(tmp_path / "cache"))

    def tell(spec: RunSpec) -> None:
        assert ExperimentDirectory(tmp_path / "out").is_done(spec.run_id)
        counts.append(alive("Strategy", "Experience", "AvalancheDataset", "Optimizer", "SGD"))

    work(config, tmp_path / "out", tell)
    # Each count is taken before what its own run left is collected.
    assert counts[-1] == counts[1], "what grows with every run was kept"
    assert sum(counts[-1].values()) > 0


@pytest.mark.usefixtures("no_automatic_collection")
def test_nothing_of_a_stage_that_is_over_stays(tmp_path: Path, write_config: Write) -> None:
    read = read_config(
        write_config(
            protocol={"name": "class_incremental", "steps": 5},
            methods={"lamm": {"epochs": 1}},
            shots=1,
            seeds=[1],
            cache=str(tmp_path / "cache"),
        )
    )
    counts: list[Counter[str]] = []

    def progress(fraction: float, text: str) -> None:
        if text.endswith("evaluated"):
            counts.append(alive("DataLoader", "Optimizer", "SGD", "Sampler", "LP_c_ubyte"))

    execute(Job(grid(read, "cpu")[0], tmp_path, environment(read), "cpu", progress))
    assert len(counts) == 5
    # Writing a checkpoint leaves a cycle for each tensor, of which there are some more in each stage.
    pointers = [count.pop("LP_c_ubyte") for count in counts]
    assert {later - earlier for earlier, later in pairwise(pointers)} == {2}
    assert counts[-1] == counts[1]


# -- the slow tier -------------------------------------------------------------------------------------------------


class Meter:
    """Memory and open files of this process, once it has settled."""

    def __init__(self, settled: int) -> None:
        self._settled, self._count = settled, 0
        self.megabytes: list[float] = []
        self.files: list[int] = []

    def read(self) -> None:
        self._count += 1
        if self._count > self._settled:
            process = psutil.Process()
            self.megabytes.append(process.memory_info().rss / 1e6)
            self.files.append(process.num_fds())


@pytest.mark.slow
def test_two_hundred_runs_take_the_memory_and_files_of_twenty(tmp_path: Path, write_config: Write) -> None:
    meter = Meter(settled=20)
    config = write_config(
        methods={"coop": {"epochs": 1}}, shots=1, seeds=list(range(200)), cache=str(tmp_path / "cache")
    )
    work(config, tmp_path / "out", lambda spec: meter.read())
    assert len(meter.megabytes) == 180
    assert max(meter.megabytes) < meter.megabytes[0] + 40
    assert max(meter.files) == meter.files[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:tiny has not learned the words")
def test_a_hundred_and_fifty_stages_take_the_memory_and_files_of_twenty(tmp_path: Path, write_config: Write) -> None:
    """Two test sets: what is measured of many sets after many stages grows as the numbers do."""
    dice = np.random.default_rng(0)
    for label in range(300):
        folder = tmp_path / "photos" / f"class {label:03}"
        folder.mkdir(parents=True)
        for number in range(3):
            pixels = dice.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    read = read_config(
        write_config(
            protocol={"name": "class_incremental", "steps": 150, "evaluate": ["set1", "set2"]},
            datasets=[{"folder": str(tmp_path / "photos"), "name": "photos"}],
            methods={"lamm": {"epochs": 1}},
            shots=1,
            seeds=[1],
            cache=str(tmp_path / "cache"),
        )
    )
    meter = Meter(settled=20)

    def progress(fraction: float, text: str) -> None:
        if text.endswith("evaluated"):
            meter.read()

    execute(Job(grid(read, "cpu")[0], tmp_path, environment(read), "cpu", progress))
    assert len(meter.megabytes) == 130
    assert max(meter.megabytes) < meter.megabytes[0] + 40
    assert max(meter.files) == meter.files[0]
