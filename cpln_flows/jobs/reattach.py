"""Decide which job of an earlier attempt to adopt, if any. Pure: a decision over observations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cpln_flows.model.identifiers import ATTEMPT
from cpln_flows.model.lifecycle import Stage
from cpln_flows.model.resources import Command
from cpln_flows.model.time import CLOCK_SKEW

_MOST_DIGITS = 9  # a tag can hold anything


class Outcome(StrEnum):
    """How an earlier attempt of the same flow run ended in Prefect."""

    REPORTED = "reported"
    """With a result of its own: completed, failed or cancelled."""
    CRASHED = "crashed"
    """Without a result: the process died, or was stopped."""


@dataclass(frozen=True)
class EarlierAttempt:
    """An earlier attempt that reached a final state, or that Prefect is retrying.

    ``ended`` is the time of this machine's clock.
    """

    ended: datetime
    outcome: Outcome


@dataclass(frozen=True)
class Adopt:
    """Adopt a job that exists: follow it if it is running, take its result if it has ended."""

    command: Command
    reason: str


@dataclass(frozen=True)
class StartNew:
    """Start a job, unless the main container of a job that counts as failed has succeeded."""

    reason: str
    unless_succeeded: Command | None = None


def choose(commands: Sequence[Command], earlier: Sequence[EarlierAttempt]) -> Adopt | StartNew:
    """Decide whether to adopt a job of the same submission or to start one.

    A result that nobody reported is taken, because the process may have died after the job ended
    and before it could report. After a crash only a success is taken: the crash may be the very
    interruption that stopped the job. A command is also ``failed`` if nothing but a sidecar
    failed, so such an end has to be read before another job starts.

    Args:
        commands: Every known command of the submission.
        earlier: The earlier attempts that ended, oldest first, in the time of the platform's
            clock.
    """
    active = [command for command in commands if not command.is_terminal]
    if active:
        return Adopt(min(active, key=_age), "the job of an earlier attempt is still running")
    if not commands:
        return StartNew("there is no job of this submission")
    newest = max(commands, key=_age)
    after = [
        attempt for attempt in earlier[_attempt_of(newest) :] if _has_seen_the_end(attempt, newest)
    ]
    if any(attempt.outcome is Outcome.REPORTED for attempt in after):
        return StartNew("the job of an earlier attempt has ended and its result was reported")
    if after and newest.lifecycle_stage != Stage.COMPLETED:
        reason = (
            f"the job of an earlier attempt is {newest.lifecycle_stage}, and that attempt crashed"
        )
        return StartNew(reason, newest if newest.lifecycle_stage == Stage.FAILED else None)
    return Adopt(newest, "the job of an earlier attempt has ended and its result was not reported")


def _attempt_of(command: Command) -> int:
    """Return which attempt started a job; attempts that ended before it know nothing of the job."""
    said = command.tags.get(ATTEMPT, "")
    return int(said) if said.isdecimal() and len(said) <= _MOST_DIGITS else 0


def _has_seen_the_end(attempt: EarlierAttempt, command: Command) -> bool:
    return attempt.ended >= (command.last_modified or command.created) - CLOCK_SKEW


def _age(command: Command) -> tuple[datetime, str]:
    return (command.created, command.id)
