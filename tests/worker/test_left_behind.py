from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType

from cpln_flows.worker import left_behind
from cpln_flows.worker.left_behind import Seen
from cpln_flows.worker.roster import (
    PROCESS_LABEL,
    RECORD_LABEL,
    WORKER_LABEL,
    Heartbeats,
    Identity,
    Roster,
)

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
ME = Identity("me", "me (process 00000000)", "here:1:1")
_GONE = "0123456789abcdef:7:99"
_HEARD = {
    "me": (1, 30),
    "me (process 00000000)": (1, 5),
    "me (process 11111111)": (4, 5),
    "me (process 22222222)": (16, 5),
    "me (process 33333333)": (1, 0),
    "alive": (89, 30),
    "dead": (91, 30),
    "dead (process 44444444)": (600, 5),
}
ROSTER = Roster(
    {
        name: Heartbeats(NOW - timedelta(seconds=s), timedelta(seconds=i))
        for name, (s, i) in _HEARD.items()
    },
    NOW,
)


def _seen(lived: int = 600) -> Seen:
    return Seen(ME, NOW - timedelta(seconds=lived), ROSTER, {_GONE})


def _run(
    name=None,
    record=None,
    process="",
    *,
    seconds_ago=10,
    pid=None,
    state="PENDING",
    deployment=True,
) -> FlowRun:
    labels = {WORKER_LABEL: name, RECORD_LABEL: record, PROCESS_LABEL: process}
    at = NOW - timedelta(seconds=seconds_ago)
    return FlowRun(
        id=uuid4(),
        flow_id=uuid4(),
        deployment_id=uuid4() if deployment else None,
        infrastructure_pid=pid,
        labels={key: value for key, value in labels.items() if value},
        state=State(type=StateType(state), timestamp=at),
        end_time=at,
    )


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        pytest.param(_run("me", "me (process 11111111)"), False, id="a-twin-lives"),
        pytest.param(
            _run("me", "me (process 22222222)"),
            True,
            id="a-predecessor-has-missed-three-heartbeats",
        ),
        pytest.param(
            _run("me", "me (process 33333333)"), True, id="a-predecessor-has-said-that-it-ends"
        ),
        pytest.param(
            _run("me", "me (process 11111111)", _GONE),
            True,
            id="a-predecessor-of-this-machine-has-ended",
        ),
        pytest.param(
            _run("me", "me (process 99999999)"), True, id="a-predecessor-whose-record-was-deleted"
        ),
        pytest.param(_run("me", ME.record), False, id="this-process-has-just-labelled-it"),
        pytest.param(_run("me", ME.record, seconds_ago=91), True, id="this-process-has-lost-it"),
        pytest.param(_run("alive", "alive"), False, id="its-worker-lives"),
        pytest.param(_run("dead", "dead"), True, id="its-worker-has-missed-three-heartbeats"),
        pytest.param(
            _run("dead", "dead (process 44444444)"),
            True,
            id="its-process-has-missed-three-heartbeats",
        ),
        pytest.param(
            _run("unheard"), False, id="a-worker-of-another-version-may-be-about-to-label-it"
        ),
        pytest.param(
            _run("unheard", seconds_ago=31), True, id="a-worker-of-another-version-is-not-known"
        ),
        pytest.param(_run("alive", seconds_ago=600), False, id="a-worker-of-another-version-lives"),
        pytest.param(
            _run("alive", "dead", seconds_ago=600),
            False,
            id="a-worker-of-another-version-has-it-after-a-dead-one",
        ),
        pytest.param(
            _run("alive", "dead", _GONE, seconds_ago=600),
            False,
            id="a-process-that-ended-had-it-before-another-version",
        ),
        pytest.param(_run("me", seconds_ago=600), True, id="a-predecessor-of-another-version"),
        pytest.param(
            _run(seconds_ago=91), True, id="pending-without-a-worker-for-three-heartbeats"
        ),
        pytest.param(_run(seconds_ago=89), False, id="pending-without-a-worker"),
        pytest.param(_run(seconds_ago=91, state="RUNNING"), False, id="running-without-a-worker"),
        pytest.param(
            _run(seconds_ago=600, deployment=False), False, id="a-program-is-about-to-submit-it"
        ),
        pytest.param(
            _run(seconds_ago=31, pid="o:g:w:c", deployment=False),
            True,
            id="a-program-has-submitted-it",
        ),
        pytest.param(
            _run(seconds_ago=5, pid="o:g:w:c", deployment=False),
            False,
            id="a-program-has-just-submitted-it",
        ),
    ],
)
def test_run_is_left_behind(run, expected) -> None:
    assert left_behind.is_left_behind(run, _seen()) is expected


@pytest.mark.parametrize("record", [None, "me (process 99999999)"])
def test_new_worker_waits_for_unknown_twin(record) -> None:
    run = _run("me", record, seconds_ago=600)
    assert not left_behind.is_left_behind(run, _seen(lived=89))
    assert left_behind.is_left_behind(run, _seen(lived=91))


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        pytest.param(_run("dead", "dead", seconds_ago=60), True, id="after-the-end-of-its-worker"),
        pytest.param(
            _run("dead", "dead", seconds_ago=600), True, id="shortly-before-the-end-of-its-worker"
        ),
        pytest.param(
            _run("dead", "dead", seconds_ago=700), False, id="long-before-the-end-of-its-worker"
        ),
        pytest.param(_run("alive", "alive", seconds_ago=60), False, id="its-worker-lives"),
        pytest.param(_run("me", ME.record, seconds_ago=60), False, id="this-process-has-had-it"),
        pytest.param(
            _run("me", "me (process 33333333)", seconds_ago=60),
            True,
            id="its-worker-has-said-that-it-ends",
        ),
        pytest.param(
            _run("unheard", seconds_ago=60), False, id="nobody-knows-when-its-worker-ended"
        ),
        pytest.param(_run(seconds_ago=60), False, id="no-worker-had-it"),
    ],
)
def test_ended_run_may_lack_lines(run, expected) -> None:
    assert left_behind.may_lack_lines(run.model_copy(update={"state": None}), _seen()) is expected
