"""What was seen of both sides in one cycle, as frozen values. Nothing here reads, decides or acts."""

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
    """What both servers' clocks show at one moment: the age of a stamp is told by the clock that made it.

    Attributes:
        prefect: Prefect's time, which states are stamped with.
        platform: The platform's time, which commands, executions and workloads are stamped with.
    """

    prefect: datetime
    platform: datetime

    @classmethod
    def alike(cls, now: datetime) -> Clocks:
        """Return clocks that show the same."""
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
    """How often in a row the command of a flow run was answered with 404, and when it was counted last."""

    count: int
    at: datetime
    command_id: str

    def __str__(self) -> str:
        return f"{self.count} {self.at.isoformat()} {self.command_id}"

    @classmethod
    def parse(cls, text: object) -> Misses | None:
        """Read the text form; anything else counts as nothing."""
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
    """Which container of a flow run is the present one: the run became PENDING so many times before, the last time then."""

    number: int
    since: datetime


@dataclass(frozen=True)
class RunView:
    """A flow run as Prefect tells it.

    ``attempt`` is known only where it was looked up. ``is_deployed`` says that it runs in a process of its own, whatever has
    called it. ``work_pool`` names the pool whose worker has started that process; that of a run whose pool was deleted too,
    which then is no longer ``in_pool``. ``is_of_worker`` says that a worker of type ``cpln`` had it.
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
        """The command that the pid names, if it is a pid of ours."""
        return CommandRef.find(self.pid) if self.pid else None


@dataclass(frozen=True)
class JobView:
    """A job as the platform tells it; ``ending`` says in words how it ended, where that was looked up."""

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
        """Whether the job has not ended; a stage nobody has heard of counts as active."""
        return not is_terminal(self.stage)


@dataclass(frozen=True)
class NotFound:
    """The platform says that the command which the pid names does not exist."""

    ref: CommandRef


@dataclass(frozen=True)
class NoJob:
    """No command of the run's present attempt is in the lists; ``complete`` says that every list was read to its end."""

    complete: bool


@dataclass(frozen=True)
class NotRead:
    """It could not be told: a refusal, a failure or a list that broke off. Unknown is not gone."""

    why: str


Lookup: TypeAlias = JobView | NotFound | NoJob | NotRead


@dataclass(frozen=True)
class RunCase:
    """A flow run that is under way, and what was found of its container."""

    run: RunView
    job: Lookup


@dataclass(frozen=True)
class CallerCase:
    """A run of ``run_namespaced_job`` that no container stands for, and the job that it follows."""

    run: RunView
    job: Lookup


@dataclass(frozen=True)
class UnknownRun:
    """Prefect does not know the flow run."""


@dataclass(frozen=True)
class Stop:
    """The stops that were sent to a job, by whomever: the platform keeps them as commands."""

    first: datetime
    last: datetime
    times: int = 1


@dataclass(frozen=True)
class JobCase:
    """A job that is active, its flow run, and what else bears on whether it may go on.

    Attributes:
        job: The job.
        run: The flow run that its tags name.
        ancestor: The nearest flow run above it that is over, for a job that a flow run has started.
        ancestor_ended: Whether the container of that ancestor was seen to be over, so that nothing of it runs any more.
        successor: Whether another flow run of the same submission is not over, which goes on with this job.
        stop: The stops sent so far.
        escalations: How often it was said before that the job does not end.
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
    """A run of ``run_namespaced_job`` that is under way, and the nearest flow run above it that is over."""

    run: RunView
    ancestor: RunView
    ancestor_ended: bool = False


@dataclass(frozen=True)
class Ended:
    """A job that was told to stop, and is over."""

    job: JobView
    stop: Stop


@dataclass(frozen=True)
class Unread:
    """Something that could not be read: what, and why; of the commands of a workload, which workload."""

    what: str
    why: str
    workload: WorkloadRef | None = None

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


@dataclass(frozen=True)
class Snapshot:
    """Both sides at one moment.

    ``runs`` are in containers; ``callers`` are runs of ``run_namespaced_job`` in whatever process, with the job that they follow.
    ``pooled`` are the ids of the runs that are in a work pool, ``outside`` of those that are judged although they are in none.
    ``is_blind`` says that nothing could be looked at.
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

    Nothing in it is needed for a right decision: the counts of 404s are kept on the flow runs' labels, and the stops are
    commands of the platform. It spares repeated messages and requests, and names the jobs whose end is awaited.

    Attributes:
        stopping: Jobs that were told to stop, and when.
        attempts: Which attempt a run was in, and since when it was in the state that it had then.
        reported: Keys of what was reported, oldest first; they outlive the process.
        pooled: Runs that were under way in a work pool: one that is not there any more is over, or has lost its pool.
        outside: Runs that were judged although they were in no work pool.
        first_cycle: Whether there was no cycle before in this process.
    """

    stopping: dict[CommandRef, Stop] = field(default_factory=dict)
    attempts: dict[UUID, tuple[datetime, Attempt]] = field(default_factory=dict)
    reported: tuple[str, ...] = ()
    pooled: frozenset[UUID] = frozenset()
    outside: frozenset[UUID] = frozenset()
    first_cycle: bool = True

    def report(self, *keys: str) -> Memory:
        """Return this with more reports."""
        return replace(self, reported=tuple(dict.fromkeys((*self.reported, *keys))))


@dataclass(frozen=True)
class Scope:
    """What a flow looks at.

    Attributes:
        org: The organization.
        gvc: One GVC; default all.
        agent: Jobs of one submitter, as its tag ``cpln/prefectAgent`` names it; default all.
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
        """Whether every job of the organization is seen, so that what is not seen does not exist."""
        return self.gvc is None and self.agent is None

    def is_of_agent(self, job: JobView) -> bool:
        """Whether a job was started by a submitter that is looked at."""
        return self.agent in (None, job.agent)

    def is_of_pool(self, run: RunView) -> bool:
        """Whether a run is of a work pool that is looked at."""
        return self.work_pool in (None, run.work_pool)

    def holds(self, workload: WorkloadRef) -> bool:
        """Whether jobs of this workload are looked at."""
        return workload.org == self.org and self.gvc in (None, workload.gvc)


EVER = datetime.min.replace(tzinfo=UTC)
