"""Brings workers as jobs: a scheduler in the driver, and a loop that keeps the queue as its pools want it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping

import dask
from distributed import Scheduler, SpecCluster
from distributed.utils import get_ip, get_ip_interface

from ...pipeline.errors import ClusterError, QueueError
from .. import credentials
from ..dask_executor import SETTINGS, DaskExecutor
from ..executor import Function, PoolName, pool_and_number
from ..roster import Roster, Worker
from ..spec import ClusterSpec
from . import queue_of
from .folder import Folder
from .jobs import Jobs
from .pools import FAILED_STARTS, Decision, Pool
from .queue import BatchQueue
from .scripts import job_name, worker_script
from .worker import TIMEOUTS

INTERVAL = 2.0
_CLOSING = 30.0  # seconds for the queue to become empty
_LEAVING = 15.0  # seconds for workers to end by themselves

log = logging.getLogger(__name__)


def start(spec: ClusterSpec, function: Function) -> DaskExecutor:
    """Starts an executor on the jobs of a cluster.

    Raises:
        RequestError: the batch system's commands are not there.
        ClusterError: it refuses the jobs.
    """
    batch = queue_of(spec.kind)
    batch.check_available()
    roster = Roster()
    return DaskExecutor(BatchWorkers(batch, spec, roster), roster, function)


class BatchWorkers:
    """Brings the workers of a cluster.

    Args:
        queue: queue of the batch system.
        spec: its pools are `Jobs`; its directory is one that all nodes see.
        roster: hears of the workers.
    """

    def __init__(self, queue: BatchQueue, spec: ClusterSpec, roster: Roster) -> None:
        self._queue, self._roster = queue, roster
        self._folder = Folder(spec.directory)
        self._pools: dict[PoolName, Pool] = {
            name: Pool(name, jobs) for name, jobs in spec.pools.items() if isinstance(jobs, Jobs)
        }
        self._names: dict[str, PoolName] = {job_name(self._folder.id, name): name for name in self._pools}
        self._gone: set[str] = set()
        self._refusals = 0
        self._error: BaseException | None = None
        self._end = threading.Event()
        self._settings = contextlib.ExitStack()
        self._settings.enter_context(dask.config.set({**SETTINGS, **TIMEOUTS}))
        self._clear_queue("left over from before")
        self._folder.cancel(False)
        key, certificate = credentials.temporary()
        self.cluster = self._scheduler(spec, key, certificate)
        self._folder.open_session(self.cluster.scheduler_address, key, certificate, spec.interface)
        host, port = spec.dashboard.rpartition(":")[0], self.cluster.scheduler_info["services"].get("dashboard")
        self.dashboard: str | None = f"http://{host}:{port}/status" if port else None
        self.grace_seconds = 1.0
        self._thread = threading.Thread(target=self._keep, name="batch", daemon=True)
        self._thread.start()

    def _scheduler(self, spec: ClusterSpec, key: str, certificate: str) -> SpecCluster:
        security = credentials.security(key, certificate)
        options = {
            "host": get_ip_interface(spec.interface) if spec.interface else get_ip(),
            "protocol": "tls://",
            "security": security,
            "dashboard_address": spec.dashboard,
            "plugins": [self._roster],
        }
        try:
            return SpecCluster(
                scheduler={"cls": Scheduler, "options": options}, security=security, silence_logs=logging.CRITICAL
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise ClusterError(f"The scheduler could not be started on {options['host']}: {error}.") from error

    def expect(self, ready: Mapping[PoolName, int]) -> None:
        for name, pool in self._pools.items():
            pool.ready = ready.get(name, 0)

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def reason_for_loss(self, worker: Worker) -> str:
        tail = self._folder.tail(worker.name)
        return f"the log of its job, {worker.name}, ends with:\n{tail}" if tail else ""

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        with contextlib.suppress(Exception):
            self.cluster.close(timeout=20)
        self._folder.close_session()
        with contextlib.suppress(ClusterError):
            self._clear_queue("not needed any more", patience=_LEAVING)
        self._settings.close()

    def _keep(self) -> None:
        """The loop: rounds until the end; what the queue refuses once may succeed in the next."""
        complaint = ""
        while not self._end.is_set():
            try:
                self._round()
            except QueueError as error:
                if str(error) != complaint:
                    log.warning("%s", error)
                complaint = str(error)
            except BaseException as error:
                self._error = error
                return
            self._end.wait(INTERVAL)

    def _round(self) -> None:
        self._folder.beat()
        if self._folder.cancelled:
            raise KeyboardInterrupt
        jobs = self._queue.jobs(self._names)
        workers = self._roster.workers()
        now = time.monotonic()
        for name, pool in self._pools.items():
            mine = [job for job in jobs if self._names[job.name] == name]
            members = [worker for worker in workers if worker.pool == name]
            self._act(pool, pool.decide(mine, members, self._roster.seen, self._roster.longest(name), now))
        self._drop_lost({job.id for job in jobs}, workers)

    def _act(self, pool: Pool, decision: Decision) -> None:
        if pool.failed_starts >= FAILED_STARTS:
            raise ClusterError(
                f"{pool.failed_starts} times in a row, jobs of the pool '{pool.name}' ended before their workers came"
                f" up. Mend what the last one complains about, or the pool's settings; {self._folder.log(pool.failed)}"
                f" ends with:\n{self._folder.tail(pool.failed, 20) or '(nothing: it was never written)'}"
            )
        self._roster.retire(decision.retire)
        if decision.cancel:
            self._queue.cancel(decision.cancel)
        if decision.submit:
            self._submit(pool, decision.submit)

    def _submit(self, pool: Pool, count: int) -> None:
        script = worker_script(self._queue, pool.jobs, pool.name, self._folder.id, self._folder.path, count)
        try:
            pool.submitted(self._queue.submit(script), count)
            self._refusals = 0
        except QueueError as error:
            pool.refused(time.monotonic())
            self._refusals += 1
            hopeless = self._refusals >= FAILED_STARTS or not self._queue.may_pass(error)
            if hopeless and not self._roster.workers():
                raise ClusterError(f"{self._queue.name} refuses jobs of the pool '{pool.name}': {error}") from error
            raise

    def _drop_lost(self, there: set[str], workers: list[Worker]) -> None:
        """Workers whose jobs are gone do not always say so: a node without power does not."""
        gone = {worker.address for worker in workers if pool_and_number(worker.name)[1] not in there}
        for address in gone & self._gone:
            self.cluster.loop.add_callback(self.cluster.scheduler.remove_worker, address, stimulus_id="job-ended")
        self._gone = gone

    def _clear_queue(self, why: str, patience: float = 0.0) -> None:
        """End every worker job of this run, and wait until none is left.

        Workers that have lost their scheduler end by themselves, and are given some patience: the log of a job that is
        cancelled ends with an error of the batch system, though nothing was wrong.
        """
        began = time.monotonic()
        deadline = began + _CLOSING
        while jobs := self._queue.jobs(self._names):
            leaving = time.monotonic() < began + patience
            going = [job.id for job in jobs if not job.ending and (job.pending or not leaving)]
            if going:
                log.info("cancelling %d jobs %s", len(going), why)
                self._queue.cancel(going)
            if time.monotonic() > deadline:
                raise ClusterError(f"Jobs {', '.join(job.id for job in jobs)} do not end; cancel them by hand.")
            time.sleep(0.3)
