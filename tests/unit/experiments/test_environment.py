from collections.abc import Callable
from types import SimpleNamespace

import pytest

from lamm_cl.errors import UsageError
from lamm_cl.experiments import environment


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda count: monkeypatch.setattr(environment, "count_gpus", lambda: count)


def test_auto_takes_a_gpu_where_there_is_one(gpus: Callable[[int], None]) -> None:
    gpus(0)
    assert environment.find_device("auto") == "cpu"
    gpus(2)
    assert environment.find_device("auto") == environment.find_device("cuda") == "cuda"
    assert environment.find_device("cuda:1") == "cuda:1"
    assert environment.find_device("cpu") == "cpu"


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
        environment.find_device(device)


def test_the_cluster_has_devices_of_its_own(gpus: Callable[[int], None]) -> None:
    gpus(0)
    assert environment.find_device("cuda", remote=True) == "cuda"
    assert environment.find_device("auto", remote=True) == "cpu"


def test_workers_are_dealt_out_to_gpus_in_turn(gpus: Callable[[int], None]) -> None:
    gpus(2)
    assert environment.one_per_worker("cuda", 5) == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]
    assert environment.one_per_worker("cuda:1", 2) == ["cuda:1", "cuda:1"]
    assert environment.one_per_worker("cpu", 2) == ["cpu", "cpu"]


def test_default_jobs_are_cores_that_have_memory(gpus: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(available=4 * 2**30)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    gpus(2)
    assert environment.default_jobs("cpu") == 2
    memory.available = 2**27
    assert environment.default_jobs("cpu") == environment.default_jobs("cuda") == 1
    memory.available = 200 * 2**30
    assert environment.default_jobs("cpu") == 64
    assert environment.default_jobs("cuda") == 8
    assert environment.default_jobs("cuda:0") == 4
