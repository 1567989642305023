"""What a cycle intends: actions, each with its evidence as a sentence. Decides nothing and does nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import NAMESPACE_URL, UUID, uuid5

from cpln_flows.model.identifiers import Area, LogContext
from cpln_flows.model.links import CommandRef
from cpln_flows.model.policy import Limits
from cpln_flows.model.run_states import RunState
from cpln_flows.reconcile.snapshot import ChildCase, JobCase, JobView, RunCase, RunView, Unread


class Kind(StrEnum):
    """What is done."""

    KEEP = "keep"
    """Nothing."""
    COUNT = "count"
    """Note one more 404 on the flow run."""
    RESET = "reset"
    """Forget the 404s: the job was read."""
    RECORD_PID = "record-pid"
    """Name the job on the flow run, because whoever started it died before."""
    PEND = "pend"
    """Say in Prefect that the run waits for its container."""
    COMPLETE = "complete"
    CRASH = "crash"
    FAIL = "fail"
    CANCEL = "cancel"
    STOP = "stop"
    """Send stopReplica."""
    ESCALATE = "escalate"
    """Send it again, and say loudly that the job does not end."""
    STOPPED = "stopped"
    """Say that a job which was told to stop is over, and how long it took."""
    REPORT = "report"
    """Say once what somebody should look at."""


PROPOSALS = {
    Kind.COMPLETE: RunState.COMPLETED,
    Kind.CRASH: RunState.CRASHED,
    Kind.FAIL: RunState.FAILED,
    Kind.CANCEL: RunState.CANCELLED,
    Kind.PEND: RunState.PENDING,
}
"""The state that an action proposes to Prefect."""

WOULD = {
    Kind.KEEP: "do nothing",
    Kind.COUNT: "count one more 404",
    Kind.RESET: "forget the 404s",
    Kind.RECORD_PID: "record the job on the flow run",
    Kind.PEND: "mark as InfrastructurePending",
    Kind.COMPLETE: "mark as COMPLETED",
    Kind.CRASH: "mark as CRASHED",
    Kind.FAIL: "mark as FAILED",
    Kind.CANCEL: "mark as CANCELLED",
    Kind.STOP: "stop the job",
    Kind.ESCALATE: "stop the job again and report it",
    Kind.STOPPED: "report the end of a stopped job",
    Kind.REPORT: "report",
}
"""What an action would do, in words."""

CHANGES = frozenset({Kind.COMPLETE, Kind.CRASH, Kind.FAIL, Kind.CANCEL, Kind.STOP})
"""What ends something; the guard counts these."""

QUIET = frozenset({Kind.KEEP, Kind.RESET, Kind.STOPPED, Kind.REPORT})
"""What says something or nothing, and changes neither side but for a count."""


class Report(StrEnum):
    """What kind of thing was reported, as the first letter of its key."""

    LOOK = "l"
    """Somebody should look at a run or a job."""
    STOPPED = "s"
    """A job that was told to stop is over."""
    ESCALATED = "e"
    """A job that was told to stop does not end; for each time once."""
    UNDONE = "u"
    """An action was not done, or failed, for the same reason as before."""
    UNREAD = "n"
    """Something could not be read."""
    SKEW = "k"
    """A server's clock differs from this machine's."""

    def key(self, *about: object) -> str:
        """Name a report in few characters, so that it is made once.

        >>> len(Report.UNREAD.key("/org/acme")), Report.UNREAD.key("x") == Report.SKEW.key("x")
        (8, False)
        """
        return f"{self}{hashlib.sha256(repr(about).encode()).hexdigest()[:7]}"


@dataclass(frozen=True)
class Action:
    """One thing to do, and why.

    Attributes:
        kind: What.
        reason: What was seen where and when.
        area: Which direction it belongs to.
        run: The flow run that it concerns.
        job: The job that it concerns.
        ref: The command that it concerns; also known when the job could not be read.
        times: Of a 404, which in the row it is; of an escalation, which of its kind.
        case: All that was seen of the job, when the action is about a job that must end.
        child: All that was seen of a run that was called by another, when the action is about such a run.
        caller: All that was seen of a run of ``run_namespaced_job`` in no container, when the action is about such a run.
    """

    kind: Kind
    reason: str
    area: Area
    run: RunView | None = None
    job: JobView | None = None
    ref: CommandRef | None = None
    times: int = 0
    case: JobCase | None = None
    child: ChildCase | None = None
    caller: RunCase | None = None

    @property
    def command(self) -> CommandRef | None:
        """The command that it concerns."""
        return self.job.ref if self.job else self.ref

    @property
    def run_id(self) -> UUID | None:
        """The flow run that it concerns."""
        return self.run.id if self.run else self.job.run_id if self.job else None

    @property
    def cause(self) -> UUID | None:
        """The flow run whose end is the reason: the parent's for all that it has left behind, else the run's own."""
        ancestor = self.case.ancestor if self.case else self.child.ancestor if self.child else None
        return ancestor.id if ancestor else self.run_id

    @property
    def is_change(self) -> bool:
        """Whether something ends by it."""
        return self.kind in CHANGES

    @property
    def report_key(self) -> str | None:
        """What names the report that this action makes; nothing if it makes none, or may be made again."""
        match self.kind:
            case Kind.REPORT:
                return Report.LOOK.key(self.run_id, self.command)
            case Kind.STOPPED:
                return Report.STOPPED.key(self.command)
            case Kind.ESCALATE:
                return Report.ESCALATED.key(self.command, self.times)
            case _:
                return None

    @property
    def event_id(self) -> UUID:
        """The same for the same action on the same state of things, so that a repeat is not a second event."""
        since = self.run.since.isoformat() if self.run else ""
        return uuid5(NAMESPACE_URL, f"cpln-flows:{self.kind}:{self.run_id}:{since}:{self.command}:{self.times}")

    def context(self, flow_name: str | None = None) -> LogContext:
        """Return what log lines about it begin with."""
        ref = self.command
        return LogContext(
            flow=flow_name or (self.job.flow_name if self.job else None),
            run_id=self.run_id,
            gvc=ref.gvc if ref else None,
            workload=ref.workload if ref else None,
            command_id=ref.command_id if ref else None,
        )

    def row(self, flow_name: str | None = None) -> dict[str, str]:
        """Return it as a row of a plan."""
        context = self.context(flow_name)
        return {
            "action": WOULD[self.kind],
            "flow": context.flow or "",
            "flow_run": self.run.name if self.run else str(self.run_id or ""),
            "flow_run_id": str(self.run_id or ""),
            "workload": context.workload or "",
            "command": context.command_id or "",
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Plan:
    """What one cycle intends.

    Attributes:
        now: When it was decided.
        actions: What to do; what needs nothing is left out.
        judged: How many runs and jobs were looked at.
        withheld: Why nothing of it may be done, if the guard says so.
        unread: What could not be read.
    """

    now: datetime
    actions: tuple[Action, ...] = ()
    judged: int = 0
    withheld: str | None = None
    unread: tuple[Unread, ...] = ()

    @property
    def changes(self) -> tuple[Action, ...]:
        """The actions by which something ends."""
        return tuple(action for action in self.actions if action.is_change)

    @property
    def subjects(self) -> frozenset[tuple[Kind, UUID | None, CommandRef | None]]:
        """What is done to what: the same in two cycles that plan the same, whatever their reasons say about ages."""
        return frozenset((action.kind, action.run_id, action.command) for action in self.actions)


def plan_of(actions: Iterable[Action], *, now: datetime, judged: int, limits: Limits, unread: tuple[Unread, ...] = ()) -> Plan:
    """Put a plan together; one that would change too much is withheld."""
    kept = tuple(action for action in actions if action.kind is not Kind.KEEP)
    # A run that is ended together with its job is one of those that were looked at, and is changed once.
    changes = {action.run_id for action in kept if action.is_change}
    # However many jobs one dead parent has left behind, they are no sign that something is wrong with what was seen.
    causes = {action.cause for action in kept if action.is_change}
    return Plan(now, kept, judged, limits.exceeded_by(len(changes), judged, min(len(causes), len(changes))), unread)
