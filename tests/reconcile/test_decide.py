"""A named test for every row of the table of both directions, then all of their combinations."""

import itertools
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.jobs import decide as table
from cpln_flows.jobs.decide import Fate, StopJob
from cpln_flows.model.identifiers import Role
from cpln_flows.model.lifecycle import TERMINAL_STAGES, Stage
from cpln_flows.model.policy import Limits, Policy
from cpln_flows.model.run_states import FINAL, RunState
from cpln_flows.reconcile import decide
from cpln_flows.reconcile.actions import Kind, Propose, event_id, is_change
from cpln_flows.reconcile.snapshot import (
    TO_CPLN,
    TO_PREFECT,
    CallerCase,
    ChildCase,
    Ended,
    JobView,
    NoJob,
    NotRead,
    RunCase,
    Scope,
    Snapshot,
    Stop,
    UnknownRun,
)
from tests.reconcile.views import (
    ANCESTOR,
    CLOCKS,
    GONE,
    INSTALLATION,
    OTHER,
    POLICY,
    REF,
    SCOPE,
    SKEWED,
    ago,
    case,
    job,
    missed,
    run,
    stamped,
)

UNREAD = NotRead("503")
NONE = NoJob(complete=True)
PARTIAL = NoJob(complete=False)
AS_FAILED = replace(POLICY, failed_as="FAILED")
ROOT = replace(run("CRASHED", age=121), id=ANCESTOR, name="parent")
CHILD = run("RUNNING", pid=None)
OUTSIDE = run(in_pool=False)
CHILD_JOB = job(role=Role.JOB)


def of_run(seen, lookup, policy=POLICY, scope=SCOPE):
    """The action, which is the same whatever the two clocks show."""
    action = decide.of_run(seen, lookup, scope, policy, CLOCKS)
    for clocks in SKEWED:
        assert (
            decide.of_run(seen, stamped(lookup, clocks), scope, policy, clocks).kind is action.kind
        )
    return action


def of_job(given, policy=POLICY, scope=SCOPE):
    """The actions, which are the same whatever the two clocks show."""
    actions = decide.of_job(given, INSTALLATION, scope, policy, CLOCKS)
    for clocks in SKEWED:
        again = decide.of_job(case_stamped(given, clocks), INSTALLATION, scope, policy, clocks)
        assert [action.kind for action in again] == [action.kind for action in actions]
    return actions


def case_stamped(given, clocks):
    stop = given.stop and replace(
        given.stop,
        first=clocks.in_platform(given.stop.first),
        last=clocks.in_platform(given.stop.last),
    )
    return replace(given, job=stamped(given.job, clocks), stop=stop)


def of_caller(seen, lookup):
    action = decide.of_caller(CallerCase(seen, lookup), SCOPE, POLICY, CLOCKS)
    for clocks in SKEWED:
        again = decide.of_caller(CallerCase(seen, stamped(lookup, clocks)), SCOPE, POLICY, clocks)
        assert again.kind is action.kind
    return action


