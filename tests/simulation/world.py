"""A simulated world, on the local platform with a clock that the simulation moves.

The lives of its flow runs and jobs are drawn from a seed.

What happens to a run is planned as events: a worker starts its job or dies before, its engine
reports or is killed, a user cancels, stops, deletes or retries. The flows under test see the two
sides only through their APIs; the checks of the simulation look at the world itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import httpx
from pydantic import SecretStr

from cpln_flows.api import commands, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.emulator import (
    Exit,
    ManualClock,
    NeverStart,
    OutOfMemory,
    Platform,
    PlatformConfig,
    Script,
    ScriptedExecutor,
)
from cpln_flows.errors import CplnError
from cpln_flows.model.identifiers import (
    FLOW_RUN_ID,
    INSTALLATION,
    Owner,
    Role,
    Submission,
    attempt_starts,
    workload_tags,
)
from cpln_flows.model.links import CommandRef, GvcRef, WorkloadRef
from cpln_flows.model.run_states import FINAL, RunState
from cpln_flows.reconcile.snapshot import Clocks
from cpln_flows.settings import ApiSettings
from tests.simulation.prefect_side import PrefectSide, Run

GVC = GvcRef("local", "quickstart")
START_DELAY = 2.0
_SCRIPT = "script"
_HOUR = 3600.0
Event = Callable[[], Awaitable[None]]


@dataclass
class Truth:
    """What the world knows of a run beyond both APIs.

    Attributes:
        run: The run.
        workload: What its container runs on.
        jobs: The job of each attempt; none when its worker died before it was started.
        ended_as: The final state that the world itself gave it.
        deleted_at: When a user deleted it.
        child: The run of a job that it has started.
    """

    run: Run
    workload: WorkloadRef
    jobs: list[CommandRef | None] = field(default_factory=list)
    ended_as: RunState | None = None
    deleted_at: datetime | None = None
    child: UUID | None = None

    @property
    def job(self) -> CommandRef | None:
        """The job of the present attempt."""
        return self.jobs[-1] if self.jobs else None


class World:
    """Both sides, and what is going to happen."""

    def __init__(
        self, seed: int, client: CplnClient, platform: Platform, scripts: dict[str, Script]
    ) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - what happens shall be repeatable
        self.client = client
        self.platform = platform
        self.clock: ManualClock = platform.clock  # type: ignore[assignment]
        self.start = self.clock.now()
        self.installation = self.id()
        # How far Prefect's clock is ahead of the platform's; no process of the flows under test has
        # a clock of its own.
        self.skew = timedelta(minutes=self.chance.choice([0, 0, -20, 20]))
        self.prefect = PrefectSide(self.installation, lambda: self.clock.now() + self.skew)
        self.truths: dict[UUID, Truth] = {}
        self.gone: dict[str, datetime] = {}  # path of a workload -> when it was deleted
        self.stopped_by_world: set[str] = set()  # ids of stop commands
        self.scripts = scripts
        self._events: list[tuple[float, int, Event]] = []
        self._order = itertools.count()

    def id(self) -> UUID:
        return UUID(int=self.chance.getrandbits(128), version=4)

    # Time

    def clocks(self) -> Clocks:
        """What both servers' clocks show."""
        return Clocks(self.prefect.clock(), self.clock.now())

    @property
    def seconds(self) -> float:
        """Time since the world began."""
        return (self.clock.now() - self.start).total_seconds()

    def at(self, seconds: float, event: Event) -> None:
        heapq.heappush(self._events, (seconds, next(self._order), event))

    async def run_until(self, seconds: float) -> None:
        """Let everything happen that is due by then."""
        while self._events and self._events[0][0] <= seconds:
            due, _, event = heapq.heappop(self._events)
            await self._advance_to(due)
            with contextlib.suppress(CplnError):  # what the world wants to touch may be gone
                await event()
            await settle()
        await self._advance_to(seconds)

    async def _advance_to(self, seconds: float) -> None:
        if seconds > self.seconds:
            self.clock.advance(seconds - self.seconds)
            await settle()

    # Making it

    async def workload(self, name: str) -> WorkloadRef:
        container = {"name": "main", "image": "python", "command": "python"}
        spec = {
            "type": "cron",
            "containers": [container],
            "job": {"schedule": "* * * * *"},
            "defaultOptions": {"suspend": True},
        }
        tags = workload_tags(spec_hash="0", job_type="standard")
        await workloads.create(
            self.client, GVC, {"kind": "workload", "name": name, "tags": tags, "spec": spec}
        )
        return GVC.workload(name)

    def delete_later(self, workload: WorkloadRef, seconds: float) -> None:
        async def delete() -> None:
            self.gone[workload.path] = self.clock.now()
            await workloads.delete(self.client, workload)

        self.at(seconds, delete)

    def live(self, workload: WorkloadRef, others: WorkloadRef) -> Truth:
        """Plan the life of a flow run from its first attempt to its end."""
        run = Run(self.id())
        self.prefect.add(run)
        truth = self.truths[run.id] = Truth(run, workload)
        self._attempt(truth, self.chance.uniform(0, 300), others)
        if self.chance.random() < 0.12:
            self._retry(truth, others)
        if self.chance.random() < 0.06:
            self.at(self.chance.uniform(30, 1500), lambda: self._delete_run(truth))
        if self.chance.random() < 0.1:
            self.at(self.chance.uniform(0, 1500), lambda: self._lose_pool(truth))
        return truth

    # An attempt

    def _attempt(self, truth: Truth, begins: float, others: WorkloadRef | None) -> None:
        chance = self.chance
        self.at(begins, lambda: self._pending(truth))
        if chance.random() < 0.08:
            return  # the worker dies before it starts the job
        posted = begins + chance.uniform(0.5, 3)
        script, end = self._script()
        self.at(posted, lambda: self._post(truth, script, pid_is_lost=chance.random() < 0.1))
        if end is not None and chance.random() < 0.9:
            self._engine(truth, posted + START_DELAY, end, others)
        if chance.random() < 0.15:
            self.at(
                posted + chance.uniform(1, 900),
                lambda: self._cancel(truth, obeys=chance.random() < 0.4),
            )
        if chance.random() < 0.1:
            self.at(posted + chance.uniform(1, 900), lambda: self._stop(truth))
        if chance.random() < 0.04:
            self.at(
                posted + chance.uniform(5, 600),
                lambda: self._move(truth, RunState.RUNNING, RunState.PAUSED),
            )

    def _script(self) -> tuple[Script, float | None]:
        """Return what the container does, and when it ends by itself; none when it never begins."""
        seconds = self.chance.uniform(5, 900)
        kind = self.chance.choices(
            ["ok", "fails", "memory", "hangs", "nowhere"], [45, 20, 5, 20, 10]
        )[0]
        slow = self.chance.choice([0.0, 0.0, 8.0])
        ends = {
            "ok": Exit(seconds),
            "fails": Exit(seconds, code=3),
            "memory": OutOfMemory(seconds),
            "nowhere": NeverStart(),
        }
        steps = () if kind == "hangs" else (ends[kind],)
        return Script(steps, stop_after_seconds=slow), None if kind == "nowhere" else seconds

    def _engine(self, truth: Truth, started: float, end: float, others: WorkloadRef | None) -> None:
        """Plan what the container's engine does, unless it is killed before.

        It reports that it runs, starts a job of its own, and reports the end.
        """
        chance = self.chance
        self.at(
            started + 2,
            lambda: self._move(truth, RunState.PENDING, RunState.RUNNING, only_with_job=True),
        )
        if others is not None and chance.random() < 0.15:
            self.at(started + chance.uniform(2.5, 20), lambda: self._child(truth, others))
        if chance.random() < 0.5:
            state = chance.choice(
                [RunState.COMPLETED, RunState.COMPLETED, RunState.FAILED, RunState.CRASHED]
            )
            self.at(started + max(3, end - 1), lambda: self._report(truth, state))

    async def _pending(self, truth: Truth) -> None:
        if (
            truth.run.id in self.prefect.runs
            and truth.run.state.type is RunState.SCHEDULED
            and not truth.run.lost_its_pool
        ):
            self.prefect.become(truth.run.id, RunState.PENDING)
            truth.jobs.append(None)

    async def _post(self, truth: Truth, script: Script, *, pid_is_lost: bool) -> None:
        if truth.run.state.type is not RunState.PENDING or not truth.jobs:
            return
        owner = Owner(truth.run.id, "etl", installation=self.installation, agent="w")
        # A worker counts what it reads, including a PENDING that had replaced a final state before
        # the final state was restored.
        attempt = len(attempt_starts([state.type for state in truth.run.states])) - 1
        tags = owner.tags(Role.CONTAINER) | Submission(truth.run.id, attempt).tags
        truth.jobs[-1] = await self._start(truth.workload, tags, script)
        if not pid_is_lost:
            truth.run.pid = truth.jobs[-1].pid

    async def _start(
        self, workload: WorkloadRef, tags: dict[str, str], script: Script
    ) -> CommandRef:
        key = str(self.id())
        self.scripts[key] = script
        return await commands.start(
            self.client, workload, location="local-1", overrides=[], tags={**tags, _SCRIPT: key}
        )

    async def _child(self, truth: Truth, workload: WorkloadRef) -> None:
        if truth.run.state.type is not RunState.RUNNING or not self.is_active(truth.job):
            return
        child = Run(self.id(), parent=truth.run.id, task_run=self.id())
        self.prefect.add(child)
        self.prefect.become(child.id, RunState.RUNNING)
        script, _ = self._script()
        owner = Owner(
            child.id,
            "job",
            root_flow_run_id=truth.run.id,
            installation=self.installation,
            agent="w",
        )
        assert child.task_run is not None
        truth.child = child.id
        known = self.truths[child.id] = Truth(child, workload)
        known.jobs.append(
            await self._start(
                workload, owner.tags(Role.JOB) | Submission(child.task_run, 0).tags, script
            )
        )

    async def stranger(self, workload: WorkloadRef, *, installation: UUID | None) -> CommandRef:
        """A job of another Prefect server, or of the fork, which says less of itself."""
        tags = {FLOW_RUN_ID: str(self.id())}
        if installation is not None:
            tags |= {INSTALLATION: str(installation)}
        return await self._start(workload, tags, Script(()))

    # What becomes of it

    async def _move(
        self, truth: Truth, before: RunState, after: RunState, *, only_with_job: bool = False
    ) -> None:
        if truth.run.state.type is before and (not only_with_job or self.is_active(truth.job)):
            self.prefect.become(truth.run.id, after)

    async def _report(self, truth: Truth, state: RunState) -> None:
        """The engine ends the run, as long as its container lives."""
        if truth.run.state.type in {RunState.RUNNING, RunState.CANCELLING} and self.is_active(
            truth.job
        ):
            self.end(truth, state)

    def end(self, truth: Truth, state: RunState) -> None:
        """Give a run a final state, by the world's decision; what an engine runs in it ends too."""
        truth.ended_as = state
        self.prefect.become(truth.run.id, state)

    async def _cancel(self, truth: Truth, *, obeys: bool) -> None:
        if truth.run.state.type not in {RunState.PENDING, RunState.RUNNING}:
            return
        self.prefect.become(truth.run.id, RunState.CANCELLING)
        if obeys:
            self.at(self.seconds + 5, lambda: self._obey(truth))

    async def _obey(self, truth: Truth) -> None:
        if truth.run.state.type is RunState.CANCELLING and self.is_active(truth.job):
            self.end(truth, RunState.CANCELLED)
            await self._stop(truth)

    async def _stop(self, truth: Truth) -> None:
        """A user stops the job on the platform."""
        job = self.job(truth.job)
        if (
            job is None
            or not job["status"].get("replica")
            or job["lifecycleStage"] in ("completed", "failed", "cancelled")
        ):
            return
        assert truth.job is not None
        known = self.stops()
        replica = str(job["status"]["replica"])
        await commands.stop(
            self.client, truth.job.workload_ref, location="local-1", replica=replica
        )
        self.stopped_by_world |= self.stops().keys() - known.keys()

    async def _lose_pool(self, truth: Truth) -> None:
        """A user deletes the work pool."""
        truth.run.lost_its_pool = True

    async def _delete_run(self, truth: Truth) -> None:
        if self.prefect.runs.pop(truth.run.id, None) is not None:
            truth.deleted_at = self.clock.now()

    def _retry(self, truth: Truth, others: WorkloadRef) -> None:
        begins = self.chance.uniform(200, 1500)

        async def schedule() -> None:
            if truth.run.id in self.prefect.runs and truth.run.state.type in {
                RunState.FAILED,
                RunState.CRASHED,
            }:
                truth.ended_as = None
                self.prefect.become(truth.run.id, RunState.SCHEDULED, "AwaitingRetry")
                self._attempt(truth, self.seconds + self.chance.uniform(5, 90), others)

        self.at(begins, schedule)

    # What is true

    def job(self, ref: CommandRef | None) -> dict | None:
        """The command as it is; none when it does not exist any more."""
        if ref is None or ref.workload_ref.path in self.gone:
            return None
        return next(
            (one for one in self.platform.commands(ref.workload) if one["id"] == ref.command_id),
            None,
        )

    def is_active(self, ref: CommandRef | None) -> bool:
        job = self.job(ref)
        return job is not None and job["lifecycleStage"] not in ("completed", "failed", "cancelled")

    def stops(self) -> dict[str, dict]:
        """Every stop command there is, by id."""
        return {one["id"]: one for one in self.platform.commands() if one["type"] == "stopReplica"}

    def is_over(self, run_id: UUID) -> bool:
        return run_id not in self.prefect.runs or self.prefect.runs[run_id].state.type in FINAL


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def opened(seed: int) -> AsyncIterator[World]:
    """An empty world."""
    scripts: dict[str, Script] = {}
    executor = ScriptedExecutor(lambda run: scripts[run.tags[_SCRIPT]])
    config = PlatformConfig(
        token="t",
        seed=seed,
        page_size=7,
        start_delay_seconds=START_DELAY,
        delete_delay_seconds=0,
        stop_grace_seconds=10,
        # What is true of a world is read from its commands in the end.
        command_retention_seconds=None,
    )
    platform = Platform(config, clock=ManualClock(), executor=executor)
    settings = ApiSettings(token=SecretStr("t"), endpoint="http://local", retry_seconds=0)
    async with CplnClient(settings, transport=httpx.ASGITransport(app=platform.app)) as client:
        try:
            yield World(seed, client, platform, scripts)
        finally:
            await platform.aclose()
