"""Commands that are killed, interrupted, started twice or run out of disk end in the table of one that was not."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lamm_cl import __version__
from lamm_cl.reports.results import read_results

COMMAND = Path(__file__).with_name("fake_command.py")
CONFIG = """
experiment: killed
protocol: few_shot
datasets: [digits]
methods: [zero_shot, coop, lamm]
seeds: [1, 2]
"""


class Bench:
    """Starts commands on one config and looks at what they leave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "killed.yaml"
        self.config.write_text(CONFIG)
        self.diary = folder / "diary"
        self.diary.touch()

    def command(self, words: Sequence[object], **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, str(COMMAND), *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, **environment},
        )

    def run_words(self, out: Path | str, *sets: str, jobs: int = 2, seconds: float = 0.1) -> list[object]:
        return [self.config, out, self.diary, jobs, seconds, *sets]

    def join_words(self, out: Path | str, seconds: float = 0.1) -> list[object]:
        return ["work", self.diary, json.dumps({"seconds": seconds, "steps": 4}), out]

    def start(
        self, out: Path | str, *sets: str, jobs: int = 2, seconds: float = 0.1, **options: Any
    ) -> "subprocess.Popen[str]":
        return self.command(self.run_words(out, *sets, jobs=jobs, seconds=seconds), FAKE_WORK=json.dumps(options))

    def finish(self, out: Path | str, *sets: str, jobs: int = 2, seconds: float = 0.1) -> tuple[int, str]:
        process = self.start(out, *sets, jobs=jobs, seconds=seconds)
        try:
            said, _ = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"the command did not end; it said: {process.communicate()[0]}")
        return process.returncode, said

    def join(self, out: Path | str, seconds: float = 0.1) -> "subprocess.Popen[str]":
        return self.command(self.join_words(out, seconds))

    def noted(self) -> list[str]:
        return self.diary.read_text().splitlines()

    def await_note(self, what: str, count: int = 1) -> None:
        deadline = time.monotonic() + 60
        while sum(line.startswith(what) for line in self.noted()) < count:
            assert time.monotonic() < deadline, f"waited in vain for {count} times {what!r}"
            time.sleep(0.01)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def values(out: Path) -> str:
    lines = (out / "runs.csv").read_text().splitlines(keepends=True)
    return "".join(line for line in lines if ",seconds," not in line)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The table of a command that nothing disturbed."""
    bench = Bench(tmp_path_factory.mktemp("undisturbed"))
    code, said = bench.finish(bench.folder / "out")
    assert code == 0, said
    return values(bench.folder / "out")


@pytest.mark.parametrize("kills", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_kills_at_any_moment_end_in_the_same_table(bench: Bench, expected: str, kills: int) -> None:
    """Kill -9 of the command, of all its processes, or of one worker, at random moments, again and again."""
    dice = random.Random(7)
    begin = time.monotonic()
    assert bench.finish(bench.folder / "timed")[0] == 0
    usual = time.monotonic() - begin
    kinds: Counter[str] = Counter()
    grids = 0
    while kinds.total() < kills:
        out = bench.folder / f"grid{grids}"
        for _ in range(100):
            if strike(bench.start(out), dice, kinds, usual):
                break
        assert values(out) == expected
        # A kill between a run's record and the removal of its lock leaves an empty file that nobody holds: harmless.
        assert [path for path in out.rglob("*") if path.suffix == ".tmp"] == []
        grids += 1
    assert min(kinds[kind] for kind in ("command", "all", "worker")) >= kills // 12
    assert grids >= kills // 20


def strike(process: "subprocess.Popen[str]", dice: random.Random, kinds: Counter[str], usual: float) -> bool:
    """Kill something of a command at a random moment; returns whether the command finished nevertheless."""
    kind = dice.choice(["command", "all", "worker"])
    try:
        said, _ = process.communicate(timeout=dice.uniform(0.02, usual))
        assert process.returncode == 0, said
        return True
    except subprocess.TimeoutExpired:
        pass
    if kind == "command":
        process.kill()
    elif kind == "all":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        workers = children(process.pid)
        if not workers:
            kind = "command"
            process.kill()
        else:
            os.kill(dice.choice(workers), signal.SIGKILL)
    kinds[kind] += 1
    said, _ = process.communicate(timeout=120)
    assert kind != "worker" or process.returncode == 0, said
    return process.returncode == 0


def children(pid: int) -> list[int]:
    """Return the worker processes of a command, as /proc knows them."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            words = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == pid and b"spawn_main" in words:
            found.append(int(stat.parent.name))
    return found


