"""One run of a job block: who waits for it, where its lines go, and what an interruption does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from prefect.blocks.abstract import JobRun as PrefectJobRun

from cpln_flows import orchestration, sync_compat
from cpln_flows.api import workloads
from cpln_flows.errors import (
    ConfigurationError,
    CplnError,
    JobAccessLostError,
    JobCancelledError,
    JobError,
    JobLostError,
    NotFoundError,
    SubmissionUnknownError,
)
from cpln_flows.jobs import access, failure, session
from cpln_flows.jobs.run import Following, JobRun
from cpln_flows.jobs.session import JobSession
from cpln_flows.jobs.stop import Stopped
from cpln_flows.logger import Journal
from cpln_flows.logs import printer
from cpln_flows.logs.budget import Shown
from cpln_flows.logs.forwarder import Forwarder
from cpln_flows.logs.printer import Printer
from cpln_flows.logs.receipt import LogReceipt
from cpln_flows.logs.sink import Rendering, Sink
from cpln_flows.logs.transcript import Transcript
from cpln_flows.model import addresses
from cpln_flows.model.ending import Ending
from cpln_flows.model.identifiers import Area, LogContext
from cpln_flows.model.links import GvcRef
from cpln_flows.model.log_lines import Batch
from cpln_flows.orchestration import JobIdentity
from cpln_flows.settings import CplnSettings, console_url
from cpln_flows.sync_compat import sync_compatible

if TYPE_CHECKING:
    from cpln_flows.blocks.job import CplnJob
    from cpln_flows.jobs.plan import JobPlan

PrintFunc = Callable[[str], Any]

PREFECT_API_URL = "PREFECT_API_URL"
_LAST_LINES = 10
_OUT_OF_SIGHT = (JobLostError, JobAccessLostError)
"""The job may keep running unseen: a stop or a deletion might kill a healthy job."""
_CLEANUP_RESERVE_SECONDS = 5.0


class CplnJobRun(PrefectJobRun[str]):
    """One run of a job.

    Args:
        cpln_job: What to run.
        identity: Which intended job this is, and whose.
        settings: Endpoint, waiting times and grace periods. Default: the environment's.
    """

    def __init__(
        self, cpln_job: CplnJob, identity: JobIdentity, settings: CplnSettings | None = None
    ) -> None:
        self._block = cpln_job
        self._identity = identity
        self._settings = settings or CplnSettings.load()
        self._run: JobRun | None = None
        self._transcript = Transcript(self._most_characters())
        self._sink: Sink | None = None
        self._leftover: str | None = None
        self._cancelled = False
        self._abandoned = False

    def __repr__(self) -> str:
        return f"CplnJobRun({self.infrastructure_pid or 'not started'})"

    @property
    def logs(self) -> list[str]:
        """Lines delivered so far, each as ``"{timestamp} - {line}"``.

        Past the cap, a line states what was left out.
        """
        return self._transcript.lines

    @property
    def receipt(self) -> LogReceipt:
        """What was received of the job's log so far, and what is known to be missing.

        It has the lines, bytes and digest of each stream.
        """
        stream = self._run.stream if self._run else None
        return stream.receipt if stream else LogReceipt()

    @property
    def infrastructure_pid(self) -> str | None:
        """``org:gvc:workload:command_id``, once the job is started."""
        job = self._run.known if self._run else None
        return job.ref.pid if job else None

    @property
    def command_id(self) -> str | None:
        """Id of the command on the platform, once the job is started."""
        job = self._run.known if self._run else None
        return job.ref.command_id if job else None

    @property
    def console_url(self) -> str | None:
        """Where the platform's console shows the workload of this job."""
        job = self._run.known if self._run else None
        return console_url(job.ref.workload_ref.path) if job else None

    @sync_compatible
    async def wait_for_completion(self, print_func: PrintFunc | None = None) -> None:  # type: ignore[override]
        """Follow the job to its end and deliver its log line by line.

        Whatever interrupts the wait stops the job. A workload of the job's own is deleted after
        its log has been read.

        Args:
            print_func: Gets every line as ``"{timestamp} - {line}"``, with the time in UTC. An
                error in it does not stop the job. Without it, lines go into the logs of the flow
                or task run that waits, as far as the budget for these allows. If a job is resumed
                after its process died, these logs, and a ``print_func`` that is a method of a
                run's logger, get the lines they do not have yet. Any other function gets all lines
                again, because only it knows what it did with them.

        Raises:
            JobFailedError: The job failed; the error has its exit code, reason and last lines. It
                is a ``RuntimeError`` too.
            JobCancelledError: Somebody else stopped the job.
            JobTimeoutError: The job took longer than ``timeout_seconds`` and was stopped.
            JobLostError: Nothing shows the job any longer.
            JobAccessLostError: The platform refuses the token; the job may still be running.
            ConfigurationError: ``print_func`` is asynchronous.
        """
        await self.complete(print_func)

    async def complete(self, print_func: PrintFunc | None = None) -> None:
        """Follow the job to its end, as ``wait_for_completion`` does.

        In a run, log why the job did not complete.
        """
        with self._reporting():
            await self._complete(self._planned(), print_func)

    async def _complete(self, run: JobRun, print_func: PrintFunc | None) -> None:
        printer.check(print_func)
        shown = await self._shown_before(print_func or self.logger) if run.job.adopted else None
        self._sink = (
            Printer(print_func, run.journal, shown) if print_func else self._into_prefect(shown)
        )
        try:
            async with self.connected() as shared:
                end = await run.follow(shared, self._following(run))
                self._finish_log(end)
                await self._clean(run, shared)
        except CplnError as error:
            # Nobody can see whether such a job is running, so a later call of `abandon` must leave
            # it alone too.
            self._abandoned = self._abandoned or isinstance(error, _OUT_OF_SIGHT)
            await self._clean_after(error)
            if self._cancelled and isinstance(error, JobLostError):
                raise self._cancelled_error(run) from error
            raise
        except BaseException:
            await self.abandon("the caller was interrupted")
            raise
        if not end.succeeded:
            raise self._error_of(run, end)
        run.journal.info(Area.JOB, f"Completed; log {self.receipt}")

    @sync_compatible
    async def fetch_result(self) -> str:  # type: ignore[override]
        """Return the log of the job as one string.

        Raises:
            ValueError: Nobody has waited for the job, or it did not succeed.
        """
        ended = self._run.ended if self._run else None
        if ended is None or not ended.ending.succeeded:
            raise ValueError("the job has not completed; call `wait_for_completion` first")
        return self._transcript.text

    @sync_compatible
    async def cancel(self) -> None:
        """Stop the job, make sure that it is over, and delete its workload if that is private.

        Raises:
            JobError: The end of the job could not be verified.
        """
        self._cancelled = True
        stopped = await self._stop_and_clean("cancel was called")
        if stopped is not None and not stopped.verified:
            pid = self.infrastructure_pid
            raise JobError(
                f"job {pid} may still be running, its end was not seen: {stopped.evidence}",
                infrastructure_pid=pid,
            )

    async def start(self) -> None:
        """Start the job, or find the one that an earlier attempt started.

        If interrupted, leave no job behind.
        """
        with self._reporting():
            self._journal().info(Area.JOB, "Creating Control Plane job...")
            await self._start()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Log a ``CplnError`` in full inside a run; elsewhere its message is the report."""
        try:
            yield
        except CplnError as error:
            if sync_compat.in_run():
                has_no_job = self.infrastructure_pid is None and not isinstance(
                    error, SubmissionUnknownError
                )
                self._journal().report(error, about_start=has_no_job)
            raise

    async def _start(self) -> None:
        try:
            async with self.connected() as shared:
                # A wrong manifest is reported before the first request.
                plan = self._block.plan(self._identity, "")
                here = replace(plan, location=await self._location(shared))
                self._run = JobRun(
                    here, self._settings, self._journal_of_step, self._identity.earlier
                )
                self._warn_of_loopback(plan)
                await self._run.start(shared)
        except SubmissionUnknownError:
            await self.abandon(
                "it is unknown whether the job was started, and nobody would wait for it"
            )
            raise
        except CplnError as error:
            await self._clean_after(error)
            raise
        except BaseException:
            await self.abandon("the caller was interrupted")
            raise
        self._journal().debug(
            Area.JOB, f"pid {self.infrastructure_pid}, console {self.console_url}"
        )

    def connected(self) -> AbstractAsyncContextManager[JobSession]:
        """Keep connections open over several steps of this run; else each step opens its own."""
        credentials = self._block.credentials
        holder = self._block._block_document_id  # noqa: SLF001 - Prefect has no other way
        return session.shared(
            credentials.api_settings(self._settings), partial(credentials.present_token, holder)
        )

    async def record_pid(self) -> None:
        """Store the pid on the flow run that started the job; the job does not depend on it."""
        try:
            await orchestration.record_pid(self._identity.owner, self._planned().job.ref.pid)
        except Exception as error:  # noqa: BLE001 - a convenience for people who look at the run
            self._journal().warning(
                Area.JOB, f"The infrastructure pid could not be stored on the flow run: {error!r}"
            )

    async def abandon(self, reason: str) -> None:
        """Stop the job because nobody waits for it any longer.

        This is shielded from cancellation and bounded in time, and it never raises. It is done
        once: whoever notices the interruption later does not spend the same time again.
        """
        if self._abandoned:
            return
        self._abandoned = True
        with (
            anyio.CancelScope(shield=True),
            anyio.move_on_after(sync_compat.CLEANUP_SECONDS) as scope,
        ):
            try:
                stopped = await self._stop_and_clean(reason)
            except Exception as error:  # noqa: BLE001 - the caller must see the interruption itself
                self._journal().warning(Area.KILL, f"The job could not be stopped: {error}")
                return
            if stopped is not None and not stopped.verified:
                self._journal().warning(
                    Area.KILL, f"The job may still be running: {stopped.evidence}"
                )
        if scope.cancelled_caught:
            self._journal().warning(
                Area.KILL,
                f"The job could not be stopped within {sync_compat.CLEANUP_SECONDS} s and may still"
                " be running",
            )

    async def _stop_and_clean(self, reason: str) -> Stopped | None:
        run = self._run
        if run is None or run.is_deleted:
            return None
        async with self.connected() as shared:
            left = (
                anyio.current_effective_deadline() - anyio.current_time() - _CLEANUP_RESERVE_SECONDS
            )
            grace = max(0.0, min(self._settings.stop_grace_seconds, left))
            stopped = await run.stop(shared, reason, grace_seconds=grace)
            await self._clean(run, shared)
        return stopped

    def _warn_of_loopback(self, plan: JobPlan) -> None:
        for container in plan.manifest.containers:
            if addresses.is_loopback(container.env.get(PREFECT_API_URL)):
                self._journal().warning(
                    Area.INIT,
                    f"{PREFECT_API_URL} in the environment of container {container.name} is a"
                    " loopback address: it points the job to itself and not to your Prefect server;"
                    " set an address that the job can reach",
                )

    async def _clean(self, run: JobRun, shared: JobSession, *, only_idle: bool = False) -> None:
        """Delete the private workload of this job, if it has one.

        A failure is never raised; it is logged, and kept for the job's own error.
        """
        if not run.has_workload:
            return
        try:
            await run.delete_workload(shared, only_idle=only_idle)
        except CplnError as error:
            self._leave(run, str(error))

    def _leave(self, run: JobRun, why: str) -> None:
        self._leftover = (
            f"The workload {run.workload.name} could not be deleted: {why}; the clean-up flow does"
            " that after 24 h without use"
        )
        run.journal.warning(Area.CLEANUP, self._leftover)

    async def _clean_after(self, error: CplnError) -> None:
        """Delete the workload after an error; a failure to do so becomes a note on the error."""
        run = self._run
        if run is None or not run.has_workload:
            return
        with (
            anyio.CancelScope(shield=True),
            anyio.move_on_after(sync_compat.CLEANUP_SECONDS) as scope,
        ):
            async with self.connected() as shared:
                await self._clean(
                    run, shared, only_idle=run.may_be_of_others or isinstance(error, _OUT_OF_SIGHT)
                )
        if scope.cancelled_caught:
            self._leave(run, f"no answer within {sync_compat.CLEANUP_SECONDS} s")
        self._note_leftover(run, error)

    def _note_leftover(self, run: JobRun, error: CplnError) -> None:
        if not run.is_deleted and self._leftover:
            error.add_note(self._leftover)

    async def _location(self, shared: JobSession) -> str:
        gvc = GvcRef(self._block.org, self._block.namespace)
        try:
            found = self._block.location or await workloads.first_location(shared.client, gvc)
        except NotFoundError as error:
            raise access.not_found(error, gvc) from error
        if not found:
            raise ConfigurationError(
                f"location: none given, CPLN_LOCATION is not set, and the GVC {gvc.gvc} has no"
                " locations of its own; set the job's field location, or CPLN_LOCATION"
            )
        return found

    def _following(self, run: JobRun) -> Following:
        async def begin_anew() -> None:
            run.journal.warning(
                Area.JOB,
                "Following this older job of the same submission instead, with its log from the"
                " start",
            )
            self._transcript.clear()

        return Following(
            interval_seconds=self._block.interval_seconds,
            timeout_seconds=self._block.timeout_seconds,
            deliver=partial(self._deliver, Rendering.of(self._shown_containers(run))),
            superseded=begin_anew,
            is_stopped=lambda: self._cancelled and run.is_deleted,
        )

    def _deliver(self, rendering: Rendering, batch: Batch) -> None:
        lines = rendering.lines(batch)
        self._transcript.add(lines)
        if self._sink is not None:
            self._sink.send(lines)

    def _shown_containers(self, run: JobRun) -> list[str]:
        given = self._block.log_containers
        return [run.plan.manifest.main.name] if given is None else given

    def _most_characters(self) -> int | None:
        given = self._block.max_log_characters
        return (self._settings.max_log_characters if given is None else given) or None

    def _into_prefect(self, shown: Shown | None) -> Forwarder | None:
        """Return the forwarder to the log of the waiting run; ``None`` outside of a run."""
        if not sync_compat.in_run():
            return None
        where = f"stream_logs({self.infrastructure_pid!r}), or {self.console_url}"
        return Forwarder(
            self.logger, replace(orchestration.log_budget(self._settings), where=where), shown
        )

    async def _shown_before(self, logger: object) -> Shown | None:
        """Return which lines another process has put into the same Prefect log, if there is one."""
        run_id = orchestration.log_of(logger)
        if run_id is None:
            return None
        try:
            return await orchestration.shown_in(run_id)
        except Exception as error:  # noqa: BLE001 - repeated lines are no reason to lose the job
            self._journal().warning(
                Area.LOGS, f"Lines that were already shown may be repeated: {error!r}"
            )
            return None

    def _finish_log(self, end: Ending) -> None:
        if self._sink is not None:
            self._sink.finish()
        if not end.succeeded:
            self._journal().info(Area.LOGS, f"The log is {self.receipt}")

    def _error_of(self, run: JobRun, end: Ending) -> JobError:
        error = failure.error_of(
            end, failure.Place(run.job, not run.is_deleted), self._transcript.last(_LAST_LINES)
        )
        self._note_leftover(run, error)
        return error

    def _cancelled_error(self, run: JobRun) -> JobCancelledError:
        pid = run.job.ref.pid
        return JobCancelledError(
            f"job {pid} was stopped and its workload deleted: cancel was called",
            infrastructure_pid=pid,
        )

    def _planned(self) -> JobRun:
        if self._run is None:
            raise ValueError("the job was not started; call `trigger` first")
        return self._run

    def _journal(self) -> Journal:
        return self._run.journal if self._run else self._journal_of_step()

    def _journal_of_step(self) -> Journal:
        owner = self._identity.owner
        return Journal(
            self.logger, LogContext(owner.flow_name, owner.flow_run_id, self._block.namespace)
        )
