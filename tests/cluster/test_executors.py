"""Every executor keeps the same contract; the suite runs over each of them."""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil
import pytest
from distributed.utils import get_ip
from fakes.calls import Unpicklable, call

from petavox import cluster
from petavox.cluster.batch.jobs import GpuJobs, Jobs
from petavox.pipeline.errors import ClusterError, RequestError

WORKERS = 2
MEMORY = 600_000_000


ON_SLURM = pytest.param("slurm", marks=pytest.mark.slurm)


def local_place(workers, gpus=0):
    pools = {"cpu": cluster.PoolSpec(workers, MEMORY), "gpu": cluster.PoolSpec(gpus, MEMORY)}
    return cluster.ClusterSpec("local", {pool: size for pool, size in pools.items() if size.workers})


@pytest.fixture(scope="module")
def started_local():
    executor = cluster.start(local_place(WORKERS, gpus=1), call)
    yield executor
    executor.close()


@pytest.fixture(scope="module")
def started_jobs(slurm_environment, tmp_path_factory):
    size = {"memory": f"{MEMORY // 10**6}MB", "walltime": "1h"}
    cpu = Jobs(partition="cpu", minimum=WORKERS, maximum=WORKERS, **size)
    gpu = GpuJobs(partition="gpu", minimum=1, maximum=1, **size)
    executor = cluster.start(
        cluster.ClusterSpec("slurm", {"cpu": cpu, "gpu": gpu}, tmp_path_factory.mktemp("run")), call
    )
    yield executor
    executor.close()


def with_all_workers(executor):
    deadline = time.monotonic() + 60
    while (capacity := executor.capacity()) != {"cpu": WORKERS, "gpu": 1}:
        assert time.monotonic() < deadline, f"only {capacity} came up"
        executor.completed(0.5)
    return executor


@pytest.fixture
def local(started_local):
    yield with_all_workers(started_local)
    started_local.cancel()


@pytest.fixture(params=["local", ON_SLURM])
def pooled(request):
    """An executor with pools of workers."""
    executor = request.getfixturevalue({"local": "started_local", "slurm": "started_jobs"}[request.param])
    yield with_all_workers(executor)
    executor.cancel()


@pytest.fixture(params=["serial", "local", ON_SLURM])
def executor(request):
    if request.param == "serial":
        yield cluster.start(cluster.ClusterSpec("serial"), call)
        return
    executor = request.getfixturevalue({"local": "started_local", "slurm": "started_jobs"}[request.param])
    yield with_all_workers(executor)
    executor.cancel()


def all_of(executor, count):
    completions = []
    deadline = time.monotonic() + 60
    while len(completions) < count:
        assert time.monotonic() < deadline, f"only {completions} completed"
        completions += executor.completed(1.0)
    return {completion.key: completion for completion in completions}


def test_every_call_completes_once_under_its_key(executor):
    for n in range(5):
        executor.submit(("key", n), "cpu", "double", n)
    completions = all_of(executor, 5)
    assert {key: completion.value for key, completion in completions.items()} == {("key", n): 2 * n for n in range(5)}
    assert executor.completed(0.05) == []


def test_a_key_may_be_used_again_and_its_call_runs_again(executor):
    for n in (1, 2):
        executor.submit("same", "cpu", "double", n)
        assert all_of(executor, 1)["same"].value == 2 * n


def test_what_a_call_raises_arrives_as_a_traceback(executor):
    executor.submit(0, "cpu", "raise", "no such luck")
    completion = all_of(executor, 1)[0]
    assert "ValueError: no such luck" in completion.error
    assert "exec_raise" in completion.error
    assert not completion.lost


def test_what_cannot_be_pickled_is_refused_on_the_way_in(executor):
    with pytest.raises((TypeError, AttributeError), match="stays where it is"):
        executor.submit(0, "cpu", Unpicklable())


def test_what_cannot_be_pickled_is_an_error_on_the_way_out(executor):
    executor.submit(0, "cpu", "unpicklable")
    assert "stays where it is" in all_of(executor, 1)[0].error


def test_cancelled_calls_are_not_reported_and_later_ones_are(executor):
    for n in range(executor.capacity()["cpu"] + 2):
        executor.submit(n, "cpu", "sleep", 0.2)
    executor.cancel()
    executor.submit("later", "cpu", "double", 4)
    assert all_of(executor, 1)["later"].value == 8
    assert executor.completed(0.5) == []


