"""What a cycle may do: a type per action, with its subject as seen and the evidence in words.

Decides nothing and does nothing. Code that handles actions matches on their types, so a type
checker finds what it forgets.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, TypeAlias, assert_never
from uuid import NAMESPACE_URL, UUID, uuid5

from cpln_flows.model.identifiers import Area, LogContext
from cpln_flows.model.links import CommandRef
from cpln_flows.model.run_states import RunState
from cpln_flows.reconcile.report_keys import ReportKey
from cpln_flows.reconcile.snapshot import (
    TO_CPLN,
    TO_PREFECT,
    CallerCase,
    ChildCase,
    Ended,
    JobCase,
    JobView,
    NotFound,
    RunCase,
    RunView,
)

Subject: TypeAlias = RunCase | CallerCase | JobCase | ChildCase | Ended
"""Everything that was seen of the subject of an action."""


class Kind(StrEnum):
    """The name of an action, in events and artifacts."""

    KEEP = "keep"
    COUNT = "count"
    RESET = "reset"
    RECORD_PID = "record-pid"
    PEND = "pend"
    COMPLETE = "complete"
    CRASH = "crash"
    FAIL = "fail"
    CANCEL = "cancel"
    STOP = "stop"
    ESCALATE = "escalate"
    STOPPED = "stopped"
    REPORT = "report"


PROPOSED = {
    RunState.COMPLETED: Kind.COMPLETE,
    RunState.CRASHED: Kind.CRASH,
    RunState.FAILED: Kind.FAIL,
    RunState.CANCELLED: Kind.CANCEL,
    RunState.PENDING: Kind.PEND,
}
"""The name of a proposal by the state that it proposes to Prefect."""


@dataclass(frozen=True)
class About:
    """What all actions have in common.

    Attributes:
        subject: What was seen of the flow run or the job.
        reason: What was seen, where and when.
    """

    subject: Subject
    reason: str

    @property
    def area(self) -> Area:
        """The direction it belongs to."""
        return TO_PREFECT if isinstance(self.subject, RunCase | CallerCase) else TO_CPLN

    @property
    def run(self) -> RunView | None:
        """The flow run that it concerns."""
        match self.subject:
            case RunCase(run=run) | CallerCase(run=run) | ChildCase(run=run):
                return run
            case JobCase(run=run):
                return run if isinstance(run, RunView) else None
            case Ended():
                return None
            case _:
                assert_never(self.subject)

    @property
    def job(self) -> JobView | None:
        """The job that it concerns, if it was read."""
        match self.subject:
            case RunCase(job=found) | CallerCase(job=found):
                return found if isinstance(found, JobView) else None
            case JobCase(job=job) | Ended(job=job):
                return job
            case ChildCase():
                return None
            case _:
                assert_never(self.subject)

    @property
    def command(self) -> CommandRef | None:
        """The command that it concerns; known even if the job could not be read."""
        if isinstance(self.subject, RunCase | CallerCase) and isinstance(
            self.subject.job, NotFound
        ):
            return self.subject.job.ref
        return self.job.ref if self.job else None

    @property
    def run_id(self) -> UUID | None:
        """The flow run that it concerns."""
        return self.run.id if self.run else self.job.run_id if self.job else None

    @property
    def cause(self) -> UUID | None:
        """The flow run whose end is the reason: the ancestor that left it behind, or its own."""
        ancestor = self.subject.ancestor if isinstance(self.subject, JobCase | ChildCase) else None
        return ancestor.id if ancestor else self.run_id

    def context(self, flow_name: str | None = None) -> LogContext:
        """Return the context of log lines about it."""
        ref = self.command
        return LogContext(
            flow=flow_name or (self.job.flow_name if self.job else None),
            run_id=self.run_id,
            gvc=ref.gvc if ref else None,
            workload=ref.workload if ref else None,
            command_id=ref.command_id if ref else None,
        )


@dataclass(frozen=True)
class Keep(About):
    """Do nothing."""

    kind: ClassVar[Kind] = Kind.KEEP


@dataclass(frozen=True)
class CountMiss(About):
    """Count one more 404 on the flow run."""

    subject: RunCase | CallerCase
    times: int
    """How many 404s in a row this makes."""
    command_id: str
    kind: ClassVar[Kind] = Kind.COUNT


@dataclass(frozen=True)
class ForgetMisses(About):
    """Forget the 404s: the job was read."""

    subject: RunCase | CallerCase
    kind: ClassVar[Kind] = Kind.RESET


@dataclass(frozen=True)
class RecordPid(About):
    """Record the job on the flow run, because its starter died before doing so."""

    subject: RunCase | CallerCase
    ref: CommandRef
    kind: ClassVar[Kind] = Kind.RECORD_PID


@dataclass(frozen=True)
class Propose(About):
    """Propose a state to Prefect.

    Attributes:
        state: The type of the state.
        state_name: Its name, if it is not that of the type.
    """

    subject: RunCase | CallerCase | JobCase | ChildCase
    state: RunState
    state_name: str | None = None

    @property
    def kind(self) -> Kind:
        """Its name."""
        return PROPOSED[self.state]


@dataclass(frozen=True)
class SendStop(About):
    """Send stopReplica."""

    subject: JobCase
    kind: ClassVar[Kind] = Kind.STOP


@dataclass(frozen=True)
class Escalate(About):
    """Send stopReplica again, and report prominently that the job does not end."""

    subject: JobCase
    times: int
    """The number of this escalation, from 1."""
    kind: ClassVar[Kind] = Kind.ESCALATE


@dataclass(frozen=True)
class ReportEnd(About):
    """Report that a job has ended after a stop was sent, and how long it took."""

    subject: Ended
    kind: ClassVar[Kind] = Kind.STOPPED


@dataclass(frozen=True)
class Alert(About):
    """Report once what somebody should look at."""

    kind: ClassVar[Kind] = Kind.REPORT


Action: TypeAlias = (
    Keep | CountMiss | ForgetMisses | RecordPid | Propose | SendStop | Escalate | ReportEnd | Alert
)


def is_change(action: Action) -> bool:
    """Whether an action ends something; the guard counts these."""
    match action:
        case Propose():
            return action.state is not RunState.PENDING
        case SendStop():
            return True
        case (
            Keep() | CountMiss() | ForgetMisses() | RecordPid() | Escalate() | ReportEnd() | Alert()
        ):
            return False
        case _:
            assert_never(action)


def is_quiet(action: Action) -> bool:
    """Whether an action at most reports something or resets a count."""
    return isinstance(action, Keep | ForgetMisses | ReportEnd | Alert)


def is_shown(action: Action) -> bool:
    """Whether an action is worth an event and an entry in the artifact."""
    return isinstance(action, ReportEnd) or not is_quiet(action)


def report_key(action: Action) -> str | None:
    """Return the key of an action's report; ``None`` if it makes none or may repeat it."""
    match action:
        case Alert():
            return ReportKey.LOOK.of(action.run_id, action.command)
        case ReportEnd():
            return ReportKey.STOPPED.of(action.command)
        case Escalate():
            return ReportKey.ESCALATED.of(action.command, action.times)
        case _:
            return None


