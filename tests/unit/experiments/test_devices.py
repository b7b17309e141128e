from collections.abc import Callable
from types import SimpleNamespace

import pytest

from lamm_cl.errors import UsageError
from lamm_cl.experiments import devices


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda count: monkeypatch.setattr(devices, "count_gpus", lambda: count)


def test_auto_takes_a_gpu_where_there_is_one(gpus: Callable[[int], None]) -> None:
    gpus(0)
    assert devices.resolve("auto") == "cpu"
    gpus(2)
    assert devices.resolve("auto") == devices.resolve("cuda") == "cuda"
    assert devices.resolve("cuda:1") == "cuda:1"
    assert devices.resolve("cpu") == "cpu"


@pytest.mark.parametrize(
    ("device", "count", "message"),
    [
        ("cuda", 0, "it has none that torch can use"),
        ("cuda:2", 2, "it has 2. Use --device cpu"),
        ("gpu", 1, "unknown device 'gpu'"),
        ("cpu:1", 1, "unknown device 'cpu:1'"),
        ("cuda:x", 1, "unknown device 'cuda:x'"),
    ],
)
def test_devices_that_are_not_there(gpus: Callable[[int], None], device: str, count: int, message: str) -> None:
    gpus(count)
    with pytest.raises(UsageError, match=message):
        devices.resolve(device)


def test_the_cluster_has_devices_of_its_own(gpus: Callable[[int], None]) -> None:
    gpus(0)
    assert devices.resolve("cuda", remote=True) == "cuda"
    assert devices.resolve("auto", remote=True) == "cpu"


def test_workers_are_dealt_out_to_gpus_in_turn(gpus: Callable[[int], None]) -> None:
    gpus(2)
    assert devices.one_per_worker("cuda", 5) == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]
    assert devices.one_per_worker("cuda:1", 2) == ["cuda:1", "cuda:1"]
    assert devices.one_per_worker("cpu", 2) == ["cpu", "cpu"]
    assert devices.most_jobs("cuda", 64) == 8
    assert devices.most_jobs("cuda:0", 64) == 4
    assert devices.most_jobs("cpu", 64) == 64


def test_default_jobs_are_cores_that_have_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(available=4 * 2**30)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert devices.default_jobs() == 2
    memory.available = 2**27
    assert devices.default_jobs() == 1
