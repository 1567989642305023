from uuid import UUID

import pytest

from cpln_flows.model.identifiers import Area, LogContext, Owner, Role, Submission, workload_tags

RUN = UUID("0d6c0000-0000-0000-0000-000000000001")
ROOT = UUID("0d6c0000-0000-0000-0000-000000000002")


def test_the_tags_of_a_command_are_those_that_automation_depends_on() -> None:
    owner = Owner(RUN, "etl", ROOT, UUID(int=7), "/org/acme/gvc/dev/workload/worker")
    assert owner.tags(Role.JOB) == {
        "prefect.io/flow-run-id": str(RUN),
        "prefect.io/flow-name": "etl",
        "cpln/prefectAgent": "/org/acme/gvc/dev/workload/worker",
        "cpln-flows/role": "job",
        "cpln-flows/installation": str(UUID(int=7)),
        "cpln-flows/root-flow-run-id": str(ROOT),
    }


def test_a_container_has_no_root_flow_run() -> None:
    assert "cpln-flows/root-flow-run-id" not in Owner(RUN, "etl", ROOT).tags(Role.CONTAINER)


def test_what_is_unknown_is_left_out_of_the_tags() -> None:
    assert Owner().tags(Role.JOB) == {"cpln-flows/role": "job"}


def test_the_tags_of_a_workload_are_those_of_the_fork() -> None:
    assert workload_tags(spec_hash="3f0c", job_type="standard") == {
        "cpln/createdByPrefect": "true",
        "cpln/specHash": "3f0c",
        "cpln/prefectJobType": "standard",
    }


def test_a_submission_has_the_same_suffix_in_every_process_and_another_for_each_attempt() -> None:
    first, again, second = Submission(RUN, 0), Submission(RUN, 0), Submission(RUN, 1)
    assert first.suffix == again.suffix != second.suffix
    assert first.tags == {"cpln-flows/submission": str(RUN), "cpln-flows/attempt": "0"}


def test_two_submissions_outside_of_a_run_are_two_jobs() -> None:
    assert Submission().id != Submission().id


@pytest.mark.parametrize(
    ("context", "line"),
    [
        pytest.param(
            LogContext("etl", RUN, "dev", "w", "9b38"),
            f"[CPLN] Kill | Flow: etl, RunID: {RUN}, GVC: dev, Workload: w, Cmd: 9b38"
            " > Sending stopReplica",
            id="all-known",
        ),
        pytest.param(
            LogContext(gvc="dev"), "[CPLN] Kill | GVC: dev > Sending stopReplica", id="some-known"
        ),
        pytest.param(LogContext(), "[CPLN] Kill > Sending stopReplica", id="nothing-known"),
    ],
)
def test_a_log_line_has_the_prefix_that_users_filter_by(context, line) -> None:
    assert context.line(Area.KILL, "Sending stopReplica") == line


def test_the_areas_are_written_as_users_are_told() -> None:
    assert [str(area) for area in Area] == [
        "Job", "Workload", "Sync CPLN→Prefect", "Sync Prefect→CPLN", "Kill", "Cleanup", "Logs",
        "Init",
    ]  # fmt: skip
