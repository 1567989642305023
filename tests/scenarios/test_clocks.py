"""Clocks that disagree: the platform's and this machine's, with jobs, logs and retries between."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

import anyio
import pytest

from cpln_flows import JobFailedError
from cpln_flows.api.timekeeping import ServerTime
from cpln_flows.emulator import (
    Exit,
    Fault,
    Line,
    Platform,
    PlatformConfig,
    RealClock,
    Script,
    ScriptedExecutor,
)
from cpln_flows.emulator.clock import Timer
from cpln_flows.jobs.reattach import EarlierAttempt, Outcome
from cpln_flows.local import local_platform
from cpln_flows.model.identifiers import Owner, Submission
from cpln_flows.orchestration import JobIdentity
from tests.manifests import texts
from tests.scenarios import scripted
from tests.scenarios.scripted import FAILURE, LINES, SUCCESS

MINUTE = 60


class Skewed(RealClock):
    """A clock that is ahead of this machine's, or behind."""

    def __init__(self, ahead_seconds: float) -> None:
        super().__init__()
        self._ahead = timedelta(seconds=ahead_seconds)

    def now(self) -> datetime:
        return super().now() + self._ahead

    def time_ns(self) -> int:
        return super().time_ns() + int(self._ahead.total_seconds() * 1e9)

    def call_at(self, when: datetime, callback: Callable[[], None]) -> Timer:
        return super().call_at(when - self._ahead, callback)


def _platform(ahead_seconds: float, script: Script = SUCCESS) -> Platform:
    clock = Skewed(ahead_seconds)
    return Platform(
        PlatformConfig(delete_delay_seconds=0),
        clock=clock,
        executor=ScriptedExecutor(script, clock=clock),
    )


@pytest.mark.parametrize("has_tail", [True, False], ids=["live", "stored-only"])
@pytest.mark.parametrize("ahead", [-120 * MINUTE, -20 * MINUTE, -3, 3, 20 * MINUTE, 120 * MINUTE])
def test_no_line_is_lost_between_clocks_that_disagree(ahead, has_tail) -> None:
    with local_platform(_platform(ahead)) as local:
        if not has_tail:
            local.platform.faults.add(Fault(path="/tail$", status=503, times=None))
        run = scripted.run_of(local)
        assert texts(anyio.run(scripted.finish, run)) == LINES
        assert run.receipt.complete


@pytest.mark.parametrize("has_tail", [True, False], ids=["live", "stored-only"])
@pytest.mark.parametrize(
    "ahead",
    [
        -60 * MINUTE,
        pytest.param(-11 * MINUTE, marks=pytest.mark.proof),
        pytest.param(11 * MINUTE, marks=pytest.mark.proof),
        60 * MINUTE,
    ],
)
def test_stamps_of_log_need_not_fit_date_header(ahead, has_tail, monkeypatch) -> None:
    learn = ServerTime.learn

    def learn_skewed(self, date, now_ns=None) -> None:
        moved = parsedate_to_datetime(date) + timedelta(seconds=ahead) if date else None
        learn(self, format_datetime(moved, usegmt=True) if moved else None, now_ns)

    monkeypatch.setattr(ServerTime, "learn", learn_skewed)
    with local_platform(scripted.platform(SUCCESS)) as local:
        if not has_tail:
            local.platform.faults.add(Fault(path="/tail$", status=503, times=None))
        run = scripted.run_of(local)
        assert texts(anyio.run(scripted.finish, run)) == LINES
        assert run.receipt.complete


@pytest.mark.parametrize("ahead", [-20 * MINUTE, 20 * MINUTE])
def test_a_job_that_is_found_is_as_old_as_the_platform_says(ahead) -> None:
    identity = JobIdentity(Owner(), Submission())
    with local_platform(_platform(ahead, Script([Line(0, "one"), Exit(2)]))) as local:
        fields = {"identity": identity, "timeout_seconds": 60, "delete_after_completion": False}
        anyio.run(scripted.run_of(local, **fields).start)
        assert texts(anyio.run(scripted.finish, scripted.run_of(local, **fields))) == ["one"]
        assert local.platform.jobs_started == 1


@pytest.mark.parametrize("private", [True, False], ids=["private", "shared"])
@pytest.mark.parametrize("ahead", [-20 * MINUTE, -5, 5, 20 * MINUTE])
def test_a_failure_that_was_reported_is_not_taken_again(ahead, private) -> None:
    submission, earlier = Submission(), []
    with local_platform(_platform(ahead, FAILURE)) as local:
        for attempt in range(3):
            identity = JobIdentity(Owner(), Submission(submission.id, attempt), tuple(earlier))
            with pytest.raises(JobFailedError):
                anyio.run(
                    scripted.finish,
                    scripted.run_of(local, identity=identity, delete_after_completion=private),
                )
            earlier.append(EarlierAttempt(datetime.now(UTC), Outcome.REPORTED))
        assert local.platform.jobs_started == 3