@pytest.mark.parametrize(
    ("seen", "lookup", "kind", "says"),
    [
        pytest.param(
            run(), job("completed", changed=31), Kind.COMPLETE, "completed", id="running-completed"
        ),
        pytest.param(
            run(),
            job("completed", changed=30),
            Kind.KEEP,
            "engine reports first",
            id="running-completed-in-grace",
        ),
        pytest.param(
            run("PENDING"),
            job("completed", changed=31),
            Kind.CRASH,
            "without starting",
            id="pending-completed",
        ),
        pytest.param(
            run("PENDING"),
            job("completed", changed=29),
            Kind.KEEP,
            "engine",
            id="pending-completed-in-grace",
        ),
        pytest.param(
            run(),
            job("failed", changed=1, ending="exit code 3"),
            Kind.CRASH,
            "exit code 3",
            id="running-failed",
        ),
        pytest.param(
            run("PENDING"), job("failed", changed=1), Kind.CRASH, "failed", id="pending-failed"
        ),
        pytest.param(
            run(), job("cancelled", changed=1), Kind.CANCEL, "cancelled", id="running-cancelled"
        ),
        pytest.param(
            run("PENDING"),
            job("cancelled", changed=1),
            Kind.CANCEL,
            "cancelled",
            id="pending-cancelled",
        ),
        pytest.param(
            run("CANCELLING", age=1),
            job("completed", changed=1),
            Kind.CANCEL,
            "asked",
            id="cancelling-completed",
        ),
        pytest.param(
            run("CANCELLING", age=1),
            job("failed", changed=1),
            Kind.CANCEL,
            "asked",
            id="cancelling-failed",
        ),
        pytest.param(
            run("CANCELLING", age=1),
            job("cancelled", changed=1),
            Kind.CANCEL,
            "asked",
            id="cancelling-cancelled",
        ),
        pytest.param(
            run("CANCELLING", misses=missed(4)),
            GONE,
            Kind.CANCEL,
            "no longer exists",
            id="cancelling-gone-five-times",
        ),
        pytest.param(
            run("CANCELLING", misses=missed(3)),
            GONE,
            Kind.COUNT,
            "4 of 5",
            id="cancelling-gone-four-times",
        ),
        pytest.param(
            run("CANCELLING", age=121),
            NONE,
            Kind.CANCEL,
            "no command",
            id="cancelling-before-any-command",
        ),
        pytest.param(
            run("CANCELLING", age=121),
            job(),
            Kind.KEEP,
            "cancelling",
            id="cancelling-active-is-stopped-first",
        ),
        pytest.param(
            run("CANCELLING", age=121),
            job("pending"),
            Kind.CANCEL,
            "without a container",
            id="cancelling-waiting",
        ),
        pytest.param(
            run("CANCELLING", age=59),
            job("pending"),
            Kind.KEEP,
            "cancelling",
            id="cancelling-waiting-in-grace",
        ),
        pytest.param(run(), job("running"), Kind.KEEP, "both", id="running-running"),
        pytest.param(run(), job("pending"), Kind.KEEP, "both", id="running-pending"),
        pytest.param(
            run(),
            job("cancellation-requested"),
            Kind.KEEP,
            "both",
            id="running-cancellation-requested",
        ),
        pytest.param(run(), job("an unheard-of stage"), Kind.KEEP, "both", id="running-unheard-of"),
        pytest.param(run("PENDING"), job("running"), Kind.KEEP, "both", id="pending-running"),
        pytest.param(
            run("PENDING"),
            job("pending"),
            Kind.PEND,
            "no container",
            id="pending-waits-for-its-container",
        ),
        pytest.param(
            run("PENDING", name="InfrastructurePending"),
            job("pending"),
            Kind.KEEP,
            "both",
            id="pending-was-said-once",
        ),
        pytest.param(run(), GONE, Kind.COUNT, "Got 404", id="running-gone-once"),
        pytest.param(
            run(misses=missed(3)), GONE, Kind.COUNT, "4 of 5", id="running-gone-four-times"
        ),
        pytest.param(
            run(misses=missed(4)),
            GONE,
            Kind.CRASH,
            "no longer exists",
            id="running-gone-five-times",
        ),
        pytest.param(
            run("PENDING", misses=missed(4)),
            GONE,
            Kind.CRASH,
            "5 of 5",
            id="pending-gone-five-times",
        ),
        pytest.param(
            run(misses=missed(4, since=5)),
            GONE,
            Kind.KEEP,
            "already counted",
            id="two-flows-count-one-404-once",
        ),
        pytest.param(
            run(misses=missed(4, command_id="old")),
            GONE,
            Kind.COUNT,
            "1 of 5",
            id="another-command-counts-anew",
        ),
        pytest.param(
            run(misses=missed(4)),
            job(),
            Kind.RESET,
            "in a row",
            id="a-successful-read-resets-the-count",
        ),
        pytest.param(
            run(misses=missed(4)),
            job("completed", changed=10),
            Kind.RESET,
            "first",
            id="a-completed-job-in-grace-resets-it-too",
        ),
        pytest.param(
            run(misses=missed(4)),
            UNREAD,
            Kind.KEEP,
            "unknown",
            id="an-unread-cycle-neither-counts-nor-resets",
        ),
        pytest.param(
            run(misses=missed(0)), job(), Kind.KEEP, "both", id="a-count-of-nothing-is-not-reset"
        ),
        pytest.param(
            run("PENDING", pid=None, age=901),
            NONE,
            Kind.CRASH,
            "worker died",
            id="pending-without-command",
        ),
        pytest.param(
            run("PENDING", pid=None, age=899),
            NONE,
            Kind.KEEP,
            "yet",
            id="pending-without-command-for-now",
        ),
        pytest.param(
            run("PENDING", pid=None, age=9999),
            PARTIAL,
            Kind.KEEP,
            "unknown",
            id="pending-in-a-partial-list",
        ),
        pytest.param(
            run(pid=None, age=899), NONE, Kind.KEEP, "yet", id="running-without-command-for-now"
        ),
        pytest.param(
            run(pid=None, age=901), NONE, Kind.COUNT, "1 of 5", id="running-without-command"
        ),
        pytest.param(
            run(pid=None, age=901, misses=missed(4, command_id="none")),
            NONE,
            Kind.CRASH,
            "5 of 5",
            id="running-without-five-times",
        ),
        pytest.param(
            run(pid=None, age=901),
            PARTIAL,
            Kind.KEEP,
            "unknown",
            id="running-without-command-in-a-partial-list",
        ),
        pytest.param(run(), UNREAD, Kind.KEEP, "503", id="running-unread"),
        pytest.param(run("PENDING", age=9999), UNREAD, Kind.KEEP, "503", id="pending-unread"),
        pytest.param(run("CANCELLING", age=9999), UNREAD, Kind.KEEP, "503", id="cancelling-unread"),
        pytest.param(run("PAUSED"), job("failed"), Kind.KEEP, "waits", id="paused-failed"),
        pytest.param(
            run("SCHEDULED"), job("completed"), Kind.KEEP, "waits", id="scheduled-completed"
        ),
        pytest.param(
            run("SCHEDULED", name="AwaitingRetry", misses=missed(4)),
            GONE,
            Kind.KEEP,
            "AwaitingRetry",
            id="retrying-gone",
        ),
        pytest.param(
            run("COMPLETED"), job("failed"), Kind.KEEP, "Completed", id="a-final-state-stays"
        ),
        pytest.param(
            run(pid="acme:dev:etl"), UNREAD, Kind.REPORT, "names no job", id="pid-of-prefect-cpln"
        ),
        pytest.param(run(pid="nonsense"), UNREAD, Kind.REPORT, "malformed", id="malformed-pid"),
        pytest.param(
            run(pid="other:dev:etl:1"), UNREAD, Kind.REPORT, "another org", id="pid-of-another-org"
        ),
        pytest.param(
            run("COMPLETED", pid="nonsense"),
            UNREAD,
            Kind.KEEP,
            "",
            id="malformed-pid-of-a-finished-run",
        ),
        pytest.param(OUTSIDE, job("failed", changed=1), Kind.CRASH, "failed", id="outside-failed"),
        pytest.param(
            OUTSIDE,
            job("failed", role=Role.JOB),
            Kind.KEEP,
            "not its container",
            id="outside-with-pid-of-a-job",
        ),
        pytest.param(OUTSIDE, GONE, Kind.KEEP, "no evidence", id="outside-gone-without-evidence"),
        pytest.param(
            replace(OUTSIDE, is_of_worker=True),
            GONE,
            Kind.COUNT,
            "1 of 5",
            id="outside-gone-of-a-worker",
        ),
        pytest.param(
            replace(OUTSIDE, is_deployed=True),
            GONE,
            Kind.COUNT,
            "1 of 5",
            id="outside-gone-and-deployed",
        ),
        pytest.param(
            run("PENDING", pid=None),
            job(created=61),
            Kind.RECORD_PID,
            "tags",
            id="worker-died-after-the-post",
        ),
        pytest.param(
            run("PENDING", pid=None),
            job(created=59),
            Kind.KEEP,
            "both",
            id="worker-is-about-to-name-the-job",
        ),
        pytest.param(
            run(pid="acme:dev:etl:old"),
            job(created=61),
            Kind.RECORD_PID,
            "",
            id="pid-of-the-attempt-before",
        ),
    ],
)
def test_the_platform_is_right(seen, lookup, kind, says) -> None:
    action = of_run(seen, lookup)
    assert (action.kind, action.area) == (kind, TO_PREFECT)
    assert says in action.reason