def event_id(action: Action) -> UUID:
    """Return the same id for the same action on the same state, so that repeats are one event."""
    since = action.run.since.isoformat() if action.run else ""
    times = action.times if isinstance(action, CountMiss | Escalate) else 0
    return uuid5(
        NAMESPACE_URL, f"cpln-flows:{action.kind}:{action.run_id}:{since}:{action.command}:{times}"
    )


def would(action: Action) -> str:  # noqa: PLR0911 - a row each
    """Describe what an action would do."""
    match action:
        case Keep():
            return "do nothing"
        case CountMiss():
            return "count one more 404"
        case ForgetMisses():
            return "forget the 404s"
        case RecordPid():
            return "record the job on the flow run"
        case Propose():
            return f"mark as {action.state_name or action.state}"
        case SendStop():
            return "stop the job"
        case Escalate():
            return "stop the job again and report it"
        case ReportEnd():
            return "report the end of a stopped job"
        case Alert():
            return "report"
        case _:
            assert_never(action)


def row(action: Action, flow_name: str | None = None) -> dict[str, str]:
    """Return an action as a row of a plan."""
    context = action.context(flow_name)
    return {
        "action": would(action),
        "flow": context.flow or "",
        "flow_run": action.run.name if action.run else str(action.run_id or ""),
        "flow_run_id": str(action.run_id or ""),
        "workload": context.workload or "",
        "command": context.command_id or "",
        "reason": action.reason,
    }
