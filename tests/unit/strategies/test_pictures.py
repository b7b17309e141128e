"""Images that processes read ahead are those that would be read in place, bit by bit, and no process is left behind."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from avalanche.training.plugins import SupervisedPlugin

import lamm_cl
from lamm_cl.errors import UsageError
from lamm_cl.strategies import pictures
from lamm_cl.strategies.batches import EpochBatches, SourceLoader
from lamm_cl.strategies.pictures import PIECE, Pictures, Readers, affordable
from lamm_cl.strategies.settings import default_workers

QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 10, "warmup_lr": 1e-3}


@pytest.fixture(scope="module")
def digits() -> Any:
    whole = lamm_cl.load_dataset("digits")
    return lamm_cl.base_to_novel(replace(whole, test=whole.test[::4]), shots=3, seed=1)


@pytest.fixture
def alone() -> Iterator[Callable[[], int]]:
    """Count the children of this process; there must be none in the end."""
    before = set(psutil.Process().children())

    def count() -> int:
        return len(set(psutil.Process().children()) - before)

    yield count
    assert count() == 0


class Draws(SupervisedPlugin):  # type: ignore[type-arg]
    """Draws from the global generator, as plugins with a memory do, and counts the readers."""

    def __init__(self, count: Callable[[], int]) -> None:
        super().__init__()
        self.drawn: list[float] = []
        self.readers: list[int] = []
        self._count = count

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.drawn.append(float(torch.rand(())))
        self.readers.append(self._count())


def test_they_change_no_bit(tiny: Any, digits: Any, alone: Callable[[], int]) -> None:
    """Training of two epochs with an evaluation after each, and one in the end."""
    found = []
    for workers in (0, 2):
        draws = Draws(alone)
        options = {**QUICK, "eval_every": 1, "eval_mb_size": 50, "num_workers": workers, "plugins": [draws]}
        strategy = lamm_cl.build_strategy("maple", tiny, digits, **options)
        for experience in digits.train_stream:
            strategy.train(experience, eval_streams=[digits.test_stream[:1]])
        assert set(draws.readers) == {workers}  # also after evaluations, which have readers of their own
        assert alone() == 0
        results = strategy.eval(digits.test_stream)
        assert alone() == 0
        found.append((strategy.model.state_dict(), results, draws.drawn))
    (state, results, drawn), (other, *rest) = found
    assert [results, drawn] == rest
    assert all(torch.equal(state[name], other[name]) for name in state)


@pytest.mark.parametrize("batch", [3, 2 * PIECE + 1])
def test_views_are_those_of_the_epoch(batch: int, tiny: Any, digits: Any, alone: Any) -> None:
    pictures = Pictures(None, tiny, workers=2)
    dataset, source = digits.train_stream[0].dataset, digits.source
    with pictures.shown(source, 0):
        batches = EpochBatches(len(dataset), batch, None, drop_last=False)
        loader = SourceLoader(dataset, pictures.images, batches, torch.device("cpu"))
        for epoch in (0, 1, None):
            pictures.show(epoch)
            for x, y, index, task in loader:
                source.epoch = 7  # what others show meanwhile
                places = index.tolist()
                assert torch.equal(x, torch.stack([source.image(i, epoch) for i in places]))
                assert y.tolist() == [source.targets[i] for i in places]
                assert not task.any()
        assert alone() == 2


def test_two_may_read_at_once_and_one_may_stop(tiny: Any, digits: Any, alone: Any) -> None:
    pictures = Pictures(None, tiny, workers=2)
    wanted = [list(range(k, k + 3)) for k in range(0, 12, 3)]
    with pictures.shown(digits.source, 3):
        right = [torch.stack([digits.source.image(i, 3) for i in batch]) for batch in wanted]
        for one, other, expected in zip(pictures.images(wanted), pictures.images(wanted), right, strict=True):
            assert torch.equal(one, expected)
            assert torch.equal(other, expected)
        stopped = pictures.images(wanted)
        next(stopped)
        del stopped
        again = list(pictures.images(wanted[::-1]))
        assert all(torch.equal(one, expected) for one, expected in zip(again[::-1], right, strict=True))
    assert alone() == 0


def test_an_image_that_cannot_be_read(tiny: Any, digits: Any, alone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = type(digits.source).image

    def image(source: Any, index: int, epoch: int | None) -> Any:
        if epoch == 1:
            raise UsageError(f"image {os.getpid()} is empty (0 bytes).")
        return whole(source, index, epoch)

    monkeypatch.setattr(type(digits.source), "image", image)
    strategy = lamm_cl.build_strategy("vpt", tiny, digits, num_workers=1, **QUICK)
    with pytest.raises(UsageError, match=r"^image \d+ is empty \(0 bytes\)\.$") as error:
        strategy.train(digits.train_stream[0])
    assert str(os.getpid()) not in str(error.value)
    assert alone() == 0


def test_the_users_transforms_are_honoured(tiny: Any, digits: Any) -> None:
    pictures, dataset = Pictures(None, tiny), digits.train_stream[0].dataset
    changed = dataset.replace_current_transform_group((torch.neg, None))
    other = lamm_cl.base_to_novel("digits", shots=3, seed=1).train_stream[0].dataset
    assert not pictures.gives(dataset)  # nothing is shown
    with pictures.shown(digits.source, None):
        for plain in (dataset, dataset.eval(), dataset.train().subset([1, 0])):
            assert pictures.gives(plain)
            assert torch.equal(plain[0][0], digits.source.image(int(plain.index[0]), None))
        frozen = changed.freeze_transforms()
        for one in (changed, frozen, other, [1]):
            assert not pictures.gives(one)
        assert torch.equal(changed[0][0], -dataset[0][0])
        for one in (
            changed.subset([0, 1]),
            changed.concat(dataset),
            frozen.subset([0]),
        ):  # Avalanche drops some transforms here
            assert pictures.gives(one) == torch.equal(one[0][0], dataset[0][0])


def test_how_many(tiny: Any, digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(32)), raising=False)
    assert [default_workers("cuda", runs) for runs in (1, 2, 4, 8, 64)] == [16, 15, 7, 3, 1]
    assert default_workers("cpu") == 0
    monkeypatch.setattr(pictures.shutil, "disk_usage", lambda _: SimpleNamespace(free=64 << 20))
    assert affordable(16, 12 * 224 * 224) == 4
    assert affordable(2, 12 * 224 * 224) == 2
    started: list[int] = []
    monkeypatch.setattr("lamm_cl.strategies.pictures.Readers", lambda _, workers, __: started.append(workers))
    strategy = lamm_cl.build_strategy("vpt", tiny, digits, **QUICK)
    strategy.train(digits.train_stream[0])
    assert not started  # none on the CPU, unless asked for
    with pytest.raises(UsageError, match="num_workers"):
        lamm_cl.build_strategy("vpt", tiny, digits, num_workers=-1)


def hold(source: Any, told: Any) -> None:
    """Start readers and wait to be killed."""
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    some = Readers(source, 2, pinned=False)
    next(iter(some.pieces([[(0, 0)], [(1, 0)]])))
    told.send([child.pid for child in psutil.Process().children()])
    time.sleep(60)


@pytest.mark.slow
def test_they_end_with_a_process_that_is_killed(tiny: Any, digits: Any) -> None:
    digits.source.set_backbone(tiny)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, args=(digits.source, theirs), daemon=True)
    process.start()
    children = [psutil.Process(pid) for pid in ours.recv()]
    assert len(children) == 2
    os.kill(process.pid or 0, signal.SIGKILL)
    assert not psutil.wait_procs(children, timeout=30)[1]  # torch lets them look every 5 seconds
    process.join()