def test_what_is_missing_may_be_another_agents() -> None:
    assert of_run(run(misses=missed(4)), GONE, scope=Scope("acme", agent="x")).kind is Kind.KEEP


CALLER = run("RUNNING", age=700)
FOLLOWED = job("completed", changed=121, role=Role.JOB)


@pytest.mark.parametrize(
    ("seen", "lookup", "kind", "says"),
    [
        pytest.param(CALLER, FOLLOWED, Kind.COMPLETE, "completed", id="its-job-has-completed"),
        pytest.param(
            CALLER,
            replace(FOLLOWED, stage="failed", ending="code 3"),
            Kind.CRASH,
            "code 3",
            id="its-job-has-failed",
        ),
        pytest.param(
            CALLER,
            replace(FOLLOWED, stage="cancelled"),
            Kind.CANCEL,
            "cancelled",
            id="its-job-was-cancelled",
        ),
        pytest.param(
            CALLER,
            replace(FOLLOWED, changed=ago(120)),
            Kind.KEEP,
            "reports first",
            id="its-process-may-read-the-log",
        ),
        pytest.param(
            replace(CALLER, state=RunState.CANCELLING),
            FOLLOWED,
            Kind.CANCEL,
            "asked",
            id="it-was-cancelled",
        ),
        pytest.param(
            CALLER, job("running", role=Role.JOB), Kind.KEEP, "running", id="its-job-runs"
        ),
        pytest.param(
            replace(CALLER, misses=missed(4)),
            job("running", role=Role.JOB),
            Kind.RESET,
            "running",
            id="its-job-is-read-again",
        ),
        pytest.param(
            CALLER,
            replace(FOLLOWED, created=ago(701)),
            Kind.KEEP,
            "an earlier attempt",
            id="its-job-is-of-an-attempt-before",
        ),
        pytest.param(
            CALLER,
            job("completed", changed=121),
            Kind.KEEP,
            "not its job",
            id="its-pid-is-a-containers",
        ),
        pytest.param(CALLER, GONE, Kind.COUNT, "1 of 5", id="its-job-is-gone"),
        pytest.param(
            replace(CALLER, misses=missed(4)),
            GONE,
            Kind.CRASH,
            "no longer",
            id="its-job-is-gone-five-times",
        ),
        pytest.param(
            replace(CALLER, misses=missed(4), run_count=2),
            GONE,
            Kind.KEEP,
            "unknown",
            id="a-job-before-is-gone",
        ),
        pytest.param(CALLER, UNREAD, Kind.KEEP, "unknown", id="its-job-is-not-read"),
        pytest.param(CALLER, PARTIAL, Kind.KEEP, "unknown", id="its-job-is-not-known"),
        pytest.param(
            replace(CALLER, state=RunState.PENDING),
            FOLLOWED,
            Kind.KEEP,
            "is",
            id="it-has-not-begun",
        ),
        pytest.param(
            replace(CALLER, state=RunState.CRASHED), FOLLOWED, Kind.KEEP, "is", id="it-is-over"
        ),
    ],
)
def test_a_run_in_no_container_is_judged_by_the_job_that_it_follows(
    seen, lookup, kind, says
) -> None:
    action = of_caller(seen, lookup)
    planned = decide.decide(
        Snapshot(CLOCKS, INSTALLATION, callers=(CallerCase(seen, lookup),)), SCOPE, POLICY
    ).actions
    assert planned == (() if kind is Kind.KEEP else (action,))
    assert (action.kind, action.area) == (kind, TO_PREFECT)
    assert says in action.reason


