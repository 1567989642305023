"""What was seen of both sides in one cycle, as frozen values. Nothing here reads or acts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TypeAlias
from uuid import UUID

from cpln_flows.model.identifiers import Area, Role
from cpln_flows.model.lifecycle import is_terminal
from cpln_flows.model.links import CommandRef, WorkloadRef
from cpln_flows.model.run_states import FINAL, UNDER_WAY, RunState

TO_PREFECT = Area.SYNC_TO_PREFECT
"""The platform is right: what its jobs make of flow runs."""
TO_CPLN = Area.SYNC_TO_CPLN
"""Prefect is right: which jobs must end."""
BOTH = frozenset({TO_PREFECT, TO_CPLN})


@dataclass(frozen=True)
class Clocks:
    """What both servers' clocks show at one moment.

    The age of a timestamp is judged by the clock that made it.

    Attributes:
        prefect: Prefect's time, which stamps states.
        platform: The platform's time, which stamps commands, executions and workloads.
    """

    prefect: datetime
    platform: datetime

    @classmethod
    def alike(cls, now: datetime) -> Clocks:
        """Return clocks that show the same time."""
        return cls(now, now)

    def prefect_age(self, stamped: datetime) -> timedelta:
        """Return how long ago Prefect stamped something."""
        return self.prefect - stamped

    def platform_age(self, stamped: datetime) -> timedelta:
        """Return how long ago the platform stamped something."""
        return self.platform - stamped

    def in_prefect(self, stamped: datetime) -> datetime:
        """Return what Prefect's clock showed when the platform stamped something."""
        return stamped + (self.prefect - self.platform)

    def in_platform(self, stamped: datetime) -> datetime:
        """Return what the platform's clock showed when Prefect stamped something."""
        return stamped + (self.platform - self.prefect)


@dataclass(frozen=True)
class Misses:
    """How many 404s in a row a flow run's command returned, and when the last one was counted."""

    count: int
    at: datetime
    command_id: str

    def __str__(self) -> str:
        return f"{self.count} {self.at.isoformat()} {self.command_id}"

    @classmethod
    def parse(cls, text: object) -> Misses | None:
        """Parse the string form; return ``None`` for anything else."""
        try:
            count, at, command_id = str(text).split(" ")
            return cls(int(count), datetime.fromisoformat(at), command_id)
        except ValueError:
            return None


@dataclass(frozen=True)
class StateView:
    """One state of a flow run."""

    type: RunState
    name: str
    at: datetime
    message: str | None = None


@dataclass(frozen=True)
class Attempt:
    """Which container of a flow run is the current one.

    Attributes:
        number: How many times the run became PENDING before this attempt.
        since: When this attempt became PENDING.
    """

    number: int
    since: datetime


@dataclass(frozen=True)
class RunView:
    """A flow run as Prefect reports it.

    ``attempt`` is known only where it was looked up. ``is_deployed`` means that it runs in a
    process of its own, whatever called it. ``work_pool`` names the pool whose worker started that
    process, even after the pool was deleted and the run is no longer ``in_pool``. ``is_of_worker``
    means that a worker of type ``cpln`` had it.
    """

    id: UUID
    name: str
    state: RunState
    state_name: str
    since: datetime
    pid: str | None = None
    run_count: int = 0
    parent_task_run_id: UUID | None = None
    is_deployed: bool = False
    misses: Misses | None = None
    attempt: Attempt | None = None
    work_pool: str | None = None
    in_pool: bool = True
    is_of_worker: bool = False
    flow_id: UUID | None = None

    @property
    def is_final(self) -> bool:
        """Whether the run is over."""
        return self.state in FINAL

    @property
    def is_under_way(self) -> bool:
        """Whether the run has a container or is about to get one."""
        return self.state in UNDER_WAY

    @cached_property
    def command(self) -> CommandRef | None:
        """The command that the pid names, if the pid is ours."""
        return CommandRef.find(self.pid) if self.pid else None


