import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.errors import UnexpectedResponseError
from cpln_flows.model.resources import Command, Workload, WorkloadDeployment

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
COMMAND = {
    "kind": "command",
    "id": "9b38",
    "type": "runCronWorkload",
    "lifecycleStage": "running",
    "created": "2026-01-10T10:00:00.000Z",
    "tags": {"prefect.io/flow-run-id": "0d6c", "flag": True, "n": 1},
    "spec": {"location": "aws-eu", "containerOverrides": []},
    "status": {"replica": "command-9b38-x7k2p", "messages": None, "unknown": {}},
}


def test_a_command_is_read_with_its_tags_as_text() -> None:
    command = Command.parse(COMMAND, source="test")
    assert (command.id, command.lifecycle_stage, command.spec.location) == (
        "9b38",
        "running",
        "aws-eu",
    )
    assert command.tags == {"prefect.io/flow-run-id": "0d6c", "flag": "true", "n": "1"}
    assert command.status.replica == "command-9b38-x7k2p"


@pytest.mark.parametrize("field", ["tags", "spec", "status"])
def test_null_is_the_same_as_absent(field) -> None:
    assert Command.parse({**COMMAND, field: None}, source="test").id == "9b38"


@given(JSON)
def test_an_answer_of_another_form_is_an_error_of_ours_whatever_it_is(answer) -> None:
    for kind in (Command, Workload, WorkloadDeployment):
        try:
            kind.parse(answer, source="GET /org/acme")
        except UnexpectedResponseError as error:
            assert "GET /org/acme" in str(error)  # noqa: PT017 - most examples raise, some may not


DEPLOYMENT = {
    "name": "aws-eu",
    "status": {
        "ready": False,
        "lastProcessedVersion": 3,
        "message": "pulling",
        "versions": [{"message": "pulling"}, {"message": "no quota"}],
        "jobExecutions": [
            {"name": "29812345"},
            {"name": "command-9b38", "status": "active"},
            {"name": "run-for-command-old"},
        ],
    },
}


def test_the_execution_of_a_job_is_found_by_its_command_in_both_forms() -> None:
    deployment = WorkloadDeployment.parse(DEPLOYMENT, source="test")
    assert deployment.execution_of("9b38").status == "active"
    assert deployment.execution_of("old") is not None
    assert deployment.execution_of("other") is None


def test_a_deployment_reports_each_message_once() -> None:
    assert WorkloadDeployment.parse(DEPLOYMENT, source="test").report() == "pulling; no quota"
    assert WorkloadDeployment.parse({"name": "x"}, source="test").report() == "it reports nothing"


@pytest.mark.parametrize(
    ("status", "runs"),
    [
        pytest.param({"ready": True}, True, id="ready"),
        pytest.param({"ready": False}, False, id="not-ready"),
        pytest.param(
            {"ready": True, "lastProcessedVersion": 2, "expectedDeploymentVersion": 3},
            False,
            id="an-old-version-is-ready",
        ),
        pytest.param(
            {"ready": True, "lastProcessedVersion": 3, "expectedDeploymentVersion": 3},
            True,
            id="the-new-version-is-ready",
        ),
    ],
)
def test_jobs_are_started_on_the_newest_version_only(status, *, runs) -> None:
    assert (
        WorkloadDeployment.parse({"name": "x", "status": status}, source="test").runs_jobs is runs
    )


def test_time_without_zone_is_utc() -> None:
    command = Command.parse(
        {"id": "x", "created": "2026-01-10T10:00:00", "lastModified": "2026-01-10T10:00:00Z"},
        source="test",
    )
    assert command.created == command.last_modified