def test_the_guard_counts_a_run_that_ends_with_its_job_once() -> None:
    cases = tuple(
        case(job(role=Role.JOB, run_id=UUID(int=n)), replace(CHILD, id=UUID(int=n)), ancestor=ROOT)
        for n in range(10, 16)
    )
    others = tuple(RunCase(replace(run(), id=UUID(int=n)), job()) for n in range(20, 40))
    plan = decide.decide(Snapshot(CLOCKS, INSTALLATION, others, cases), SCOPE, POLICY)
    assert (len(plan.changes), plan.judged, plan.withheld) == (12, 26, None)
    assert decide.decide(Snapshot(CLOCKS, INSTALLATION, jobs=cases), SCOPE, POLICY).withheld is None


def test_what_one_dead_parent_has_left_behind_is_no_reason_to_change_nothing() -> None:
    def left_behind(parents: int) -> tuple:
        dead = [replace(ROOT, id=UUID(int=100 + n)) for n in range(parents)]
        return tuple(
            case(
                job(role=Role.JOB, run_id=UUID(int=n)),
                replace(CHILD, id=UUID(int=n)),
                ancestor=dead[n % parents],
            )
            for n in range(30)
        )

    assert (
        decide.decide(Snapshot(CLOCKS, INSTALLATION, jobs=left_behind(1)), SCOPE, POLICY).withheld
        is None
    )
    assert "30 changes among 30" in str(
        decide.decide(Snapshot(CLOCKS, INSTALLATION, jobs=left_behind(30)), SCOPE, POLICY).withheld
    )
    few = Policy(limits=Limits(most=29))
    assert "limit of 29" in str(
        decide.decide(Snapshot(CLOCKS, INSTALLATION, jobs=left_behind(1)), SCOPE, few).withheld
    )


