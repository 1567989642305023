from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType

from cpln_flows.worker import left_behind
from cpln_flows.worker.left_behind import WORKER_LABEL

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("label", "seconds_ago", "expected"),
    [
        pytest.param(None, 600, False, id="no-worker-has-labelled-it-yet"),
        pytest.param("me", 0, True, id="my-predecessor-had-it"),
        pytest.param("online", 600, False, id="its-worker-lives"),
        pytest.param("gone", 600, True, id="its-worker-is-gone"),
        pytest.param("gone", 5, False, id="another-worker-may-be-about-to-label-it"),
    ],
)
def test_a_run_is_left_behind(label, seconds_ago, expected) -> None:
    run = FlowRun(
        id=uuid4(),
        flow_id=uuid4(),
        labels={} if label is None else {WORKER_LABEL: label},
        state=State(type=StateType.RUNNING, timestamp=NOW - timedelta(seconds=seconds_ago)),
    )
    assert left_behind.is_left_behind(run, name="me", online={"online"}, now=NOW) is expected
