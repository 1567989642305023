"""One job from its start to its end, as the job block runs it, and a worker for its flow runs.

What is known of the job is a value: nothing, or next to nothing after an interrupted start; a job;
or a job and how it ended. Each step takes the session that it works with, because steps may run in
different event loops. The caller decides who waits, where the lines go and what follows from the
end.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from cpln_flows.errors import CplnError
from cpln_flows.jobs import grants, stop
from cpln_flows.jobs.plan import JobPlan
from cpln_flows.jobs.reattach import EarlierAttempt
from cpln_flows.jobs.session import JobSession
from cpln_flows.jobs.stop import Stopped
from cpln_flows.jobs.submit import StartedJob, Submitter
from cpln_flows.jobs.watch import Follower
from cpln_flows.logger import Journal
from cpln_flows.logs.stream import LogStream
from cpln_flows.model.ending import Ending
from cpln_flows.model.links import WorkloadRef
from cpln_flows.model.log_lines import Batch
from cpln_flows.model.resources import Command
from cpln_flows.settings import CplnSettings


@dataclass(frozen=True)
class NotStarted:
    """No job is known.

    Attributes:
        asked: Whether a start was sent, so that a job may exist.
        workload_made: Whether a workload for it may exist.
        workload_found: Whether the workload existed before, so that another process of the same
            submission may use it.
    """

    asked: bool = False
    workload_made: bool = False
    workload_found: bool = False


@dataclass(frozen=True)
class Started:
    """A job that was started, or found."""

    job: StartedJob


@dataclass(frozen=True)
class Ended:
    """A job that is over.

    Attributes:
        job: The job.
        ending: How it ended.
        at: When the end was seen, in seconds of the monotonic clock.
    """

    job: StartedJob
    ending: Ending
    at: float


async def _nothing_to_do() -> None:
    """Do what most callers need when an older job is followed instead: nothing."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Following:
    """How a job is followed.

    Attributes:
        interval_seconds: Longest time between two looks at its state.
        timeout_seconds: How long it may take from its start; ``None`` means no limit.
        deliver: Gets each line of its log once; without it, the log is not read.
        superseded: Awaited when an older job of the same submission is followed instead, with its
            log from the start.
        observe: Gets the command after each look at it.
        is_stopped: Whether the caller has stopped the job and deleted its workload; a missing job
            is then no surprise.
    """

    interval_seconds: float
    timeout_seconds: float | None = None
    deliver: Callable[[Batch], None] | None = None
    superseded: Callable[[], Awaitable[None]] = _nothing_to_do
    observe: Callable[[Command], None] | None = None
    is_stopped: Callable[[], bool] = _never