def test_ctrl_c_saves_says_how_to_go_on_and_loses_nothing(bench: Bench, expected: str) -> None:
    out = bench.folder / "out"
    process = bench.start(out, seconds=2.0)
    bench.await_note("start", count=2)
    time.sleep(0.7)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Stopped early: interrupted." in said
    assert f"Continue with: lamm-cl run {bench.config} --out {out}" in said
    assert "Traceback" not in said
    assert len(list(out.glob("runs/*/checkpoint.safetensors"))) == 2
    code, said = bench.finish(out)
    assert code == 0
    assert values(out) == expected


def test_sigterm_is_an_interrupt(bench: Bench, expected: str) -> None:
    out = bench.folder / "out"
    process = bench.start(out, seconds=2.0)
    bench.await_note("start", count=2)
    process.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "ended by SIGTERM" in said
    assert bench.finish(out)[0] == 0
    assert values(out) == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_checks_is_answered_and_nothing_is_written(bench: Bench, number: signal.Signals) -> None:
    out = bench.folder / "out"
    process = bench.start(out, check_seconds=60.0)
    bench.await_note("check")
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == f"Interrupted; what is done is kept. Continue with: lamm-cl run {bench.config} --out {out}\n"
    assert not out.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment_is_answered_with_a_line(bench: Bench, expected: str, number: signal.Signals) -> None:
    """The command itself, from its first import to its last word."""
    dice, answered = random.Random(11), 0
    code = "from lamm_cl.cli import start\nprint('on', flush=True)\nstart()"
    words = ["run", str(bench.config), "--out", str(bench.folder / "real"), "--set", "datasets=[absent]"]
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        time.sleep(dice.uniform(0.0, 0.4))
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
        assert "Traceback" not in said
        assert process.returncode in (2, 130) or (number == signal.SIGTERM and process.returncode == -number), said
        assert said or process.returncode == -number, "the command ended without a word"
        answered += process.returncode == 130
    assert answered or number == signal.SIGTERM