def test_a_failed_job_may_be_a_failed_run() -> None:
    assert of_run(run(), job("failed"), AS_FAILED).kind is Kind.FAIL
    assert of_run(run("CANCELLING"), job("failed"), AS_FAILED).kind is Kind.CANCEL


@pytest.mark.parametrize(
    ("given", "kinds", "says"),
    [
        pytest.param(
            case(job(), run("COMPLETED", age=121)), [Kind.STOP], "Completed", id="finished-active"
        ),
        pytest.param(
            case(job(), run("FAILED", age=121)), [Kind.STOP], "Failed", id="failed-active"
        ),
        pytest.param(
            case(job(), run("CRASHED", age=121)), [Kind.STOP], "Crashed", id="crashed-active"
        ),
        pytest.param(
            case(job(), run("CANCELLED", age=121)), [Kind.STOP], "Cancelled", id="cancelled-active"
        ),
        pytest.param(
            case(job(), run("COMPLETED", age=120)), [Kind.KEEP], "hooks", id="hooks-may-still-run"
        ),
        pytest.param(
            case(job("pending"), run("COMPLETED", age=121)),
            [Kind.KEEP],
            "no container",
            id="nothing-to-stop-yet",
        ),
        pytest.param(
            case(job(), run("COMPLETED", age=500), stop=Stop(ago(299), ago(299))),
            [Kind.KEEP],
            "was sent",
            id="stopped-once",
        ),
        pytest.param(
            case(
                job("cancellation-requested"),
                run("COMPLETED", age=500),
                stop=Stop(ago(301), ago(301)),
            ),
            [Kind.ESCALATE],
            "still",
            id="not-dead-after-the-threshold",
        ),
        pytest.param(
            case(job(), run("COMPLETED", age=900), stop=Stop(ago(700), ago(10), 2)),
            [Kind.KEEP],
            "was sent",
            id="stopped-again",
        ),
        pytest.param(
            case(job(), run("COMPLETED", age=1400), stop=Stop(ago(1199), ago(1199)), escalations=1),
            [Kind.KEEP],
            "was sent",
            id="escalated-once",
        ),
        pytest.param(
            case(job(), run("COMPLETED", age=1400), stop=Stop(ago(1200), ago(1200)), escalations=1),
            [Kind.ESCALATE],
            "cpln workload delete etl --gvc dev --org acme",
            id="escalated-again-after-four-times-as-long",
        ),
        pytest.param(
            case(job(), run("CANCELLING", age=61)),
            [Kind.STOP],
            "Cancelling",
            id="cancelling-active-past-grace",
        ),
        pytest.param(
            case(job(), run("CANCELLING", age=59)),
            [Kind.KEEP],
            "Cancelling",
            id="cancelling-active-in-grace",
        ),
        pytest.param(
            case(job(), run("RUNNING", age=9999)), [Kind.KEEP], "Running", id="running-active"
        ),
        pytest.param(
            case(job(), run("PENDING", age=9999)), [Kind.KEEP], "Pending", id="pending-active"
        ),
        pytest.param(
            case(job(), run("PAUSED", age=9999)), [Kind.KEEP], "Paused", id="paused-active"
        ),
        pytest.param(
            case(job(), run("SCHEDULED", age=9999)), [Kind.KEEP], "Scheduled", id="scheduled-active"
        ),
        pytest.param(case(job(), UNREAD), [Kind.KEEP], "unknown", id="prefect-unread"),
        pytest.param(
            case(CHILD_JOB, CHILD, ancestor=ROOT),
            [Kind.CRASH, Kind.STOP],
            "parent",
            id="job-of-a-dead-ancestor",
        ),
        pytest.param(
            case(CHILD_JOB, CHILD, ancestor=replace(ROOT, state=RunState.CANCELLED)),
            [Kind.CANCEL, Kind.STOP],
            "parent",
            id="job-of-a-cancelled-ancestor",
        ),
        pytest.param(
            case(CHILD_JOB, CHILD, ancestor=replace(ROOT, since=ago(119))),
            [Kind.KEEP],
            "hooks",
            id="job-of-an-ancestor-that-has-just-ended",
        ),
        pytest.param(
            case(CHILD_JOB, CHILD, ancestor=replace(ROOT, since=ago(1)), ancestor_ended=True),
            [Kind.CRASH, Kind.STOP],
            "container is over",
            id="job-of-an-ancestor-whose-container-is-over",
        ),
        pytest.param(
            case(replace(CHILD_JOB, replica=None), CHILD, ancestor=ROOT),
            [Kind.CRASH, Kind.KEEP],
            "parent",
            id="job-of-a-dead-ancestor-without-container",
        ),
        pytest.param(
            case(CHILD_JOB, run("CRASHED", age=1), ancestor=ROOT),
            [Kind.STOP],
            "parent",
            id="its-own-run-was-just-ended",
        ),
        pytest.param(case(CHILD_JOB, CHILD), [Kind.KEEP], "Running", id="job-of-a-live-run"),
        pytest.param(
            case(CHILD_JOB, run("CANCELLING", age=9999)),
            [Kind.KEEP],
            "",
            id="a-flow-stops-its-own-job",
        ),
        pytest.param(
            case(CHILD_JOB, run("CRASHED", age=121)),
            [Kind.STOP],
            "Crashed",
            id="job-of-a-finished-run",
        ),
        pytest.param(
            case(CHILD_JOB, run("CRASHED", age=9999), successor=True),
            [Kind.KEEP],
            "submission",
            id="a-retry-goes-on-with-it",
        ),
        pytest.param(
            case(job(created=121), UnknownRun()), [Kind.STOP], "deleted", id="deleted-in-prefect"
        ),
        pytest.param(
            case(job(created=119), UnknownRun()),
            [Kind.KEEP],
            "old",
            id="deleted-in-prefect-in-grace",
        ),
        pytest.param(
            case(job(installation=OTHER), UnknownRun()),
            [Kind.REPORT],
            "left alone",
            id="another-prefect-servers",
        ),
        pytest.param(
            case(job(installation=None), UnknownRun()), [Kind.REPORT], "left alone", id="the-forks"
        ),
        pytest.param(
            case(job(role=None), run("COMPLETED", age=121)),
            [Kind.STOP],
            "Completed",
            id="the-forks-that-a-pid-names",
        ),
        pytest.param(
            case(job(role=None), run("COMPLETED", age=121, pid=None)),
            [Kind.REPORT],
            "nobody",
            id="the-forks-that-no-pid-names",
        ),
        pytest.param(case(job(run_id=None), UnknownRun()), [Kind.KEEP], "", id="no-flow-runs-job"),
        pytest.param(
            case(job("failed"), run("COMPLETED", age=121)), [Kind.KEEP], "", id="an-ended-job"
        ),
    ],
)
def test_prefect_is_right(given, kinds, says) -> None:
    actions = of_job(given)
    assert [action.kind for action in actions] == kinds
    assert {action.area for action in actions} == {TO_CPLN}
    assert says in actions[0].reason


