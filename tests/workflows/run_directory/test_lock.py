"""One driver at a time works on a run directory, wherever drivers run, sleep, die, or move it."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from petavox.pipeline.errors import LockError, RequestError
from petavox.workflows.run_directory import lock as locks
from petavox.workflows.run_directory.lock import Holder, living_driver, locked, read_locked

HOLD = """
import errno, sys, time
from pathlib import Path
from petavox.workflows.run_directory import lock as locks
locks.BEAT = 0.1
if "without flock" in sys.argv:
    locks.try_lock = lambda file, how: "unknown"
if "elsewhere" in sys.argv:
    locks._machine = lambda: "another machine"
with locks.locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


class Driver:
    """A process that holds the lock of a folder."""

    def __init__(self, folder, *options):
        command = [sys.executable, "-P", "-c", HOLD, str(folder), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        assert self.process.stdout.readline() == "locked\n"
        return self.process

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.2)
    monkeypatch.setattr(locks, "PATIENCE", 1.5)


@pytest.fixture
def no_flock(monkeypatch):
    monkeypatch.setattr(locks, "try_lock", lambda file, how: "unknown")


WAYS = {
    "with flock": [],
    "on a disk without flock": ["without flock"],
    "on another machine": ["without flock", "elsewhere"],
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_a_second_driver_is_refused_until_the_first_is_gone_however_it_went(tmp_path, options, monkeypatch, caplog):
    if options:
        monkeypatch.setattr(locks, "try_lock", lambda file, how: "unknown")
    with Driver(tmp_path, *options) as first:
        with pytest.raises(RequestError, match=f"in use by process {first.pid} on .*--run"), locked(tmp_path):
            pass
        assert living_driver(tmp_path).process == first.pid
        first.kill()
        first.wait()
        assert living_driver(tmp_path) is None
    with locked(tmp_path):
        assert f"took over from process {first.pid} on" in caplog.text
        assert living_driver(tmp_path).process == os.getpid() or not options
    assert living_driver(tmp_path) is None


def test_a_lock_that_was_let_go_is_had_at_once_on_any_machine(tmp_path, monkeypatch, no_flock):
    with locked(tmp_path):
        pass
    monkeypatch.setattr(locks, "PATIENCE", 1e6)
    monkeypatch.setattr(locks, "_machine", lambda: "another")
    with locked(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock"]


def test_a_driver_that_slept_and_was_replaced_notices_before_it_writes(tmp_path, no_flock):
    with Driver(tmp_path, "without flock", "elsewhere") as asleep:
        asleep.send_signal(signal.SIGSTOP)
        with locked(tmp_path) as lock:
            lock.check()
            asleep.send_signal(signal.SIGCONT)
            time.sleep(0.5)
            lock.check()
            mine = json.loads((tmp_path / "lock").read_text())
            slept = locks.Lock.__new__(locks.Lock)
            slept._directory, slept.holder = tmp_path, dataclasses.replace(lock.holder, token="the first one's")
            with pytest.raises(LockError, match=f"has been taken over by process {os.getpid()} on"):
                slept.check()
            assert mine["token"] == lock.holder.token, "whoever woke up leaves the lock alone"


def test_a_driver_whose_directory_was_moved_stops_and_the_moved_one_is_free(tmp_path):
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run") as lock:
        (tmp_path / "run").rename(tmp_path / "moved")
        with pytest.raises(LockError, match="moved or removed"):
            lock.check()
        with pytest.raises(RequestError, match="in use"), locked(tmp_path / "moved"):
            pass
    with locked(tmp_path / "moved"):
        pass


def test_a_copy_of_a_directory_at_work_is_free(tmp_path):
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run"):
        shutil.copytree(tmp_path / "run", tmp_path / "copy")
        with locked(tmp_path / "copy") as lock:
            lock.check()


def test_a_process_number_that_came_again_is_not_the_driver(tmp_path, no_flock):
    other = dataclasses.replace(Holder.this_process(), started="1")
    (tmp_path / "lock").write_text(json.dumps(dataclasses.asdict(other)))
    with locked(tmp_path):
        pass


def test_of_several_that_follow_one_that_is_gone_one_is_let_in(tmp_path, no_flock):
    gone = dataclasses.replace(Holder.this_process(), machine="elsewhere", token="gone")
    (tmp_path / "lock").write_text(json.dumps(dataclasses.asdict(gone)))
    command = [sys.executable, "-P", "-c", HOLD.replace("locks.BEAT = 0.1", "locks.BEAT, locks.PATIENCE = 0.1, 1.0")]
    arguments = [str(tmp_path), "without flock"]
    followers = [
        subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(4)
    ]
    deadline = time.monotonic() + 60
    while sum(follower.poll() is None for follower in followers) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    winners = [follower for follower in followers if follower.poll() is None]
    assert len(winners) == 1
    assert living_driver(tmp_path).process == winners[0].pid
    for follower in followers:
        follower.kill()
    said = [follower.communicate()[0] for follower in followers]
    assert said.count("locked\n") == 1


def test_a_claim_whose_owner_died_is_in_nobodys_way_for_long(tmp_path, no_flock):
    gone = dataclasses.replace(Holder.this_process(), machine="elsewhere", token="gone")
    (tmp_path / "lock").write_text(json.dumps(dataclasses.asdict(gone)))
    (tmp_path / "lock.gone").touch()
    with pytest.raises(RequestError, match="just starting"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_readers_keep_drivers_out_and_drivers_keep_readers_out(tmp_path):
    with locked(tmp_path), pytest.raises(RequestError, match=r"in use by process \d+ on .* Wait for it"):
        read_locked(tmp_path).__enter__()
    refused = pytest.raises(RequestError, match="in use by a run that reads from it")
    with read_locked(tmp_path), read_locked(tmp_path), refused, locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_no_clock_is_asked_for_the_time_of_day(tmp_path, monkeypatch):
    with Driver(tmp_path, "without flock", "elsewhere"):
        monkeypatch.setattr(locks, "try_lock", lambda file, how: "unknown")
        monkeypatch.setattr(locks.time, "time", lambda: 1e12)
        for name in ("lock", "heartbeat"):
            os.utime(tmp_path / name, (0, 0))
        with pytest.raises(RequestError, match="in use"), locked(tmp_path):
            pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_disk_without_flock_is_told_from_a_lock_that_is_held(tmp_path, monkeypatch, number):
    def unsupported(file, how):
        raise OSError(number, "no")

    monkeypatch.setattr(locks.fcntl, "flock", unsupported)
    with locked(tmp_path), pytest.raises(RequestError, match=f"in use by process {os.getpid()} on"):
        locked(tmp_path).__enter__()


def test_duties_are_done_with_every_beat_and_their_failures_stop_nothing(tmp_path):
    done = []

    def duty():
        done.append(1)
        raise OSError(errno.ENOSPC, "full")

    with locked(tmp_path) as lock:
        lock.with_every_beat(duty)
        deadline = time.monotonic() + 30
        while len(done) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert len(done) >= 3
