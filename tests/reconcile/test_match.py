"""Which job is a run's container, and what needs a closer look."""

from dataclasses import replace
from datetime import timedelta

import pytest

from cpln_flows.model.identifiers import Role
from cpln_flows.model.run_states import RunState
from cpln_flows.reconcile import match
from cpln_flows.reconcile.snapshot import Attempt, StateView
from tests.reconcile.views import ANCESTOR, CLOCKS, REF, SCOPE, SKEWED, ago, job, run, stamped

OTHER_REF = replace(REF, command_id="another")
SECOND = Attempt(1, ago(300))


def states(*types: str) -> list[StateView]:
    return [
        StateView(RunState(type_), type_.title(), ago(1000 - number))
        for number, type_ in enumerate(types)
    ]


@pytest.mark.parametrize(
    ("had", "number", "since"),
    [
        ([], None, None),
        (["SCHEDULED"], None, None),
        (["SCHEDULED", "PENDING", "RUNNING"], 0, ago(999)),
        (["SCHEDULED", "PENDING", "PENDING", "RUNNING"], 0, ago(999)),
        (["SCHEDULED", "PENDING", "RUNNING", "SCHEDULED", "RUNNING"], 0, ago(999)),
        (["SCHEDULED", "PENDING", "CRASHED", "SCHEDULED", "PENDING"], 1, ago(996)),
    ],
)
def test_an_attempt_begins_each_time_a_run_becomes_pending(had, number, since) -> None:
    attempt = match.attempt_of(states(*had))
    assert (attempt.number, attempt.since) == (number, since) if attempt else number is None


@pytest.mark.parametrize(
    ("seen", "of", "expected"),
    [
        pytest.param(job(), run(), True, id="its-container"),
        pytest.param(job(role=Role.JOB), run(), False, id="a-job-that-it-has-started"),
        pytest.param(
            replace(job(run_id=ANCESTOR), ref=OTHER_REF), run(), False, id="another-run's"
        ),
        pytest.param(job(role=None, attempt=None), run(), True, id="the-fork's-named-by-the-pid"),
        pytest.param(
            job(role=None, attempt=None), run(pid=None), False, id="the-fork's-named-by-nobody"
        ),
        pytest.param(job(attempt=0), run(attempt=SECOND), False, id="of-the-attempt-before"),
        pytest.param(job(attempt=1), run(attempt=SECOND), True, id="of-this-attempt"),
        pytest.param(
            job(attempt=None, created=301),
            run(attempt=SECOND),
            False,
            id="untagged-and-older-than-the-attempt",
        ),
        pytest.param(
            job(attempt=None, created=299), run(attempt=SECOND), True, id="untagged-and-younger"
        ),
    ],
)
def test_a_job_is_of_an_attempt(seen, of, expected) -> None:
    for clocks in (CLOCKS, *SKEWED):
        assert match.is_of_attempt(stamped(seen, clocks), of, clocks) is expected


def test_the_newest_container_counts() -> None:
    old, new = job(created=600), replace(job(created=500), ref=OTHER_REF)
    assert match.newest([new, old], run(), CLOCKS) is new
    assert match.newest([], run(), CLOCKS) is None


@pytest.mark.parametrize(
    ("of", "seen", "expected"),
    [
        pytest.param(run(), None, True, id="no-active-job"),
        pytest.param(run(), job(), False, id="running-and-named"),
        pytest.param(run(pid=None), job(), False, id="running-and-not-named-yet"),
        pytest.param(run(pid=OTHER_REF.pid), job(), True, id="the-pid-names-another"),
        pytest.param(run("PENDING", age=601), job(created=600), False, id="pending-for-its-job"),
        pytest.param(
            run("PENDING", age=601, run_count=1), job(created=600), True, id="pending-once-more"
        ),
        pytest.param(
            run("PENDING", age=10), job(created=600), True, id="pending-since-after-its-job"
        ),
        pytest.param(
            run("PENDING", age=10, name="InfrastructurePending"),
            job(created=600),
            False,
            id="told-that-its-job-is-pending",
        ),
        pytest.param(run("CANCELLING", run_count=1), job(), False, id="cancelling"),
    ],
)
def test_the_history_of_a_run_is_looked_up_only_where_it_matters(of, seen, expected) -> None:
    for clocks in (CLOCKS, *SKEWED):
        assert match.needs_history(of, stamped(seen, clocks), clocks) is expected


def test_a_search_waits_until_the_worker_had_its_time() -> None:
    patience = timedelta(seconds=60)
    assert not match.needs_search(run(age=60), CLOCKS, patience)
    assert match.needs_search(run(age=61), CLOCKS, patience)


OUTSIDE = run(in_pool=False, is_of_worker=True)


@pytest.mark.parametrize(
    ("seen", "was_seen", "expected"),
    [
        pytest.param(OUTSIDE, False, True, id="a-worker-had-it"),
        pytest.param(run(in_pool=False), False, True, id="its-pid-is-ours"),
        pytest.param(run(in_pool=False, pid=None), False, False, id="somebody's-program"),
        pytest.param(run(in_pool=False, pid="host:4711"), False, False, id="another-worker-type's"),
        pytest.param(run(in_pool=False, pid="other:dev:etl:1"), False, False, id="another-org's"),
        pytest.param(run(in_pool=False, pid=None), True, True, id="it-was-in-a-pool"),
        pytest.param(run("COMPLETED", in_pool=False), True, False, id="it-is-over"),
        pytest.param(run(), True, False, id="it-is-in-a-pool"),
    ],
)
def test_run_outside_of_pools_is_ours(seen, was_seen, expected) -> None:
    assert match.is_outside(seen, SCOPE, was_seen=was_seen) is expected


def test_scope_knows_the_former_pool() -> None:
    scope = replace(SCOPE, work_pool="former")
    assert match.is_outside(replace(OUTSIDE, work_pool="former"), scope)
    assert not match.is_outside(replace(OUTSIDE, work_pool="other"), scope)
