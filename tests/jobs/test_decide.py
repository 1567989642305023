"""What a flow run's state asks of its job, and a job's end of its flow run.

One row for a rule, and an answer for every pair.
"""

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.jobs import decide
from cpln_flows.jobs.decide import Fate, KeepJob, StopJob
from cpln_flows.model.lifecycle import TERMINAL_STAGES
from cpln_flows.model.policy import Policy
from cpln_flows.model.run_states import FINAL, UNDER_WAY, RunState

POLICY = Policy()
AS_FAILED = replace(POLICY, failed_as="FAILED")


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


@pytest.mark.parametrize(
    ("state", "age", "has_begun", "has_supervisor", "expected"),
    [
        pytest.param("CANCELLING", 0, False, True, StopJob, id="cancelled-before-the-flow-begins"),
        pytest.param("CANCELLING", 0, True, False, StopJob, id="cancelled-without-a-supervisor"),
        pytest.param("CANCELLING", 60, True, True, KeepJob, id="the-supervisor-gets-its-time"),
        pytest.param("CANCELLING", 61, True, True, StopJob, id="the-supervisor-did-not-do-it"),
        pytest.param("CANCELLED", 0, False, True, StopJob, id="forced-before-the-flow-begins"),
        pytest.param("COMPLETED", 120, True, True, KeepJob, id="hooks-run-after-the-final-state"),
        pytest.param(
            "COMPLETED", 121, True, True, StopJob, id="nothing-runs-so-long-after-the-final-state"
        ),
        pytest.param("CRASHED", 500, True, False, StopJob, id="crashed-long-ago"),
        pytest.param("RUNNING", 10**6, True, True, KeepJob, id="a-run-that-runs-keeps-its-job"),
        pytest.param("PENDING", 10**6, False, True, KeepJob, id="a-run-that-waits-keeps-its-job"),
        pytest.param(
            "SCHEDULED",
            10**6,
            True,
            True,
            KeepJob,
            id="a-run-that-waits-for-its-retry-keeps-its-job",
        ),
    ],
)
def test_state_asks_something_of_job(state, age, has_begun, has_supervisor, expected) -> None:
    kinds = {"has_begun": has_begun, "has_supervisor": has_supervisor}
    found = decide.job_after(RunState(state), seconds(age), POLICY, **kinds)
    assert isinstance(found, expected)
    if isinstance(found, KeepJob) and found.at_most is not None:
        assert timedelta() <= found.at_most <= POLICY.stop_grace


@given(
    st.sampled_from(RunState), st.timedeltas(min_value=timedelta()), st.booleans(), st.booleans()
)
def test_no_grace_lasts_for_ever(state, lasted, has_begun, has_supervisor) -> None:
    kinds = {"has_begun": has_begun, "has_supervisor": has_supervisor}
    found = decide.job_after(state, lasted, POLICY, **kinds)
    if isinstance(found, KeepJob) and found.at_most is not None:
        later = decide.job_after(state, lasted + found.at_most + seconds(1), POLICY, **kinds)
        assert isinstance(later, StopJob)
        assert later.reason
    assert isinstance(found, KeepJob) or state in {*FINAL, RunState.CANCELLING}


@pytest.mark.parametrize(
    ("state", "stage", "ended_for", "fate"),
    [
        pytest.param("COMPLETED", "failed", 0, Fate.KEEP, id="a-final-state-stays"),
        pytest.param("CANCELLED", "completed", 99, Fate.KEEP, id="a-cancelled-run-stays"),
        pytest.param(
            "CANCELLING", "failed", 0, Fate.CANCELLED, id="a-cancelled-run-whose-job-was-stopped"
        ),
        pytest.param(
            "CANCELLING", "completed", 0, Fate.CANCELLED, id="a-cancelled-run-whose-job-ended"
        ),
        pytest.param("PAUSED", "failed", 0, Fate.KEEP, id="a-paused-run-waits"),
        pytest.param("SCHEDULED", "failed", 0, Fate.KEEP, id="a-run-that-waits-for-its-retry"),
        pytest.param("RUNNING", "failed", 0, Fate.CRASHED, id="a-container-that-died"),
        pytest.param(
            "PENDING", "failed", 0, Fate.CRASHED, id="a-container-that-died-before-the-flow"
        ),
        pytest.param("RUNNING", "cancelled", 0, Fate.CANCELLED, id="cancelled-on-the-platform"),
        pytest.param("PENDING", "completed", 30, Fate.REPORT_FIRST, id="the-engine-reports-first"),
        pytest.param("PENDING", "completed", 31, Fate.CRASHED, id="the-flow-was-never-started"),
        pytest.param("RUNNING", "completed", 31, Fate.COMPLETED, id="the-engine-did-not-report"),
    ],
)
def test_end_asks_something_of_flow_run(state, stage, ended_for, fate) -> None:
    found, why = decide.run_after(RunState(state), stage, seconds(ended_for), POLICY)
    assert found is fate
    assert why


@pytest.mark.parametrize("policy", [POLICY, AS_FAILED], ids=["crashed", "failed"])
def test_failed_job_makes_what_is_chosen(policy) -> None:
    for state in (RunState.PENDING, RunState.RUNNING):
        assert decide.run_after(state, "failed", seconds(0), policy)[0] == policy.failed_as


def test_every_pair_has_an_answer() -> None:
    for state, stage, ended_for in product(RunState, TERMINAL_STAGES, (seconds(0), timedelta.max)):
        fate, why = decide.run_after(state, stage, ended_for, POLICY)
        assert why
        assert (fate is Fate.KEEP) == (state not in UNDER_WAY)


@pytest.mark.parametrize("state", [None, *RunState])
def test_only_pending_runs_get_a_job(state) -> None:
    assert (decide.no_start(state) is None) == (state in {None, RunState.PENDING})