def test_untagged_jobs_can_be_adopted() -> None:
    scope = replace(SCOPE, adopt=True)
    assert of_job(case(job(installation=None), UnknownRun()), scope=scope)[0].kind is Kind.STOP
    assert of_job(case(job(installation=OTHER), UnknownRun()), scope=scope)[0].kind is Kind.REPORT
    assert (
        of_job(case(job(role=None), run("COMPLETED", age=121, pid=None)), scope=scope)[0].kind
        is Kind.STOP
    )


def test_the_time_that_a_stop_took_is_said() -> None:
    ended = Ended(job("failed", changed=0), Stop(ago(42), ago(42)))
    (action,) = decide.decide(Snapshot(CLOCKS, INSTALLATION, ended=(ended,)), SCOPE, POLICY).actions
    assert action.kind is Kind.STOPPED
    assert "terminated successfully after 42 s" in action.reason


# All combinations

STATES = list(RunState)


@pytest.mark.parametrize(
    ("child", "ancestor", "ended", "kind"),
    [
        pytest.param(
            CHILD, run("CRASHED", age=121), False, Kind.CRASH, id="its-parent-has-crashed"
        ),
        pytest.param(
            CHILD, run("CANCELLED", age=121), False, Kind.CANCEL, id="its-parent-was-cancelled"
        ),
        pytest.param(
            CHILD, run("CRASHED", age=119), False, Kind.KEEP, id="hooks-of-its-parent-may-run"
        ),
        pytest.param(
            CHILD, run("CRASHED", age=1), True, Kind.CRASH, id="the-container-of-its-parent-is-over"
        ),
        pytest.param(
            CHILD,
            run("SCHEDULED", age=121, name="AwaitingRetry"),
            True,
            Kind.KEEP,
            id="its-parent-is-retried",
        ),
        pytest.param(
            replace(CHILD, state=RunState.COMPLETED),
            run("CRASHED", age=121),
            True,
            Kind.KEEP,
            id="it-is-over",
        ),
    ],
)
def test_a_run_below_one_that_is_over(child, ancestor, ended, kind) -> None:
    assert decide.of_child(ChildCase(child, ancestor, ended), POLICY, CLOCKS).kind is kind