@dataclass
class JobRun:
    """The run of one job.

    Attributes:
        plan: What to run.
        settings: Grace periods and waiting times.
        base_journal: Returns where the current step logs; the task runs that take the steps have
            different logs.
        earlier: Earlier attempts of the same intent that have ended.
        ready_timeout_seconds: How long the workload may take to become ready.
        before_start: Awaited right before a start is sent; if it raises, the submission ends.
        state: What is known of the job.
        stream: The log, once it is being read.
        is_deleted: Whether the workload was deleted with the job.
    """

    plan: JobPlan
    settings: CplnSettings
    base_journal: Callable[[], Journal]
    earlier: Sequence[EarlierAttempt] = ()
    ready_timeout_seconds: float | None = None
    before_start: Callable[[], Awaitable[None]] | None = None
    state: NotStarted | Started | Ended = field(default_factory=NotStarted)
    stream: LogStream | None = None
    is_deleted: bool = False

    @property
    def known(self) -> StartedJob | None:
        """The job, if one is known."""
        return None if isinstance(self.state, NotStarted) else self.state.job

    @property
    def job(self) -> StartedJob:
        """The job.

        Raises:
            ValueError: None was started or found.
        """
        if (job := self.known) is None:
            raise ValueError("the job was not started; call `trigger` first")
        return job

    @property
    def ended(self) -> Ended | None:
        """The job and how it ended, once it has been followed to its end."""
        return self.state if isinstance(self.state, Ended) else None

    @property
    def journal(self) -> Journal:
        """Where the current step logs, with what is known of the job."""
        job, base = self.known, self.base_journal()
        return base.about(workload=job.ref.workload, command_id=job.ref.command_id) if job else base

    async def start(self, session: JobSession) -> StartedJob:
        """Start the job, or find the one of an earlier attempt or of another process.

        Raises:
            JobTimeoutError: The workload did not become ready.
            SubmissionUnknownError: It is unknown whether the job was started.
            ApiError, TransportError: There is no job, for the reason that the error gives.
        """
        submitter = self._submitter(session)
        try:
            self.state = Started(await submitter.submit())
        except BaseException:
            self.state = NotStarted(
                submitter.asked, submitter.workload_made, submitter.workload_found
            )
            raise
        return self.job

    async def find(self, session: JobSession) -> StartedJob | None:
        """Find the job of this very attempt, whoever started it; start nothing."""
        if (found := await self._submitter(session).find()) is not None:
            self.take(found)
        return found

    def take(self, job: StartedJob) -> None:
        """Adopt a job that was found in another way, or whose log is to start elsewhere."""
        self.state = Started(job)

    def end(self, ending: Ending) -> None:
        """Record that the job is over, and how it ended."""
        self.state = Ended(self.job, ending, time.monotonic())

    async def follow(self, session: JobSession, following: Following) -> Ending:
        """Follow the job, or an older one of the same submission, to its end; return how it ended.

        Raises:
            JobTimeoutError: The job took too long, so it was asked to stop.
            JobLostError: Nothing shows the job any longer.
            JobAccessLostError: The platform refuses the token.
        """
        while True:
            follower = self._follower(session, following)
            self.stream = follower.stream
            outcome = await follower.follow()
            if isinstance(outcome, Ending):
                self.end(outcome)
                return outcome
            self.take(outcome.by)
            await following.superseded()

    async def stop(
        self, session: JobSession, reason: str, *, grace_seconds: float
    ) -> Stopped | None:
        """Stop the job and make sure that it is over; return ``None`` if there is nothing to stop.

        If the start of the job was interrupted, look for the job first.

        Args:
            session: What to work with.
            reason: Why, for the log.
            grace_seconds: How long the job may take to end.
        """
        if isinstance(self.state, NotStarted) and self.state.asked:
            try:
                await self.find(session)
            except CplnError as error:
                return Stopped(
                    False,
                    f"it is unknown whether it was started, and looking for it failed: {error}",
                )
        if not isinstance(self.state, Started):
            return None
        job = self.state.job
        return await stop.stop(
            session.client,
            job.ref,
            location=job.location,
            reason=reason,
            grace_seconds=grace_seconds,
            journal=self.journal,
        )

    @property
    def workload(self) -> WorkloadRef:
        """The workload of the job, or the one that it would have got."""
        job = self.known
        return job.ref.workload_ref if job else self.plan.workload_of(self.plan.submission.attempt)

    @property
    def has_workload(self) -> bool:
        """Whether the job may have left a workload of its own behind."""
        is_made = self.state.workload_made if isinstance(self.state, NotStarted) else True
        return self.plan.private and is_made and not self.is_deleted

    @property
    def may_be_of_others(self) -> bool:
        """Whether another process of the same submission may have a job on the workload."""
        return isinstance(self.state, NotStarted) and self.state.workload_found

    async def delete_workload(self, session: JobSession, *, only_idle: bool = False) -> None:
        """Delete the job's own workload, and what was created for it.

        Args:
            session: What to work with.
            only_idle: Whether to leave it alone while something is running on it.

        Raises:
            CplnError: It was not deleted.
        """
        workload = self.workload
        await stop.delete_workload(
            session.client, workload, journal=self.journal, only_idle=only_idle
        )
        self.is_deleted = True
        if self.plan.grant is not None:
            await grants.withdraw(session.client, workload)

    def _submitter(self, session: JobSession) -> Submitter:
        patience = self.ready_timeout_seconds
        return Submitter(
            session.client,
            self.plan,
            self.earlier,
            self.journal,
            self.settings.ready_timeout_seconds if patience is None else patience,
            self.settings.query_settle_seconds,
            before_start=self.before_start,
        )

    def _follower(self, session: JobSession, following: Following) -> Follower:
        manifest = self.plan.manifest
        return Follower(
            session=session,
            job=self.job,
            main=manifest.main.name,
            has_sidecars=len(manifest.containers) > 1,
            restarts=manifest.restarts,
            deliver=following.deliver,
            journal=self.journal,
            settings=self.settings,
            interval_seconds=following.interval_seconds,
            timeout_seconds=following.timeout_seconds,
            older=self._submitter(session).older_than,
            observe=following.observe,
            is_stopped=following.is_stopped,
        )
