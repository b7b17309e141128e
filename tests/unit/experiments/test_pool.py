"""Hearing workers, with pipes that have no process behind them."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from lamm_cl.experiments.pool import Pool, Worker


@pytest.fixture
def others() -> list[Any]:
    """The far ends of the pipes."""
    return []


@pytest.fixture
def pool(others: list[Any]) -> Any:
    """Two workers, both with something to say."""
    made = Pool(lambda device, log: pytest.fail("no worker is started here"), ["cpu", "cpu"])
    for number in range(2):
        ours, theirs = multiprocessing.Pipe()
        theirs.send(("progress", number))
        settings: Any = Path()
        made.workers.append(Worker(number, settings, None, ours))
        others.append(theirs)
    yield made
    made._logs.cleanup()


def test_everyone_who_speaks_is_heard(pool: Any) -> None:
    assert [one.receive() for one in pool.events(0)] == [("progress", 0), ("progress", 1)]
    assert list(pool.events(0)) == []


def test_a_worker_that_was_heard_out_meanwhile_is_not_waited_for(pool: Any) -> None:
    heard = []
    for one in pool.events(0):
        heard.append(one.number)
        for each in list(pool.workers):
            each.receive()  # as a stop does, which waits for the last words of all
    assert heard == [0]


def test_a_worker_that_was_let_go_meanwhile_is_not_heard(pool: Any) -> None:
    heard = []
    for one in pool.events(0):
        heard.append(one.number)
        pool.workers[1].pipe.close()
        pool.workers = pool.workers[:1]
    assert heard == [0]


def test_the_end_of_a_worker_is_an_event(pool: Any, others: list[Any]) -> None:
    assert [one.receive() for one in pool.events(0)]
    others[1].close()
    [gone] = pool.events(0)
    assert gone.number == 1
    assert gone.receive() is None