LOOKUPS = [*(job(stage) for stage in Stage), GONE, UNREAD, NONE, PARTIAL]
AGES = [1, 10_000]
COUNTS = [None, missed(1), missed(4)]
STOPS = [None, Stop(ago(10), ago(10)), Stop(ago(10_000), ago(10_000))]
PIDS = [None, REF.pid, "acme:dev:etl:an-attempt-before", "nonsense", "other:dev:etl:x"]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("lookup", LOOKUPS, ids=lambda found: getattr(found, "stage", str(found)))
def test_what_becomes_of_a_run_is_never_what_the_server_or_the_engine_owns(state, lookup) -> None:
    for age, misses, pid, changed, policy in itertools.product(
        AGES, COUNTS, PIDS, AGES, [POLICY, AS_FAILED]
    ):
        found = replace(lookup, changed=ago(changed)) if isinstance(lookup, JobView) else lookup
        action = of_run(run(state, age=age, misses=misses, pid=pid), found, policy)
        assert action.reason
        if state in FINAL or state in (RunState.PAUSED, RunState.SCHEDULED):
            assert action.kind is Kind.KEEP
        if isinstance(found, NotRead) or found == PARTIAL:
            assert action.kind in (Kind.KEEP, Kind.REPORT), "unknown is not gone"
        if action.kind is Kind.COMPLETE:
            assert (state, found.stage) == (RunState.RUNNING, Stage.COMPLETED)
        if action.kind is Kind.CRASH:
            assert state in (RunState.PENDING, RunState.RUNNING)
        if isinstance(found, JobView) and found.stage not in TERMINAL_STAGES and is_change(action):
            assert (action.kind, state, found.replica) == (Kind.CANCEL, RunState.CANCELLING, None)


@pytest.mark.parametrize("state", [*STATES, None])
@pytest.mark.parametrize("stage", list(Stage))
def test_only_an_active_job_of_a_run_that_is_over_or_ending_is_stopped(state, stage) -> None:
    whose = itertools.product(
        AGES, STOPS, [Role.CONTAINER, Role.JOB, None], [INSTALLATION, OTHER, None], [None, ROOT]
    )
    for age, stop, role, installation, ancestor in whose:
        owner = run(state, age=age) if state else UnknownRun()
        given = case(
            job(stage, role=role, installation=installation), owner, stop=stop, ancestor=ancestor
        )
        actions = of_job(given)
        kinds = {action.kind for action in actions}
        assert kinds <= {Kind.KEEP, Kind.STOP, Kind.ESCALATE, Kind.REPORT, Kind.CRASH, Kind.CANCEL}
        if stage in TERMINAL_STAGES or (stop and stop.last > ago(300)):
            assert Kind.STOP not in kinds
            assert Kind.ESCALATE not in kinds
        if kinds & {Kind.STOP, Kind.ESCALATE} and state not in FINAL:
            dead = ancestor is not None and role is Role.JOB
            assert (
                dead
                or state is RunState.CANCELLING
                or (state is None and installation == INSTALLATION)
            )
        if state in (
            RunState.RUNNING,
            RunState.PENDING,
            RunState.PAUSED,
            RunState.SCHEDULED,
        ) and not (ancestor and role is Role.JOB):
            assert not any(map(is_change, actions))


states = st.sampled_from(STATES)
lookups = st.sampled_from(LOOKUPS)


