from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType

from cpln_flows.worker import left_behind
from cpln_flows.worker.left_behind import WORKER_LABEL

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("label", "seconds_ago", "pid", "expected"),
    [
        pytest.param(None, 600, None, False, id="no-worker-has-labelled-it-yet"),
        pytest.param(None, 600, "o:g:w:c", True, id="submitted-from-a-program-that-does-not-follow-it"),
        pytest.param(None, 5, "o:g:w:c", False, id="just-submitted-from-a-program"),
        pytest.param("me", 0, None, True, id="my-predecessor-had-it"),
        pytest.param("online", 600, None, False, id="its-worker-lives"),
        pytest.param("gone", 600, None, True, id="its-worker-is-gone"),
        pytest.param("gone", 5, None, False, id="another-worker-may-be-about-to-label-it"),
    ],
)
def test_a_run_is_left_behind(label, seconds_ago, pid, expected) -> None:
    run = FlowRun(
        id=uuid4(),
        flow_id=uuid4(),
        infrastructure_pid=pid,
        labels={} if label is None else {WORKER_LABEL: label},
        state=State(type=StateType.RUNNING, timestamp=NOW - timedelta(seconds=seconds_ago)),
    )
    assert left_behind.is_left_behind(run, name="me", online={"online"}, now=NOW) is expected
