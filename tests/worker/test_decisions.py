"""What a flow run's state asks of its job, and a job's end of its flow run: one row for a rule, and every pair answered."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from prefect.client.schemas.objects import State, StateType

from cpln_flows.model.ending import Ending
from cpln_flows.model.lifecycle import Stage
from cpln_flows.worker import decisions
from cpln_flows.worker.decisions import NOTEWORTHY, Graces, Stop, Verdict, Wait

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
GRACES = Graces(timedelta(seconds=60), timedelta(seconds=120))


def _state(kind: StateType, seconds_ago: float = 0) -> State:
    return State(type=kind, timestamp=NOW - timedelta(seconds=seconds_ago))


@pytest.mark.parametrize(
    ("state", "has_begun", "has_supervisor", "expected"),
    [
        pytest.param(_state(StateType.CANCELLING), False, True, Stop, id="cancelled-before-the-flow-begins"),
        pytest.param(_state(StateType.CANCELLING), True, False, Stop, id="cancelled-without-a-supervisor"),
        pytest.param(_state(StateType.CANCELLING, 59), True, True, Wait, id="the-supervisor-gets-its-time"),
        pytest.param(_state(StateType.CANCELLING, 60), True, True, Stop, id="the-supervisor-did-not-do-it"),
        pytest.param(_state(StateType.CANCELLED), False, True, Stop, id="forced-before-the-flow-begins"),
        pytest.param(_state(StateType.COMPLETED, 119), True, True, Wait, id="hooks-run-after-the-final-state"),
        pytest.param(_state(StateType.COMPLETED, 120), True, True, Stop, id="nothing-runs-so-long-after-the-final-state"),
        pytest.param(_state(StateType.CRASHED, 500), True, False, Stop, id="crashed-long-ago"),
    ],
)
def test_a_state_asks_something_of_the_job(state, has_begun, has_supervisor, expected) -> None:
    found = decisions.job_after(state, has_begun=has_begun, has_supervisor=has_supervisor, graces=GRACES, now=NOW)
    assert isinstance(found, expected)
    if isinstance(found, Wait):
        assert NOW < found.until <= NOW + GRACES.final


@pytest.mark.parametrize("kind", sorted(NOTEWORTHY))
def test_nothing_is_waited_for_for_ever(kind) -> None:
    for has_begun, has_supervisor in product((True, False), repeat=2):
        late = NOW + timedelta(days=1)
        found = decisions.job_after(_state(kind), has_begun=has_begun, has_supervisor=has_supervisor, graces=GRACES, now=late)
        assert isinstance(found, Stop)
        assert found.reason


DONE, FAILED = Ending(Stage.COMPLETED, 0), Ending(Stage.FAILED, 137, "OOMKilled")
CANCELLED = Ending(Stage.CANCELLED)


@pytest.mark.parametrize(
    ("kind", "end", "has_waited", "verdict"),
    [
        pytest.param(StateType.COMPLETED, FAILED, False, Verdict.KEEP, id="a-final-state-stays"),
        pytest.param(StateType.CANCELLED, DONE, True, Verdict.KEEP, id="a-cancelled-run-stays"),
        pytest.param(StateType.CANCELLING, FAILED, False, Verdict.CANCELLED, id="a-cancelled-run-whose-job-was-stopped"),
        pytest.param(StateType.CANCELLING, DONE, False, Verdict.CANCELLED, id="a-cancelled-run-whose-job-ended"),
        pytest.param(StateType.PAUSED, FAILED, False, Verdict.KEEP, id="a-paused-run-waits"),
        pytest.param(StateType.SCHEDULED, FAILED, False, Verdict.KEEP, id="a-run-that-waits-for-its-retry"),
        pytest.param(StateType.RUNNING, FAILED, False, Verdict.CRASHED, id="a-container-that-died"),
        pytest.param(StateType.PENDING, FAILED, False, Verdict.CRASHED, id="a-container-that-died-before-the-flow"),
        pytest.param(StateType.RUNNING, CANCELLED, False, Verdict.CANCELLED, id="cancelled-on-the-platform"),
        pytest.param(StateType.PENDING, DONE, False, Verdict.LOOK_AGAIN, id="the-engine-reports-first"),
        pytest.param(StateType.PENDING, DONE, True, Verdict.CRASHED, id="the-flow-was-never-started"),
        pytest.param(StateType.RUNNING, DONE, True, Verdict.KEEP, id="sync-completes-what-was-not-reported"),
    ],
)
def test_an_end_asks_something_of_the_flow_run(kind, end, has_waited, verdict) -> None:
    found, why = decisions.run_after(_state(kind), end, has_waited=has_waited)
    assert found is verdict
    assert why


def test_every_pair_has_an_answer_and_a_final_state_always_stays() -> None:
    for kind, end, has_waited in product(StateType, (DONE, FAILED, CANCELLED), (True, False)):
        state = _state(kind)
        found, why = decisions.run_after(state, end, has_waited=has_waited)
        assert why
        if state.is_final():
            assert found is Verdict.KEEP
    assert decisions.run_after(None, FAILED, has_waited=True)[0] is Verdict.KEEP


def test_the_reason_of_our_own_stop_is_the_reason_of_the_crash() -> None:
    end = Ending(Stage.CANCELLED, stopped_by_us="took longer than 5 s")
    assert decisions.run_after(_state(StateType.RUNNING), end, has_waited=False) == (
        Verdict.CRASHED,
        "the job of the flow run failed: took longer than 5 s",
    )
