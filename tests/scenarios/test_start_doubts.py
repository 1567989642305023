"""Starts whose answer is lost, and starts of one intent from several processes.

The outcome is one job, or an error that states what is known.
"""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import pytest

from cpln_flows.emulator import Exit, Fault, Line, Script
from cpln_flows.errors import JobError, ServerError, SubmissionUnknownError
from cpln_flows.jobs.reattach import EarlierAttempt, Outcome
from cpln_flows.local import local_platform
from cpln_flows.model.identifiers import Owner, Submission
from cpln_flows.orchestration import JobIdentity
from tests.manifests import texts
from tests.scenarios import scripted
from tests.scenarios.scripted import LINES

START, QUERY = "/-command$", "/-command/-query$"
SLOW = Script([*(Line(0.05 * n, text) for n, text in enumerate(LINES)), Exit(3)])


def _identity() -> JobIdentity:
    return JobIdentity(Owner(), Submission())


@pytest.mark.parametrize("times", [1, 2, 3, 5])
def test_an_answer_that_is_lost_after_the_effect_starts_no_second_job(times) -> None:
    with local_platform(scripted.platform()) as local:
        local.platform.faults.add(Fault(method="POST", path=START, reset="after", times=times))
        assert texts(anyio.run(scripted.finish, scripted.run_of(local))) == LINES
        assert local.platform.jobs_started == 1
        assert local.platform.workloads() == []


def _lose_answer_and_queries(local, *, skip: int) -> None:
    local.platform.faults.add(Fault(method="POST", path=START, reset="after"))
    local.platform.faults.add(Fault(method="POST", path=QUERY, status=503, times=None, skip=skip))


def test_a_private_job_that_cannot_be_looked_for_goes_with_its_workload() -> None:
    with local_platform(scripted.platform(SLOW)) as local:
        _lose_answer_and_queries(local, skip=0)
        run = scripted.run_of(local, settings={"retry_seconds": 0.2})
        with pytest.raises(SubmissionUnknownError, match="looking for it failed too") as caught:
            anyio.run(scripted.finish, run)
        assert "cpln-flows/submission" in str(caught.value)
        assert local.platform.workloads() == []
        assert local.platform.active_jobs == []


def test_a_job_on_a_shared_workload_that_cannot_be_looked_for_is_found_by_a_later_attempt() -> None:
    with local_platform(scripted.platform(SLOW)) as local:
        identity, fields = (
            _identity(),
            {"delete_after_completion": False, "settings": {"retry_seconds": 0.2}},
        )
        anyio.run(scripted.finish, scripted.run_of(local, **fields))
        _lose_answer_and_queries(local, skip=2)
        with pytest.raises(SubmissionUnknownError, match="looking for it failed too") as caught:
            anyio.run(scripted.finish, scripted.run_of(local, identity=identity, **fields))
        assert str(identity.submission.id) in str(caught.value)
        assert len(local.platform.active_jobs) == 1
        local.platform.faults.clear()
        assert (
            texts(anyio.run(scripted.finish, scripted.run_of(local, identity=identity, **fields)))
            == LINES
        )
        assert local.platform.jobs_started == 2


def test_a_command_that_shows_up_late_is_found_and_its_double_stopped() -> None:
    with local_platform(scripted.platform(SLOW, command_visible_delay_seconds=0.5)) as local:
        local.platform.faults.add(Fault(method="POST", path=START, reset="after"))
        run = scripted.run_of(local, settings={"query_settle_seconds": 0.2})
        assert texts(anyio.run(scripted.finish, run)) == LINES
        assert local.platform.active_jobs == []
        stages = sorted(command["lifecycleStage"] for command in local.platform.commands())
        assert stages == []  # the workload is gone with its commands
        assert local.platform.jobs_started == 2


@pytest.mark.parametrize("private", [True, False], ids=["private", "shared"])
def test_two_processes_with_one_submission_leave_one_job(private) -> None:
    identity = _identity()
    with local_platform(scripted.platform(SLOW, ready_delay_seconds=0.3)) as local:
        settings = {"query_settle_seconds": 0.5}
        runs = [
            scripted.run_of(
                local, identity=identity, settings=settings, delete_after_completion=private
            )
            for _ in range(3)
        ]
        results: list[str | JobError] = []

        async def one(run) -> None:
            try:
                results.append(await scripted.finish(run))
            except JobError as error:
                results.append(error)

        async def main() -> None:
            async with anyio.create_task_group() as group:
                for run in runs:
                    group.start_soon(one, run)

        anyio.run(main)
        assert {run.command_id for run in runs} == {runs[0].command_id}
        assert local.platform.active_jobs == []
        good = [result for result in results if isinstance(result, str)]
        assert good, results
        assert all(texts(result) == LINES for result in good)
        if not private:
            stages = sorted(
                command["lifecycleStage"]
                for command in local.platform.commands()
                if "containerOverrides" in command["spec"]
            )
            assert stages.count("completed") == 1


def test_a_job_that_was_started_is_followed_although_its_doubles_cannot_be_looked_for() -> None:
    with local_platform(scripted.platform()) as local:
        local.platform.faults.add(Fault(method="POST", path=START, reset="before"))
        local.platform.faults.add(Fault(method="POST", path=QUERY, status=503, times=None, skip=1))
        settings = {"retry_seconds": 0.2, "query_settle_seconds": 0}
        run = scripted.run_of(local, settings=settings, delete_after_completion=False)
        assert texts(anyio.run(scripted.finish, run)) == LINES
        assert local.platform.jobs_started == 1


def _attempts(count: int) -> list[JobIdentity]:
    """The identities of attempts each of which crashed after the one before."""
    submission, earlier = Submission(), []
    identities = []
    for number in range(count):
        identities.append(JobIdentity(Owner(), Submission(submission.id, number), tuple(earlier)))
        earlier.append(EarlierAttempt(datetime.now(UTC), Outcome.CRASHED))
    return identities


@pytest.mark.parametrize("private", [True, False], ids=["private", "shared"])
def test_a_job_of_an_attempt_long_before_is_gone_on_with(private) -> None:
    first, second, third = _attempts(3)
    with local_platform(scripted.platform(SLOW)) as local:
        fields = {"delete_after_completion": private, "settings": {"retry_seconds": 0.1}}
        anyio.run(scripted.run_of(local, identity=first, **fields).start)
        local.platform.faults.add(Fault(path="/gvc/quickstart", status=503, times=4))
        with pytest.raises(ServerError):
            anyio.run(scripted.run_of(local, identity=second, **fields).start)
        local.platform.faults.clear()
        assert (
            texts(anyio.run(scripted.finish, scripted.run_of(local, identity=third, **fields)))
            == LINES
        )
        assert local.platform.jobs_started == 1
