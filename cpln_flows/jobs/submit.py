"""Start exactly one job for one intent: its workload, readiness, command and earlier attempts."""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import anyio

from cpln_flows.api import commands, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.errors import (
    ApiError,
    CplnError,
    JobTimeoutError,
    NotFoundError,
    ServerError,
    SubmissionUnknownError,
    TransportError,
    UnexpectedResponseError,
)
from cpln_flows.jobs import access, grants, reattach, stop
from cpln_flows.jobs.plan import JobPlan
from cpln_flows.jobs.reattach import Adopt, EarlierAttempt, StartNew
from cpln_flows.logger import Journal
from cpln_flows.model.ending import ending_of
from cpln_flows.model.identifiers import Area, Role
from cpln_flows.model.links import CommandRef, WorkloadRef
from cpln_flows.model.resources import Command
from cpln_flows.model.time import LOG_CLOCK_SKEW_NS, to_ns

# The clean-up deletes what has been idle for 24 h; the hours between keep the two apart.
_IDLE_LIMIT = timedelta(hours=20)
_MOST_GENERATIONS = 100
_FIRST_LOOK_SECONDS = 0.1
_LONGEST_LOOK_SECONDS = 2.0
_LEAST_STARTS = 3
_LOCATIONS_SECONDS = 2.0  # the deployments of a new workload need not all appear at once


@dataclass(frozen=True)
class StartedJob:
    """A job that runs or ran: where, since when, and whether it was found rather than started."""

    ref: CommandRef
    location: str
    since_ns: int
    adopted: bool = False
    started: float = field(default_factory=time.monotonic)


def adopted(ref: CommandRef, command: Command, location: str, now: datetime) -> StartedJob:
    """Return a job that was found, with its real age, so that its time does not start over.

    Args:
        ref: The job.
        command: What the platform reports of it.
        location: Where it runs, if its command does not name a location.
        now: The platform's time.
    """
    age = max(timedelta(), now - command.created)
    since_ns = to_ns(command.created) - LOG_CLOCK_SKEW_NS  # lines are stamped by other machines
    started = time.monotonic() - age.total_seconds()
    return StartedJob(
        ref, command.spec.location or location, since_ns, adopted=True, started=started
    )


