"""Workers on SLURM: what is special about jobs, and that none is ever left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from distributed import Client
from fakes.calls import call

from petavox import cluster
from petavox.cluster.batch import pools, workforce
from petavox.cluster.batch import slurm as dialect
from petavox.cluster.batch.folder import Folder
from petavox.cluster.batch.jobs import Jobs
from petavox.cluster.batch.scripts import job_name
from petavox.pipeline.errors import ClusterError, RequestError

SIZE = {"memory": "600MB", "walltime": "1h"}

pytestmark = pytest.mark.slurm


@pytest.fixture(autouse=True)
def slurm(slurm_environment):
    return slurm_environment


def start(folder, **jobs):
    return cluster.start(
        cluster.ClusterSpec("slurm", {"cpu": Jobs(**{"partition": "cpu", **SIZE, **jobs})}, folder), call
    )


def jobs_of(folder):
    return dialect.Slurm().jobs([job_name(Folder(folder).id, "cpu")])


def until(condition, executor=None, seconds=60):
    deadline = time.monotonic() + seconds
    completions = []
    while not condition():
        assert time.monotonic() < deadline, "too late"
        if executor is None:
            time.sleep(0.2)
        else:
            completions += executor.completed(0.2)
    return completions


def test_a_pool_grows_with_what_is_ready_and_its_end_leaves_neither_jobs_nor_credentials(tmp_path):
    executor = start(tmp_path, maximum=2)
    assert executor.capacity()["cpu"] == 0
    executor.expect({"cpu": 9})
    until(lambda: executor.capacity()["cpu"] == 2, executor)
    folder = tmp_path / "cluster"
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in ("key.pem", "certificate.pem", "session.json"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    executor.close()
    assert jobs_of(tmp_path) == []
    assert not list(folder.glob("*.pem"))
    assert not (folder / "session.json").exists()
    logs = [log.read_text() for log in (folder / "logs").iterdir()]
    assert len(logs) == 2
    assert not [log for log in logs if "slurmstepd: error" in log], "nothing was wrong"


def test_a_job_that_is_cancelled_costs_its_call_says_so_and_is_replaced(tmp_path):
    executor = start(tmp_path, minimum=1, maximum=1)
    until(lambda: executor.capacity()["cpu"] == 1, executor)
    address = executor._workforce.cluster.scheduler_address
    with pytest.raises(OSError, match=r"Connection|TLS|closed"):
        Client(address.replace("tls://", "tcp://"), timeout=3, set_as_default=False)
    executor.submit("lost", "cpu", "sleep", 600)
    (before,) = jobs_of(tmp_path)
    dialect.Slurm().cancel([before.id])
    completions = []
    deadline = time.monotonic() + 30
    while not completions:
        assert time.monotonic() < deadline
        completions += executor.completed(0.5)
    assert completions[0].lost
    assert "CANCELLED" in completions[0].reason
    executor.submit("again", "cpu", "double", 2)
    completions = until(lambda: executor.capacity()["cpu"] == 1, executor)
    while not completions:
        completions += executor.completed(0.5)
    assert [completion.value for completion in completions] == [4]
    executor.close()


def test_killing_the_driver_leaves_no_job_and_the_next_driver_clears_what_waits(tmp_path):
    driver = subprocess.Popen([sys.executable, "-P", "-m", "fakes.cluster_driver", str(tmp_path)])
    until((tmp_path / "busy").exists)
    assert {job.state for job in jobs_of(tmp_path)} == {"RUNNING", "PENDING"}
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    # What waited starts then, finds nobody, and ends as well.
    until(lambda: jobs_of(tmp_path) == [])


def test_jobs_that_die_before_their_workers_come_up_end_the_run_with_their_log(tmp_path, monkeypatch):
    monkeypatch.setattr(workforce, "FAILED_STARTS", 2)
    executor = start(tmp_path, minimum=1, prologue=("echo no such environment >&2", "exit 3"))
    with pytest.raises(ClusterError, match=r"2 times in a row(.|\n)*no such environment"):
        until(lambda: False, executor)
    executor.close()
    assert jobs_of(tmp_path) == []


def test_a_refusal_by_slurm_is_told_at_once(tmp_path):
    executor = start(tmp_path, minimum=1, partition="nowhere")
    with pytest.raises(ClusterError, match="invalid partition"):
        until(lambda: False, executor, 10)
    executor.close()


def test_without_slurm_the_request_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RequestError, match="sbatch, squeue, scancel cannot be found"):
        start(tmp_path)


def test_a_worker_that_starts_after_its_driver_has_ended_ends_too(tmp_path):
    module = "petavox.cluster.batch.worker"
    options = ["--session", str(tmp_path / "session.json"), "--pool", "cpu", "--memory", "1000", "--job", "7_0"]
    done = subprocess.run([sys.executable, "-P", "-m", module, *options], capture_output=True, text=True, check=True)
    assert "No driver is at work" in done.stdout


def test_jobs_do_not_inherit_what_is_meant_for_the_job_that_submits_them(monkeypatch):
    for name in ("SLURM_JOB_ID", "SBATCH_PARTITION", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "1")
    inherited = dialect.environment()
    assert not {"SLURM_JOB_ID", "SBATCH_PARTITION", "CUDA_VISIBLE_DEVICES"} & inherited.keys()
    assert inherited["SLURM_CONF"] == os.environ["SLURM_CONF"]


def test_a_copied_run_has_an_id_of_its_own_and_a_moved_one_keeps_it(tmp_path):

    first = Folder(tmp_path / "run").id
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert Folder(tmp_path / "copy").id != first
    Path(tmp_path / "run").rename(tmp_path / "moved")
    assert Folder(tmp_path / "moved").id == first


def test_a_retired_worker_gets_no_call_and_its_job_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "IDLE", 0.0)
    executor = start(tmp_path, maximum=1)
    executor.expect({"cpu": 1})
    until(lambda: executor.capacity()["cpu"] == 1, executor)
    executor.expect({"cpu": 0})
    until(lambda: executor.capacity()["cpu"] == 0, executor)
    until(lambda: jobs_of(tmp_path) == [])
    executor.close()
