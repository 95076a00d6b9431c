"""How many jobs a pool asks for, and which it lets go."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petavox.cluster.batch.jobs import Jobs
from petavox.cluster.batch.pools import FAILED_STARTS, IDLE, Pool
from petavox.cluster.batch.queue import QueuedJob
from petavox.cluster.roster import Worker

NOW = 10_000.0


def pool(ready=0, **jobs):
    return Pool("cpu", Jobs(**jobs), ready)


def job(number, state="RUNNING", left=3600.0):
    return QueuedJob(f"7_{number}", "petavox-x-cpu", state, left if state == "RUNNING" else None)


def worker(number, call=None, since=NOW, retiring=False):
    return Worker(f"cpu-7_{number}", f"tls://{number}", call, since, retiring)


def decide(of, queue, workers=(), seen=None, longest=0.0, now=NOW):
    seen = {w.name for w in workers} if seen is None else seen
    return of.decide(queue, workers, seen, longest, now)


@given(ready=st.integers(0, 50), minimum=st.integers(0, 10), more=st.integers(0, 20), pending=st.integers(0, 30))
def test_the_queue_converges_to_what_is_ready_within_the_limits(ready, minimum, more, pending):
    maximum = max(1, minimum + more)
    of = pool(ready, minimum=minimum, maximum=maximum)
    decision = decide(of, [job(n, "PENDING") for n in range(pending)])
    left = pending + decision.submit - len(decision.cancel)
    assert left == min(max(ready, minimum), maximum)
    assert not (decision.submit and decision.cancel)


def test_jobs_that_wait_in_the_queue_are_not_failures_however_long_they_do():
    of = pool(ready=2)
    of.submitted("7", 2)
    for hour in range(100):
        decision = decide(of, [job(0, "PENDING"), job(1, "PENDING")], now=NOW + 3600 * hour)
        assert (decision.submit, decision.cancel, of.failed_starts) == (0, [], 0)


def test_what_waits_goes_before_what_runs():
    of = pool(ready=1)
    queue = [job(0), job(1, "PENDING")]
    assert decide(of, queue, [worker(0)]).cancel == ["7_1"]


def test_a_busy_worker_is_never_sent_away_for_lack_of_work():
    of = pool(ready=0)
    decision = decide(of, [job(0)], [worker(0, call="call-1", since=NOW - 10 * IDLE)])
    assert not decision.cancel
    assert not decision.retire


def test_an_idle_worker_goes_after_a_while_retired_first_and_cancelled_then():
    of = pool(ready=0)
    assert not decide(of, [job(0)], [worker(0, since=NOW - IDLE / 2)]).retire
    decision = decide(of, [job(0)], [worker(0, since=NOW - 2 * IDLE)])
    assert (decision.retire, decision.cancel) == ({"cpu-7_0"}, [])
    assert decide(of, [job(0)], [worker(0, retiring=True)]).cancel == ["7_0"]


def test_the_minimum_stays_without_work():
    of = pool(ready=0, minimum=1)
    decision = decide(of, [job(0), job(1)], [worker(0, since=0), worker(1, since=0)])
    assert len(decision.retire) == 1


def test_near_its_walltime_a_worker_retires_finishes_its_call_and_is_replaced():
    of = pool(ready=1, walltime="1h", margin="10min")
    assert not decide(of, [job(0, left=1000.0)], [worker(0, call="c")]).retire
    decision = decide(of, [job(0, left=500.0)], [worker(0, call="c")])
    assert decision.retire == {"cpu-7_0"}
    assert decision.submit == 1, "its successor need not wait for it"
    assert not decision.cancel
    busy = decide(of, [job(0, left=400.0), job(1, "PENDING")], [worker(0, call="c", retiring=True)])
    assert (busy.submit, busy.cancel) == (0, [])
    idle = decide(of, [job(0, left=300.0), job(1, "PENDING")], [worker(0, retiring=True)])
    assert (idle.submit, idle.cancel) == (0, ["7_0"])


def test_workers_that_were_started_together_do_not_retire_together():
    of = pool(ready=100, walltime="1h", margin="10min", maximum=100)
    queue = [job(n, left=700.0) for n in range(100)]
    retired = decide(of, queue, [worker(n) for n in range(100)]).retire
    assert 0 < len(retired) < 100


def test_long_calls_make_workers_retire_earlier_but_never_at_once():
    of = pool(ready=1, walltime="4h", margin="10min")
    assert decide(of, [job(0, left=1200.0)], [worker(0)], longest=1200.0).retire
    assert not decide(of, [job(0, left=4 * 3600.0)], [worker(0)], longest=10**6).retire


def test_jobs_whose_workers_never_come_up_are_counted_and_tried_again_ever_later():
    of, now, submitted = pool(ready=1), NOW, []
    for round_number in range(FAILED_STARTS):
        while not decide(of, [], seen=set(), now=now).submit:
            now += 1
        submitted.append(now)
        of.submitted(str(round_number), 1)
        decide(of, [], seen=set(), now=now)
    assert of.failed_starts == FAILED_STARTS
    assert of.failed == f"cpu-{FAILED_STARTS - 1}_0"
    pauses = [later - sooner for sooner, later in pairwise(submitted)]
    assert pauses == sorted(pauses)
    assert pauses[0] > 0


def test_a_worker_that_comes_up_is_a_good_sign():
    of = pool(ready=2)
    of.submitted("7", 1)
    decide(of, [], seen=set())
    assert of.failed_starts == 1
    of.submitted("8", 1)
    decide(of, [QueuedJob("8_0", "petavox-x-cpu", "RUNNING", 3600.0)], seen={"cpu-8_0"}, now=NOW + 60)
    assert of.failed_starts == 0


def test_a_job_that_is_lost_is_replaced_and_is_no_failed_start():
    of = pool(ready=1)
    of.submitted("7", 1)
    decision = decide(of, [], seen={"cpu-7_0"})
    assert (decision.submit, of.failed_starts) == (1, 0)


def test_jobs_that_we_cancel_ourselves_are_no_failed_starts():
    of = pool(ready=0)
    of.submitted("7", 2)
    assert decide(of, [job(0, "PENDING"), job(1, "PENDING")]).cancel
    decide(of, [], seen=set())
    assert of.failed_starts == 0


def test_after_a_refusal_fewer_jobs_are_asked_for_and_later_more_again():
    of, now, asked = pool(ready=400, maximum=400), NOW, []
    of.refused(now)
    assert decide(of, [], now=now).submit == 0
    for _ in range(3):
        now += 60
        asked.append(decide(of, [], now=now).submit)
        of.refused(now)
    of.submitted("7", 1)
    asked.append(decide(of, [job(0, "PENDING")], now=now + 60).submit)
    assert asked == [250, 125, 62, 62]


def test_a_job_that_is_completing_counts_as_gone():
    assert decide(pool(ready=1), [job(0, "COMPLETING")], seen={"cpu-7_0"}).submit == 1


@pytest.mark.parametrize("state", ["PENDING", "CONFIGURING", "SUSPENDED", "REQUEUED"])
def test_jobs_in_any_other_state_are_waited_for(state):
    assert decide(pool(ready=1), [job(0, state)]).submit == 0