def test_calls_for_gpus_run_on_gpu_workers_only_and_others_never_do(pooled):
    for n in range(20):
        pooled.submit(("cpu", n), "cpu", "worker")
        pooled.submit(("gpu", n), "gpu", "worker")
    where = {pool: set() for pool in ("cpu", "gpu")}
    for (pool, _), completion in all_of(pooled, 40).items():
        where[pool].add(completion.value)
    assert len(where["gpu"]) == 1
    assert len(where["cpu"]) <= WORKERS
    assert {name.partition("-")[0] for name in where["gpu"]} == {"gpu"}
    assert {name.partition("-")[0] for name in where["cpu"]} == {"cpu"}


def test_gpu_workers_see_their_gpu_and_cpu_workers_none(pooled):
    for pool in ("cpu", "gpu"):
        pooled.submit(pool, pool, "environment", "CUDA_VISIBLE_DEVICES")
    seen = {pool: completion.value for pool, completion in all_of(pooled, 2).items()}
    assert not seen["cpu"]
    assert seen["gpu"] in {"0", "1"}


def test_calls_run_on_all_workers_at_the_same_time(pooled):
    for n in range(pooled.capacity()["cpu"]):
        pooled.submit(n, "cpu", "sleep", 0.3)
    all_of(pooled, pooled.capacity()["cpu"])
    processes = set()
    for _ in range(20):
        for n in range(pooled.capacity()["cpu"]):
            pooled.submit(n, "cpu", "process")
        processes |= {completion.value for completion in all_of(pooled, pooled.capacity()["cpu"]).values()}
    assert len(processes) == WORKERS == pooled.capacity()["cpu"]


def test_the_death_of_a_worker_costs_its_own_call_only(pooled):
    pooled.submit("good", "cpu", "sleep", 1.0)
    pooled.submit("bad", "cpu", "die")
    completions = all_of(pooled, 2)
    assert completions["bad"].lost
    assert completions["good"].error is None
    assert not completions["good"].lost


def test_a_worker_that_died_is_replaced(pooled, tmp_path):
    pooled.submit(0, "cpu", "die once", str(tmp_path / "marker"))
    assert all_of(pooled, 1)[0].lost
    pooled.submit(0, "cpu", "die once", str(tmp_path / "marker"))
    assert all_of(pooled, 1)[0].value == "survived"


def test_a_worker_above_its_memory_limit_is_lost_and_nothing_else(pooled):
    pooled.submit("greedy", "cpu", "allocate", 2 * MEMORY)
    completion = all_of(pooled, 1)["greedy"]
    assert completion.lost
    assert "memory" in completion.reason


def test_ctrl_c_in_a_terminal_is_left_to_the_driver(pooled):
    pooled.submit(0, "cpu", "process")
    worker = all_of(pooled, 1)[0].value
    pooled.submit(0, "cpu", "sleep", 0.5)
    pooled.submit(1, "cpu", "sleep", 0.5)
    os.kill(worker, signal.SIGINT)
    assert not any(completion.lost for completion in all_of(pooled, 2).values())
    assert psutil.pid_exists(worker)


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "PYTHONSAFEPATH"])
def test_workers_are_told_to_use_one_core_and_no_stray_modules(pooled, name):
    pooled.submit(0, "cpu", "environment", name)
    assert all_of(pooled, 1)[0].value == "1"


def listening(processes):
    connections = [connection for process in processes for connection in process.net_connections("inet")]
    return {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}


def test_workers_of_this_machine_listen_on_loopback_and_no_driver_listens_everywhere(pooled):
    driver = psutil.Process()
    assert listening(driver.children()) <= {"127.0.0.1"}
    assert listening([driver]) <= {"127.0.0.1", get_ip()}
    assert pooled.dashboard.startswith("http://127.0.0.1:")


def test_closing_leaves_no_process_and_no_waiting_behind():
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    executor = cluster.start(local_place(1), call)
    executor.submit(0, "cpu", "sleep", 600)
    time.sleep(0.5)
    children = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    assert workers
    closing = threading.Thread(target=executor.close)
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


def test_a_driver_without_its_scheduler_says_so_and_how_to_go_on():
    executor = cluster.start(local_place(1), call)
    try:
        executor._client.close()
        with pytest.raises(ClusterError, match="the same command continues"):
            executor.submit("key", "cpu", "echo", 1)
    finally:
        executor.close()


def test_an_unknown_kind_is_refused_with_those_there_are():
    with pytest.raises(RequestError, match="serial, local, slurm; found 'cloud'"):
        cluster.start(cluster.ClusterSpec("cloud"), call)