@dataclass(frozen=True)
class JobView:
    """A job as the platform reports it; ``ending`` describes its end, where that was looked up."""

    ref: CommandRef
    stage: str
    created: datetime
    changed: datetime
    location: str | None = None
    replica: str | None = None
    run_id: UUID | None = None
    role: Role | None = None
    attempt: int | None = None
    submission: UUID | None = None
    installation: UUID | None = None
    agent: str | None = None
    flow_name: str | None = None
    ending: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether the job has not ended; an unknown stage counts as active."""
        return not is_terminal(self.stage)


@dataclass(frozen=True)
class NotFound:
    """The platform reports that the command which the pid names does not exist."""

    ref: CommandRef


@dataclass(frozen=True)
class NoJob:
    """No command of the run's current attempt is listed.

    ``complete`` means that every list was read to its end.
    """

    complete: bool


@dataclass(frozen=True)
class NotRead:
    """Nothing is known: a refusal, a failure or a list that broke off. Unknown is not gone."""

    why: str


Lookup: TypeAlias = JobView | NotFound | NoJob | NotRead


@dataclass(frozen=True)
class RunCase:
    """A flow run that is under way, and what was found of its container."""

    run: RunView
    job: Lookup


@dataclass(frozen=True)
class CallerCase:
    """A run of ``run_namespaced_job`` without a container of its own, and the job it follows."""

    run: RunView
    job: Lookup


@dataclass(frozen=True)
class UnknownRun:
    """Prefect does not know the flow run."""


@dataclass(frozen=True)
class Stop:
    """The stops sent to a job, whoever sent them: the platform keeps them as commands."""

    first: datetime
    last: datetime
    times: int = 1


@dataclass(frozen=True)
class JobCase:
    """A job that is active, its flow run, and what else bears on whether it may go on.

    Attributes:
        job: The job.
        run: The flow run that its tags name.
        ancestor: The nearest flow run above it that is over, for a job that a flow run started.
        ancestor_ended: Whether the container of that ancestor was seen to be over, so that nothing
            of it runs any more.
        successor: Whether another flow run of the same submission is not over and adopts the job.
        stop: The stops sent so far.
        escalations: How often it was already reported that the job does not end.
    """

    job: JobView
    run: RunView | UnknownRun | NotRead
    ancestor: RunView | None = None
    ancestor_ended: bool = False
    successor: bool = False
    stop: Stop | None = None
    escalations: int = 0


@dataclass(frozen=True)
class ChildCase:
    """A ``run_namespaced_job`` run that is under way, and its nearest ancestor that is over."""

    run: RunView
    ancestor: RunView
    ancestor_ended: bool = False


@dataclass(frozen=True)
class Ended:
    """A job that was sent a stop and is over."""

    job: JobView
    stop: Stop


@dataclass(frozen=True)
class Unread:
    """Something that could not be read, and why; for a workload's commands, which workload."""

    what: str
    why: str
    workload: WorkloadRef | None = None

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


@dataclass(frozen=True)
class Snapshot:
    """Both sides at one moment.

    ``runs`` are in containers; ``callers`` are runs of ``run_namespaced_job`` in any process, with
    the job that they follow. ``pooled`` holds the ids of the runs in a work pool, ``outside`` those
    of the runs that are judged although they are in none. ``is_blind`` means that nothing could be
    read.
    """

    clocks: Clocks
    installation: UUID | None = None
    runs: tuple[RunCase, ...] = ()
    jobs: tuple[JobCase, ...] = ()
    children: tuple[ChildCase, ...] = ()
    ended: tuple[Ended, ...] = ()
    unread: tuple[Unread, ...] = ()
    workloads: int = 0
    callers: tuple[CallerCase, ...] = ()
    pooled: frozenset[UUID] = frozenset()
    outside: frozenset[UUID] = frozenset()
    is_blind: bool = False


@dataclass(frozen=True)
class Memory:
    """What one cycle hands to the next.

    No correct decision depends on it: the counts of 404s are kept on the flow runs' labels, and the
    stops are commands of the platform. It saves repeated messages and requests, and names the jobs
    whose end is awaited.

    Attributes:
        stopping: Jobs that were sent a stop, and when.
        attempts: Which attempt a run was in, and since when it was in its state at that time.
        reported: Keys of what was reported, oldest first; they outlive the process.
        pooled: Runs that were under way in a work pool; one that is missing now is over or has lost
            its pool.
        outside: Runs that were judged although they were in no work pool.
        first_cycle: Whether this process has completed no cycle yet.
    """

    stopping: dict[CommandRef, Stop] = field(default_factory=dict)
    attempts: dict[UUID, tuple[datetime, Attempt]] = field(default_factory=dict)
    reported: tuple[str, ...] = ()
    pooled: frozenset[UUID] = frozenset()
    outside: frozenset[UUID] = frozenset()
    first_cycle: bool = True

    def report(self, *keys: str) -> Memory:
        """Return this memory with more reports."""
        return replace(self, reported=tuple(dict.fromkeys((*self.reported, *keys))))


@dataclass(frozen=True)
class Scope:
    """What a flow looks at.

    Attributes:
        org: The organization.
        gvc: One GVC; default all.
        agent: Jobs of one submitter, as the tag ``cpln/prefectAgent`` names it; default all.
        work_pool: Flow runs of one work pool; default all pools of type ``cpln``.
        adopt: Whether active jobs without an installation tag count as ours.
    """

    org: str
    gvc: str | None = None
    agent: str | None = None
    work_pool: str | None = None
    adopt: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether every job of the organization is seen, so that an unseen one does not exist."""
        return self.gvc is None and self.agent is None

    def is_of_agent(self, job: JobView) -> bool:
        """Whether a job was started by a submitter in scope."""
        return self.agent in (None, job.agent)

    def is_of_pool(self, run: RunView) -> bool:
        """Whether a run belongs to a work pool in scope."""
        return self.work_pool in (None, run.work_pool)

    def holds(self, workload: WorkloadRef) -> bool:
        """Whether the jobs of a workload are in scope."""
        return workload.org == self.org and self.gvc in (None, workload.gvc)


EVER = datetime.min.replace(tzinfo=UTC)
