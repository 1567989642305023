"""Follow one job to its end: its state and its log together."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import anyio

from cpln_flows.api import workloads
from cpln_flows.api.logs import LogSource
from cpln_flows.errors import CplnError, JobAccessLostError, JobError, JobLostError, JobTimeoutError
from cpln_flows.jobs import stop
from cpln_flows.jobs.board import StatusBoard, Watched
from cpln_flows.jobs.session import JobSession
from cpln_flows.jobs.submit import StartedJob
from cpln_flows.logger import Journal
from cpln_flows.logs.pace import Pace
from cpln_flows.logs.stream import LogStream
from cpln_flows.model import ending, lifecycle, log_lines
from cpln_flows.model.ending import Ending
from cpln_flows.model.identifiers import Area
from cpln_flows.model.log_lines import Batch
from cpln_flows.model.resources import Command, JobExecution
from cpln_flows.settings import CplnSettings, console_url

T = TypeVar("T")

_NEXT = "the sync flow stops it once it can be stopped"
_QUIET_SECONDS = 0.1
_LOOKING_SECONDS = 1.0
_LEAST_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Superseded:
    """Two jobs were started for one intent, and the other one is kept."""

    by: StartedJob


def _never() -> bool:
    return False


@dataclass
class Follower:
    """Follow one job.

    Args:
        session: What the jobs of this process share.
        job: The job.
        main: Name of the main container.
        has_sidecars: Whether there are more containers, which may outlive the main one.
        deliver: Gets each line of its log once; without it, the log is not read.
        journal: Where to log for the user.
        settings: Grace periods and waiting times.
        interval_seconds: Longest time between two looks.
        timeout_seconds: How long the job may take from its start; ``None`` means no limit.
        restarts: Whether the platform restarts a container that has failed.
        older: Looks for an older job of the same intent; called once after a while, and before a
            job counts as failed.
        observe: Gets the command after each look at it.
        is_stopped: Whether this process has stopped the job and deleted its workload; a missing
            job is then no surprise.
    """

    session: JobSession
    job: StartedJob
    main: str
    has_sidecars: bool
    deliver: Callable[[Batch], None] | None
    journal: Journal
    settings: CplnSettings
    interval_seconds: float
    timeout_seconds: float | None
    restarts: bool = False
    older: Callable[[StartedJob], Awaitable[StartedJob | None]] | None = None
    observe: Callable[[Command], None] | None = None
    is_stopped: Callable[[], bool] = _never
    stream: LogStream = field(init=False)
    _stage: str | None = None
    _trouble: str | None = None
    _ended_ns: int | None = None
    _woken: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self.stream = LogStream(
            source=LogSource(
                self.session.client,
                self.job.ref.org,
                log_lines.selector(self.job.ref, self.job.location),
            ),
            deliver=self.deliver or (lambda _: None),
            journal=self.journal,
            since_ns=self.job.since_ns,
            pace=Pace.of(self.settings),
            wake=self.wake,
            now_ns=self.session.client.now_ns,
        )

    def wake(self) -> None:
        """Signal that there is something new."""
        self._woken.set()

    async def follow(self) -> Ending | Superseded:
        """Return how the job ended, or which other job to follow instead.

        The end is returned once the whole log has been delivered.

        Raises:
            JobTimeoutError: The job took too long, so it was asked to stop; the message states
                whether it did.
            JobLostError: Nothing has shown the job for ``lost_after_seconds``.
            JobAccessLostError: The platform has refused the token for ``lost_access_seconds``.
        """
        if self.deliver is None:
            outcome = await self._outcome()
            if isinstance(outcome, JobError):
                raise outcome
            return outcome
        tail = asyncio.create_task(self.stream.tail())
        try:
            outcome = await self._outcome()
            if not isinstance(outcome, Superseded):
                await self.stream.settle(time.monotonic(), self._ended_ns)
        finally:
            # A separate task, because a task group would wrap what interrupts the caller.
            tail.cancel()
        await asyncio.wait([tail])
        if not tail.cancelled() and (error := tail.exception()):
            self.journal.warning(Area.LOGS, f"the live log broke off: {error!r}")
        if isinstance(outcome, Superseded):
            return outcome
        await self.stream.drain()
        if isinstance(outcome, JobError):
            raise outcome
        return outcome

    async def _outcome(self) -> Ending | JobError | Superseded:
        try:
            outcome = await self._until_end()
        except JobError as error:
            return error  # returned, so that the log is read to its end in this case too
        if isinstance(outcome, Ending) and not outcome.succeeded:
            return await self._look_for_older() or outcome
        return outcome

    async def _until_end(self) -> Ending | Superseded:
        board = self.session.board(self.job.ref.workload_ref)
        entry = board.watch(
            self.job.ref.command_id,
            location=self.job.location,
            has_sidecars=self.has_sidecars,
            wake=self.wake,
            last_line=lambda: self.stream.last_line,
        )
        try:
            return await self._watch(board, entry)
        finally:
            board.forget(entry)

    async def _watch(self, board: StatusBoard, entry: Watched) -> Ending | Superseded:
        second_look = self.job.started + self.settings.query_settle_seconds
        next_report = self.job.started + self.settings.waiting_report_seconds
        while True:
            if (due := self._due(board)) > time.monotonic():
                await self._wait(min(due, next_report))
            elif board.looking:
                await self._wait(time.monotonic() + _LOOKING_SECONDS)
            else:
                await self._in_time(board.look)
            self._tell(entry)
            if (end := await self._end(entry)) is not None:
                return end
            self._refuse_lost_access(entry)
            if self._is_late():
                return await self._stop_late(entry)
            if time.monotonic() >= next_report:
                next_report = time.monotonic() + self.settings.waiting_report_seconds
                await self._in_time(lambda: self._report_waiting(entry))
            if time.monotonic() >= second_look:
                second_look = math.inf
                if (superseded := await self._in_time(self._look_for_older)) is not None:
                    return superseded

    def _tell(self, entry: Watched) -> None:
        """Log what is new: another stage, or another problem."""
        if entry.command is not None and self.observe is not None:
            self.observe(entry.command)
        if entry.command is not None and entry.command.lifecycle_stage != self._stage:
            self._stage = entry.command.lifecycle_stage
            self.journal.debug(Area.JOB, f"The job is {self._stage}")
        if entry.error is not None and str(entry.error) != self._trouble:
            self._trouble = str(entry.error)
            self.journal.warning(
                Area.JOB, f"Cannot read the job's state, will retry: {self._trouble}"
            )

    async def _look_for_older(self) -> Superseded | None:
        try:
            older = await self.older(self.job) if self.older else None
        except CplnError as error:
            self.journal.debug(
                Area.JOB, f"Skipped the duplicate check for this submission: {error}"
            )
            return None
        return Superseded(older) if older else None

    async def _in_time(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """Ask, but give up soon after the deadline.

        An answer that never comes must not keep the job running past its time.
        """
        deadline = self._deadline()
        if deadline is None:
            return await ask()
        with anyio.move_on_after(max(_LEAST_LOOK_SECONDS, deadline - time.monotonic())):
            return await ask()
        return None

    async def _end(self, entry: Watched) -> Ending | None:
        if entry.command is not None and entry.command.is_terminal:
            self._ended_ns = entry.command.ended_ns
            return await self._ending(entry.command)
        execution = self._execution(entry)
        if entry.is_missing:
            if (
                end := ending.forgotten_ending(execution, self.main, restarts=self.restarts)
            ) is None:
                self._refuse_loss(entry)
            return end
        if (main := ending.main_ended(execution, self.main, restarts=self.restarts)) is not None:
            return await self._end_sidecars(entry, ending.main_ending(main))
        return None

    def _execution(self, entry: Watched) -> JobExecution | None:
        return entry.deployment.execution_of(self.job.ref.command_id) if entry.deployment else None

    def _refuse_lost_access(self, entry: Watched) -> None:
        """Raise once the platform has refused the token for long enough.

        The job may keep running, but this process can no longer see it.
        """
        now, after = time.monotonic(), self.settings.lost_access_seconds
        if entry.refused_since is None or now - entry.refused_since < after:
            return
        ref = self.job.ref
        raise JobAccessLostError(
            f"job {ref.pid} MAY STILL RUN, and can no longer be followed: the platform has refused"
            f" the token for {now - entry.refused_since:.0f} s ({entry.error}). Renew the token and"
            " run the flow run again, which resumes the job, or check whether the job is running:"
            f" cpln workload get {ref.workload} --org {ref.org} --gvc {ref.gvc}\n"
            f"  {console_url(ref.workload_ref.path)}",
            infrastructure_pid=ref.pid,
        )

    def _refuse_loss(self, entry: Watched) -> None:
        """Raise once nothing has shown the job for long enough."""
        now, after = time.monotonic(), self.settings.lost_after_seconds
        if not self.is_stopped() and not entry.absence.is_loss(now=now, lost_after_seconds=after):
            return
        raise JobLostError(
            f"job {self.job.ref.pid} no longer exists: for {now - entry.absence.since:.0f} s, in"
            f" {entry.absence.looks} polls, the platform has shown neither its command (404) nor an"
            " execution nor a line of its log; was its workload deleted?",
            infrastructure_pid=self.job.ref.pid,
        )

    async def _ending(self, command: Command) -> Ending:
        """Read the exit code from the deployment; a success needs no further request.

        The platform updates commands and deployments at different times, so an execution that
        still seems to be active is read again.
        """
        if command.lifecycle_stage == lifecycle.Stage.COMPLETED and not self.has_sidecars:
            return ending.ending_of(command, None, self.main)
        until, wait, execution = (
            time.monotonic() + self.settings.query_settle_seconds,
            _QUIET_SECONDS,
            None,
        )
        while True:
            try:
                here = await workloads.deployment(
                    self.session.client, self.job.ref.workload_ref, self.job.location
                )
            except CplnError as error:
                self.journal.warning(Area.JOB, f"Cannot read the job's exit code: {error}")
                break
            execution = here.execution_of(command.id)
            if execution is None or not execution.is_active or time.monotonic() >= until:
                break
            await anyio.sleep(wait)
            wait = min(2 * wait, _LOOKING_SECONDS)
        return ending.ending_of(command, execution, self.main)

    async def _end_sidecars(self, entry: Watched, end: Ending) -> Ending:
        grace = self.settings.sidecar_grace_seconds
        self.journal.info(
            Area.JOB, f"The main container has ended: {end.describe()}; sidecars get {grace:g} s"
        )
        stopped = await self._stop(
            "sidecars are still running after the main container ended",
            entry,
            after_seconds=grace,
        )
        if not stopped.verified:
            self.journal.warning(Area.KILL, f"Sidecars: {stopped.evidence}")
        return end

    def _due(self, board: StatusBoard) -> float:
        age = time.monotonic() - self.job.started
        due = board.last_look + lifecycle.poll_delay(age, self.interval_seconds)
        last_line = self.stream.last_line
        if last_line is not None and last_line > board.last_look:
            least = board.last_look + lifecycle.hinted_delay(age, self.interval_seconds)
            due = min(due, max(last_line + _QUIET_SECONDS, least))
        deadline = self._deadline()
        return (
            due if deadline is None else min(due, max(deadline, board.last_look + _QUIET_SECONDS))
        )

    async def _wait(self, until: float) -> None:
        """Wait for lines, for a look by another follower, or until this monotonic time."""
        self._woken = anyio.Event()
        with anyio.move_on_after(until - time.monotonic()):
            await self._woken.wait()

    def _deadline(self) -> float | None:
        return None if self.timeout_seconds is None else self.job.started + self.timeout_seconds

    def _is_late(self) -> bool:
        deadline = self._deadline()
        return deadline is not None and time.monotonic() >= deadline

    async def _report_waiting(self, entry: Watched) -> None:
        if self.deliver is None or self.stream.last_line is not None:
            return
        if said := await self._waiting_for(entry):
            self.journal.info(
                Area.JOB,
                f"No log lines for {time.monotonic() - self.job.started:.0f} s: {said}",
            )

    async def _waiting_for(self, entry: Watched) -> str:
        try:
            here = await workloads.deployment(
                self.session.client, self.job.ref.workload_ref, self.job.location
            )
        except CplnError as error:
            return f"cannot read what it is waiting for: {error}"
        return ending.waiting_for(entry.command, here.execution_of(self.job.ref.command_id))

    async def _stop_late(self, entry: Watched) -> Ending:
        stopped = await self._stop(f"timeout_seconds={self.timeout_seconds:g} has elapsed", entry)
        if stopped.ended_by_itself is not None:
            # It ended before anybody could see it, and its result is as good as any.
            return await self._ending(stopped.ended_by_itself)
        stage = entry.command.lifecycle_stage if entry.command else "none"
        waiting = await self._waiting_for(entry) if self.stream.last_line is None else ""
        what = "it was stopped" if stopped.verified else f"IT MAY STILL RUN, {_NEXT}"
        raise JobTimeoutError(
            f"job {self.job.ref.pid} took longer than timeout_seconds={self.timeout_seconds:g};"
            f" last known stage: {stage}{waiting and f' ({waiting})'}; {what}: {stopped.evidence}",
            infrastructure_pid=self.job.ref.pid,
        )

    async def _stop(self, reason: str, entry: Watched, after_seconds: float = 0) -> stop.Stopped:
        return await stop.stop(
            self.session.client,
            self.job.ref,
            location=self.job.location,
            reason=reason,
            after_seconds=after_seconds,
            grace_seconds=self.settings.stop_grace_seconds,
            journal=self.journal,
            known=entry.command,
        )