def test_two_commands_at_once_share_the_runs(bench: Bench, expected: str) -> None:
    before = len(bench.noted())
    out = bench.folder / "out"
    both = [bench.start(out, seconds=0.4) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    started = [line.split()[1] for line in bench.noted()[before:] if line.startswith("start")]
    assert len(started) == len(set(started)) == 6, "a run was done twice, or not at all"
    assert values(out) == expected
    assert all("6 runs:" in text and "left" not in text.rpartition("6 runs:")[2] for text in said)


def test_six_commands_at_once_with_reports_between(bench: Bench, expected: str) -> None:
    before = len(bench.noted())
    out = bench.folder / "out"
    many = [bench.start(out, jobs=1, seconds=0.5) for _ in range(6)]
    reports = 0
    while any(process.poll() is None for process in many):
        if (out / "runs.csv").is_file():
            rows = read_results(out).frame  # as `lamm-cl report` does: it raises where the table is not whole
            assert set(rows["status"]) <= {"done"}
            reports += 1
        time.sleep(0.02)
    said = [process.communicate(timeout=120)[0] for process in many]
    assert [process.returncode for process in many] == [0] * 6, said
    started = [line.split()[1] for line in bench.noted()[before:] if line.startswith("start")]
    assert len(started) == len(set(started)) == 6, "a run was done twice, or not at all"
    assert values(out) == expected
    assert reports > 3


def test_a_clock_that_jumps_does_not_matter(bench: Bench, expected: str) -> None:
    """Files from the past and from the future, as a clock leaves that is set while commands work."""
    dice, before = random.Random(5), len(bench.noted())
    out = bench.folder / "out"
    for _ in range(3):
        process = bench.start(out, seconds=0.4)
        time.sleep(dice.uniform(1.5, 3.0))
        with contextlib.suppress(ProcessLookupError):  # it may have finished
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for path in out.rglob("*"):
            moment = dice.choice([86_400.0, time.time() + 1e9])
            os.utime(path, (moment, moment))
    assert bench.finish(out)[0] == 0
    assert values(out) == expected
    assert len(bench.noted()) > before


def test_one_of_two_commands_takes_over_from_the_other(bench: Bench, expected: str) -> None:
    out = bench.folder / "out"
    first = bench.start(out, seconds=3.0)
    bench.await_note("start", count=2)
    second = bench.start(out, seconds=0.1)
    time.sleep(1.0)
    workers = children(first.pid)
    logs = {Path(f"/proc/{worker}/fd/1").readlink().parent for worker in workers}
    first.kill()
    first.communicate()
    said, _ = second.communicate(timeout=120)
    assert second.returncode == 0, said
    assert values(out) == expected
    assert len(logs) == 1
    assert not any(folder.exists() for folder in logs), "the killed command's workers leave nothing behind"


def test_a_worker_joins_from_anywhere(bench: Bench, expected: str) -> None:
    before = len(bench.noted())
    out = bench.folder / "out"
    command = bench.start(out, jobs=1, seconds=0.4)
    bench.await_note("start")
    joined = bench.join(out, seconds=0.4)
    said, also = command.communicate(timeout=120)[0], joined.communicate(timeout=120)[0]
    assert (command.returncode, joined.returncode) == (0, 0), said + also
    started = [line.split()[1:] for line in bench.noted()[before:] if line.startswith("start")]
    assert len(started) == len({run for run, _ in started}) == 6, "a run was done twice, or not at all"
    assert len({process for _, process in started}) == 2, "both worked"
    assert "by another command" in said
    assert values(out) == expected


def test_two_versions_do_not_share_a_table(bench: Bench, expected: str) -> None:
    """Another version may come to a directory at any moment: before, beside and after the one that began it."""
    out = bench.folder / "out"
    first = bench.start(out, seconds=1.0)
    bench.await_note("start")
    others = [
        bench.command(bench.run_words(out), FAKE_VERSION="9.9"),
        bench.command(bench.join_words(out), FAKE_VERSION="9.9"),
    ]
    for other in others:
        said, _ = other.communicate(timeout=60)
        assert other.returncode == 2, said
        assert f"error: {out} was made by lamm_cl {__version__}, this is 9.9: their results must not" in said
    said, _ = first.communicate(timeout=120)
    assert first.returncode == 0, said
    assert values(out) == expected
    fresh = bench.folder / "fresh"
    both = [bench.command(bench.run_words(fresh), FAKE_VERSION=version) for version in ("0.1", "0.2")]
    ended = [(process.communicate(timeout=120)[0], process.returncode) for process in both]
    assert sorted(code for _, code in ended) == [0, 2], ended
    assert len(values(fresh).splitlines()) == len(expected.splitlines())


def test_a_worker_alone_finishes_the_grid_of_a_command_that_was_killed(bench: Bench, expected: str) -> None:
    out = bench.folder / "out"
    command = bench.start(out, seconds=2.0)
    bench.await_note("start", count=2)
    os.killpg(command.pid, signal.SIGKILL)
    command.communicate()
    joined = bench.join(out)
    said, _ = joined.communicate(timeout=120)
    assert joined.returncode == 0, said
    assert "6 runs: 6 done now." in said
    assert values(out) == expected


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGUSR1, 75)])
def test_a_worker_that_must_go_saves_its_run(bench: Bench, expected: str, number: signal.Signals, code: int) -> None:
    out = bench.folder / "out"
    command = bench.start(out, jobs=1, seconds=3.0)
    bench.await_note("start")
    command.kill()
    command.communicate()
    joined = bench.join(out, seconds=2.0)
    bench.await_note("start", count=2)
    time.sleep(0.7)
    joined.send_signal(number)
    said, _ = joined.communicate(timeout=60)
    assert joined.returncode == code, said
    assert "Stopped early: asked to end; what was begun is saved." in said
    assert f"Continue with: lamm-cl work {out}" in said
    assert len(list(out.glob("runs/*/checkpoint.safetensors"))) == 1
    assert bench.finish(out)[0] == 0
    assert values(out) == expected


def test_two_commands_of_different_experiments_do_not_mix(bench: Bench) -> None:
    out = bench.folder / "out"
    both = [bench.start(out, f"experiment={name}", seconds=0.2) for name in ("one", "other")]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    assert len({line.split(",")[0] for line in values(out).splitlines()[1:]}) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of a few pages."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_keeps_what_is_done_and_the_rest_follows(bench: Bench, expected: str, small_disk: Path) -> None:
    out = small_disk / "out"
    code, said = bench.finish(out)
    assert code == 1, said
    assert "No space left on device" in said
    assert "Traceback" not in said
    done = values(out).splitlines()[1:] if (out / "runs.csv").exists() else []
    assert all(line in expected for line in done)
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    code, said = bench.finish(out)
    assert code == 0, said
    assert values(out) == expected


def test_a_disk_without_any_room_is_wrong_use(bench: Bench, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(b"x" * 24 * 1024)
    code, said = bench.finish(small_disk / "out")
    assert code == 2
    assert "No space left on device" in said