@dataclass
class Submitter:
    """Starts the job of one plan.

    Args:
        client: An open client.
        plan: What is wanted.
        earlier: Earlier attempts of the same intent that ended.
        journal: Where to log for the user.
        ready_timeout_seconds: How long the workload may take to become ready.
        settle_seconds: How long a command may take to show up in queries after it was accepted.
        workload_made: Whether a workload of this plan may exist by now.
        workload_found: Whether it existed before, so that another process of the same submission
            may use it.
        asked: Whether a start was sent.
        before_start: Awaited right before a start is sent; if it raises, the submission ends.
    """

    client: CplnClient
    plan: JobPlan
    earlier: Sequence[EarlierAttempt]
    journal: Journal
    ready_timeout_seconds: float
    settle_seconds: float
    workload_made: bool = False
    workload_found: bool = False
    asked: bool = False
    before_start: Callable[[], Awaitable[None]] | None = None

    async def submit(self) -> StartedJob:
        """Return the one job of this plan: an earlier attempt's, or a new one that it starts.

        Raises:
            JobTimeoutError: The workload did not become ready.
            SubmissionUnknownError: It is unknown whether the job was started.
            ApiError, TransportError: There is no job, for the reason that the error gives.
        """
        if (
            self.plan.role is Role.JOB
            and self.plan.private
            and (found := await self._of_earlier_attempts())
        ):
            return found
        try:
            await self._prepare()
        except CplnError:
            # What a running job needed at its start may be gone by now.
            if found := await self._started_before():
                return found
            raise
        workload, created = await self._workload()
        if not created and (found := await self._existing(workload)):
            return found
        await self._wait_until_ready(workload, "Created" if created else "Found")
        return await self._start(workload, contested=not created and self.plan.private)

    async def find(self) -> StartedJob | None:
        """Return the job of this very attempt, whoever started it, if any; start nothing."""
        workload = self.plan.workload_of(self.plan.submission.attempt)
        try:
            found = await self._look_until_seen(workload)
        except NotFoundError:
            return None
        return self._adopted(workload, found[0], "found by its tags") if found else None

    async def _prepare(self) -> None:
        """Check the secrets and volumesets that the job uses, and let it reveal the secrets."""
        await access.check_volumesets(self.client, self.plan.gvc, self.plan.manifest.volumesets)
        self.plan = await grants.resolved(self.client, self.plan)
        if (grant := self.plan.grant) is not None:
            await grants.make(self.client, self.plan, grant)

    async def _started_before(self) -> StartedJob | None:
        """Return the job of this attempt that another process started, if it can be read."""
        if not self.plan.private:
            return None
        with suppress(CplnError):
            return await self._existing(self.plan.workload_of(self.plan.submission.attempt))
        return None

    async def _of_earlier_attempts(self) -> StartedJob | None:
        """Return the job of an earlier attempt, which may have outlived its attempt."""
        found: list[tuple[Command, WorkloadRef]] = []
        for attempt in range(self.plan.submission.attempt):
            workload = self.plan.workload_of(attempt)
            try:
                found += [(command, workload) for command in await self._commands(workload)]
            except NotFoundError:
                continue
        return await self._chosen(found)

    async def _existing(self, workload: WorkloadRef) -> StartedJob | None:
        found = await self._commands(workload)
        if not found and self.plan.private:
            # The workload belongs to this very attempt, so another process has just created it, or
            # the answer to our own request was lost. Whoever created it is about to start the job.
            found = await self._look_until_seen(workload)
        return await self._chosen([(command, workload) for command in found])

    async def _chosen(self, found: Sequence[tuple[Command, WorkloadRef]]) -> StartedJob | None:
        choice, places = (
            reattach.choose([command for command, _ in found], self._earlier_here()),
            {command.id: workload for command, workload in found},
        )
        match choice:
            case Adopt(command, reason):
                return self._adopted(places[command.id], command, reason)
            case StartNew(unless_succeeded=Command() as failed) if await self._has_succeeded(
                places[failed.id], failed
            ):
                return self._adopted(
                    places[failed.id],
                    failed,
                    "the main container of an earlier attempt's job has succeeded",
                )
            case StartNew():
                return None

    async def _has_succeeded(self, workload: WorkloadRef, failed: Command) -> bool:
        """Whether the main container of a job succeeded although the platform calls the job failed.

        Raises:
            CplnError: That could not be read. To start another job now might give a submission
                that has its result a second job.
        """
        if len(self.plan.manifest.containers) == 1:
            return False
        ref = workload.command(failed.id)
        # A program that handles the signal of a stop may well exit with code 0.
        stops = await commands.stops_since(self.client, workload, failed.created)
        if any(stop.spec.replica == failed.status.replica for stop in stops):
            return False
        found = await workloads.execution_of(self.client, ref)
        return ending_of(
            failed, found[1] if found else None, self.plan.manifest.main.name
        ).succeeded

    def _earlier_here(self) -> list[EarlierAttempt]:
        """Return the earlier attempts, with their ends in the time of the platform's clock.

        That clock stamped the jobs with which they are compared.
        """
        ahead = self.client.now() - datetime.now(UTC)
        return [replace(attempt, ended=attempt.ended + ahead) for attempt in self.earlier]

    def _adopted(self, workload: WorkloadRef, command: Command, reason: str) -> StartedJob:
        ref = workload.command(command.id)
        self.journal.about(workload=workload.name, command_id=command.id).info(
            Area.JOB, f"Reattached: {reason}"
        )
        return adopted(ref, command, self.plan.location, self.client.now())

    async def _commands(self, workload: WorkloadRef) -> list[Command]:
        return await commands.with_tags(self.client, workload, self.plan.search_tags)

    async def _workload(self) -> tuple[WorkloadRef, bool]:
        for generation in range(_MOST_GENERATIONS):
            workload = self.plan.workload_of(self.plan.submission.attempt, generation)
            created = await self._create(workload)
            if created or self.plan.private or not await self._is_idle(workload):
                return workload, created
        raise CplnError(
            f"{_MOST_GENERATIONS} generations of {workload.path} lie idle; run the clean-up flow"
        )

    async def _create(self, workload: WorkloadRef) -> bool:
        try:
            created = await workloads.create(
                self.client, self.plan.gvc, self.plan.workload_body(workload)
            )
        except NotFoundError as error:
            raise access.not_found(error, self.plan.gvc) from error
        except ApiError as error:
            self.workload_made = isinstance(error, ServerError)
            raise
        except TransportError as error:
            self.workload_made = error.sent
            raise
        except BaseException:
            self.workload_made = True
            raise
        self.workload_made, self.workload_found = True, not created
        return created

    async def _is_idle(self, workload: WorkloadRef) -> bool:
        """Whether a shared workload has been idle so long that the clean-up may delete it soon."""
        newest = await commands.newest(self.client, workload)
        if newest is not None and not newest.is_terminal:
            return False
        last_use = (
            (newest.last_modified or newest.created) if newest else await self._last_run(workload)
        )
        last_use = last_use or (await workloads.read(self.client, workload)).created
        return self.client.now() - last_use > _IDLE_LIMIT

    async def _last_run(self, workload: WorkloadRef) -> datetime | None:
        """Return when a workload was last used whose commands the platform has forgotten."""
        moments = [
            deployment.last_run for deployment in await workloads.deployments(self.client, workload)
        ]
        return max((moment for moment in moments if moment is not None), default=None)

    async def _wait_until_ready(self, workload: WorkloadRef, origin: str) -> None:
        for note in self.plan.manifest.notes:
            self.journal.about(workload=workload.name).info(Area.WORKLOAD, str(note))
        readiness = _Readiness(
            self.journal.about(workload=workload.name),
            self.plan.location,
            self.ready_timeout_seconds,
            origin,
        )
        wait = _FIRST_LOOK_SECONDS
        while True:
            listed = await workloads.deployments(self.client, workload)
            here = next((item for item in listed if item.name == self.plan.location), None)
            if here is not None and here.runs_jobs:
                readiness.log_ready()
                return
            if (
                listed
                and here is None
                and readiness.waited >= min(_LOCATIONS_SECONDS, self.ready_timeout_seconds)
            ):
                raise access.unknown_location(
                    self.plan.gvc, self.plan.location, [item.name for item in listed]
                )
            report = here.report() if here else f"there is no deployment at {self.plan.location}"
            if readiness.waited >= self.ready_timeout_seconds:
                raise JobTimeoutError(
                    f"workload {workload.name} (gvc {workload.gvc}) did not become ready at"
                    f" {self.plan.location} within {self.ready_timeout_seconds:g} s: {report};"
                    " if it only needs more time, raise CPLN_READY_TIMEOUT, or"
                    " pod_watch_timeout_seconds of a work pool"
                )
            readiness.log_waiting(report)
            await anyio.sleep(wait)
            wait = min(wait * 1.5, _LONGEST_LOOK_SECONDS)

    async def _start(self, workload: WorkloadRef, *, contested: bool) -> StartedJob:
        journal = self.journal.about(workload=workload.name)
        begun, since_ns = time.monotonic(), self.client.now_ns() - LOG_CLOCK_SKEW_NS
        for starts in itertools.count(1):
            try:
                ref = await self._start_once(workload)
            except (TransportError, ServerError, UnexpectedResponseError) as doubt:
                journal.warning(
                    Area.JOB, f"It is unknown whether the job was started, looking for it: {doubt}"
                )
                if found := await self._look_after_doubt(workload, doubt):
                    return self._adopted(
                        workload, await self._only_one(workload, found), "found by its tags"
                    )
                if (
                    starts >= _LEAST_STARTS
                    and time.monotonic() - begun >= self.client.settings.retry_seconds
                ):
                    raise self._unknown(workload, starts, doubt) from doubt
                contested = True
            else:
                journal.about(command_id=ref.command_id).info(
                    Area.JOB, f"Started at {self.plan.location}"
                )
                started = StartedJob(ref, self.plan.location, since_ns)
                return await self._uncontested(started) if contested else started
        raise AssertionError("unreachable: the loop above has no end")

    async def _uncontested(self, started: StartedJob) -> StartedJob:
        """Return the job that is kept.

        While that is unknown, return the job that certainly exists; its follower checks again.
        """
        try:
            return await self.older_than(started) or started
        except CplnError as error:
            self.journal.debug(
                Area.JOB, f"Skipped the duplicate check for this submission: {error}"
            )
            return started

    def _unknown(
        self, workload: WorkloadRef, starts: int, doubt: CplnError
    ) -> SubmissionUnknownError:
        return SubmissionUnknownError(
            f"started the job {starts} times on workload {workload.path} without an answer, and no"
            f" command carries the tags {dict(self.plan.search_tags)}; last: {doubt}. A retry of"
            " this flow run finds the job by its tags if it was started after all"
        )

    async def _start_once(self, workload: WorkloadRef) -> CommandRef:
        if self.before_start is not None:
            await self.before_start()
        self.asked = True
        return await commands.start(
            self.client,
            workload,
            location=self.plan.location,
            overrides=self.plan.manifest.overrides(),
            tags=self.plan.command_tags,
            active_deadline_seconds=self.plan.manifest.active_deadline_seconds,
        )

    async def _look_after_doubt(self, workload: WorkloadRef, doubt: CplnError) -> list[Command]:
        try:
            return await self._look_until_seen(workload)
        except CplnError as error:
            raise SubmissionUnknownError(
                f"it is unknown whether the job was started on workload {workload.path}: the answer"
                f" was lost ({doubt}), and looking for it failed too ({error}). A retry of this"
                f" flow run looks for the tags {dict(self.plan.search_tags)} before it starts"
                " another job"
            ) from error

    async def _look_until_seen(self, workload: WorkloadRef) -> list[Command]:
        """Look for commands of this submission until one shows up or none is expected."""
        begun, wait = time.monotonic(), _FIRST_LOOK_SECONDS
        while True:
            found = self._of_this_attempt(await self._commands(workload))
            if found or time.monotonic() - begun >= self.settle_seconds:
                return found
            await anyio.sleep(wait)
            wait = min(wait * 2, _LONGEST_LOOK_SECONDS)

    async def older_than(self, started: StartedJob) -> StartedJob | None:
        """Return the older job of the same attempt that replaces this one, if there is one.

        An attempt can get two jobs if the answer to a start was lost, or if two processes run the
        same flow run at once. The oldest is kept and the others are stopped. Everybody who checks
        agrees on which job that is.
        """
        workload = started.ref.workload_ref
        found = self._of_this_attempt(await self._commands(workload))
        if not found:
            return None  # a query may be stale
        kept = await self._only_one(workload, found)
        return (
            None
            if kept.id == started.ref.command_id
            else self._adopted(workload, kept, "it is older than its duplicate")
        )

    async def _only_one(self, workload: WorkloadRef, found: Sequence[Command]) -> Command:
        oldest, *others = sorted(found, key=lambda command: (command.created, command.id))
        for other in others:
            if not other.is_terminal:
                journal = self.journal.about(workload=workload.name, command_id=other.id)
                journal.warning(Area.KILL, "Stopping a second job of the same submission")
                await self._stop_double(workload.command(other.id), journal)
        return oldest

    async def _stop_double(self, ref: CommandRef, journal: Journal) -> None:
        await stop.stop(
            self.client,
            ref,
            location=self.plan.location,
            reason="another job of the same submission is older",
            grace_seconds=self.ready_timeout_seconds,
            journal=journal,
        )

    def _of_this_attempt(self, found: Sequence[Command]) -> list[Command]:
        wanted = self.plan.submission.tags.items()
        return [command for command in found if wanted <= command.tags.items()]


@dataclass
class _Readiness:
    """Log what the start of a job waits for: what its workload reports, each report once."""

    journal: Journal
    location: str
    timeout_seconds: float
    origin: str
    begun: float = field(default_factory=time.monotonic)
    reported: str | None = None

    @property
    def waited(self) -> float:
        return time.monotonic() - self.begun

    def log_waiting(self, report: str) -> None:
        if report == self.reported:
            return
        what = f"Not ready after {self.waited:.0f} s" if self.reported else self._what("not ready")
        self.journal.info(
            Area.WORKLOAD, f"{what}, waiting up to {self.timeout_seconds:g} s: {report}"
        )
        self.reported = report

    def log_ready(self) -> None:
        ready = (
            f"Ready at {self.location} after {self.waited:.1f} s"
            if self.reported
            else self._what("ready")
        )
        self.journal.info(Area.WORKLOAD, ready)

    def _what(self, state: str) -> str:
        return f"{self.origin}, {state} at {self.location}"
