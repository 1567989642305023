from datetime import UTC, datetime, timedelta

import pytest

from cpln_flows.jobs.reattach import Adopt, EarlierAttempt, Outcome, StartNew, choose
from cpln_flows.model.identifiers import ATTEMPT
from cpln_flows.model.resources import Command

T0 = datetime(2026, 1, 10, 10, tzinfo=UTC)


def _command(
    stage: str, created: int, ended: int | None = None, name: str = "c", attempt: int = 0
) -> Command:
    return Command(
        id=name,
        tags={ATTEMPT: str(attempt)},
        lifecycle_stage=stage,
        created=T0 + timedelta(seconds=created),
        last_modified=T0 + timedelta(seconds=ended if ended is not None else created),
    )


def _attempt(at: int, outcome: Outcome) -> EarlierAttempt:
    return EarlierAttempt(T0 + timedelta(seconds=at), outcome)


@pytest.mark.parametrize(
    ("commands", "earlier", "decision"),
    [
        pytest.param([], [], StartNew, id="nothing-was-started"),
        pytest.param(
            [], [_attempt(9, Outcome.CRASHED)], StartNew, id="the-attempt-before-started-nothing"
        ),
        pytest.param([_command("running", 1)], [], Adopt, id="a-running-job-is-followed"),
        pytest.param(
            [_command("pending", 1)],
            [_attempt(9, Outcome.REPORTED)],
            Adopt,
            id="a-running-job-outlived-its-attempt",
        ),
        pytest.param([_command("strange", 1)], [], Adopt, id="an-unknown-stage-counts-as-running"),
        pytest.param(
            [_command("completed", 1, 5)], [], Adopt, id="the-process-died-after-the-end-of-the-job"
        ),
        pytest.param([_command("failed", 1, 5)], [], Adopt, id="a-failure-that-nobody-reported"),
        pytest.param(
            [_command("completed", 1, 5)],
            [_attempt(6, Outcome.CRASHED)],
            Adopt,
            id="a-success-before-a-crash-is-taken",
        ),
        pytest.param(
            [_command("failed", 1, 5)],
            [_attempt(6, Outcome.CRASHED)],
            StartNew,
            id="the-crash-may-have-stopped-the-job",
        ),
        pytest.param(
            [_command("cancelled", 1, 5)],
            [_attempt(6, Outcome.CRASHED)],
            StartNew,
            id="a-stopped-job-is-run-again",
        ),
        pytest.param(
            [_command("failed", 1, 5)],
            [_attempt(6, Outcome.REPORTED)],
            StartNew,
            id="a-reported-failure-is-tried-again",
        ),
        pytest.param(
            [_command("completed", 1, 5)],
            [_attempt(6, Outcome.REPORTED)],
            StartNew,
            id="a-reported-success-is-run-again",
        ),
        pytest.param(
            [_command("completed", 5, 9, attempt=1)],
            [_attempt(4, Outcome.REPORTED)],
            Adopt,
            id="reports-before-the-end-do-not-count",
        ),
        pytest.param(
            [_command("failed", 6, 10)],
            [_attempt(5, Outcome.REPORTED)],
            StartNew,
            id="a-reported-failure-is-tried-again-although-the-platforms-clock-is-ahead",
        ),
        pytest.param(
            [_command("failed", 6, 10)],
            [_attempt(5, Outcome.CRASHED)],
            StartNew,
            id="a-crash-may-have-stopped-the-job-although-the-platforms-clock-is-ahead",
        ),
        pytest.param(
            [_command("failed", 1, 2, attempt=1)],
            [_attempt(20, Outcome.REPORTED)],
            Adopt,
            id="an-attempt-before-the-jobs-own-has-not-reported-it-although-the-platforms-clock-is-behind",
        ),
        pytest.param(
            [_command("completed", 1, 500)],
            [_attempt(9, Outcome.REPORTED)],
            Adopt,
            id="a-job-that-ended-long-after-the-report-was-not-reported",
        ),
    ],
)
def test_what_becomes_of_an_earlier_job(commands, earlier, decision) -> None:
    assert isinstance(choose(commands, earlier), decision)


def test_the_oldest_of_several_running_jobs_is_followed() -> None:
    found = choose([_command("running", 2, name="young"), _command("running", 1, name="old")], [])
    assert isinstance(found, Adopt)
    assert found.command.id == "old"


def test_the_newest_of_several_ended_jobs_counts() -> None:
    found = choose(
        [_command("failed", 1, 2, "first"), _command("completed", 3, 4, "second", attempt=1)],
        [_attempt(2, Outcome.REPORTED)],
    )
    assert isinstance(found, Adopt)
    assert found.command.id == "second"


@pytest.mark.parametrize("stage", ["failed", "cancelled", "completed"])
def test_only_a_failure_asks_for_its_end(stage) -> None:
    found = choose([_command(stage, 1, 5)], [_attempt(6, Outcome.CRASHED)])
    assert isinstance(found, Adopt) == (stage == "completed")
    assert isinstance(found, Adopt) or (found.unless_succeeded is not None) == (stage == "failed")