@given(st.lists(st.tuples(states, lookups), max_size=30))
def test_a_sequence_of_cycles_crashes_only_after_five_404s_in_a_row_that_no_read_broke(
    cycles,
) -> None:
    misses, row = None, 0
    for state, lookup in cycles:
        seen = run(state, age=60, misses=misses)
        action = of_run(seen, lookup)
        if seen.is_under_way and lookup == GONE:
            row += 1
        elif (
            seen.is_under_way
            and isinstance(lookup, JobView)
            and lookup.is_active
            and state != RunState.CANCELLING
        ):
            row = 0
        if lookup == GONE and is_change(action):
            assert row >= POLICY.misses
        if is_change(action):
            return
        noted = decide.noted(misses, action, ago(60))
        misses = noted


@given(st.lists(st.tuples(states, lookups), min_size=1, max_size=40), st.integers(0, 20))
def test_a_plan_that_would_change_too_much_is_withheld(pairs, most) -> None:
    cases = tuple(
        RunCase(replace(run(state), id=UUID(int=n)), lookup)
        for n, (state, lookup) in enumerate(pairs)
    )
    plan = decide.decide(
        Snapshot(CLOCKS, INSTALLATION, cases), SCOPE, Policy(limits=Limits(most, 1))
    )
    assert (plan.withheld is not None) == (len(plan.changes) > most)
    assert all(action.kind is not Kind.KEEP for action in plan.actions)


@pytest.mark.parametrize(
    ("changes", "judged", "withheld"),
    [(10, 10, False), (11, 11, True), (11, 22, False), (500, 9999, False), (501, 9999, True)],
)
def test_the_guard_knows_a_count_and_a_share(changes, judged, withheld) -> None:
    assert bool(Limits().exceeded_by(changes, judged)) is withheld


def test_the_same_action_has_the_same_event_and_another_has_another() -> None:
    first, again = of_run(run(), job("failed")), of_run(run(), job("failed"))
    other = of_run(run(age=61), job("failed"))
    assert event_id(first) == event_id(again) != event_id(other)


def test_only_the_wanted_direction_is_decided() -> None:
    snapshot = Snapshot(
        CLOCKS,
        INSTALLATION,
        (RunCase(run(), job("failed")),),
        (case(job(), run("COMPLETED", age=121)),),
    )
    assert [
        action.kind for action in decide.decide(snapshot, SCOPE, POLICY, [TO_CPLN]).actions
    ] == [Kind.STOP]
    assert [
        action.kind for action in decide.decide(snapshot, SCOPE, POLICY, [TO_PREFECT]).actions
    ] == [Kind.CRASH]


def test_a_scope_is_whole_only_without_gvc_and_agent() -> None:
    assert Scope("acme").is_whole
    assert not Scope("acme", gvc="dev").is_whole
    assert not Scope("acme", agent="x").is_whole
    assert Scope("acme", gvc="dev").holds(REF.workload_ref)
    assert not Scope("acme", gvc="prod").holds(REF.workload_ref)


_LEFT_TO_SYNC = {Fate.KEEP, Fate.REPORT_FIRST, Fate.COMPLETED}
"""What a worker leaves to the sync flows, as ``worker.flow_run_job`` does."""


def _end_state(state: RunState, stage: str, policy: Policy) -> RunState:
    """The state in which a run ends that the sync flows alone see."""
    action = decide.of_run(run(state), job(stage, changed=31), SCOPE, policy, CLOCKS)
    return action.state if isinstance(action, Propose) else state


@pytest.mark.parametrize("policy", [POLICY, AS_FAILED], ids=["crashed", "failed"])
@pytest.mark.parametrize("stage", sorted(TERMINAL_STAGES))
@pytest.mark.parametrize("state", RunState)
def test_whoever_sees_end_first_decides_alike(state, stage, policy) -> None:
    fate, _ = table.run_after(state, stage, timedelta.max, policy)
    of_worker = state if fate in _LEFT_TO_SYNC else RunState(fate.value)
    assert _end_state(of_worker, stage, policy) is _end_state(state, stage, policy)


@pytest.mark.parametrize("age", [0, 59, 60, 61, 119, 120, 121, 10**6])
@pytest.mark.parametrize("state", sorted({*FINAL, RunState.CANCELLING}))
def test_whoever_sees_state_first_stops_alike(state, age) -> None:
    (action, *_) = of_job(case(job(), run(state, age=age)))
    of_worker = table.job_after(state, timedelta(seconds=age), POLICY)
    assert (action.kind is Kind.STOP) == isinstance(of_worker, StopJob)
