"""The job of one flow run, from its start to its end, and how the flow run ends with it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import anyio
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Failed

from cpln_flows import orchestration
from cpln_flows.errors import CplnError, JobAccessLostError, JobError
from cpln_flows.jobs import decide, failure, submit
from cpln_flows.jobs.decide import Fate
from cpln_flows.jobs.plan import JobPlan
from cpln_flows.jobs.run import Ended, Following, JobRun
from cpln_flows.jobs.session import JobSession
from cpln_flows.jobs.submit import StartedJob
from cpln_flows.logger import Journal
from cpln_flows.model.ending import Ending
from cpln_flows.model.identifiers import Area
from cpln_flows.model.lifecycle import Stage
from cpln_flows.model.run_states import RunState
from cpln_flows.settings import CplnSettings
from cpln_flows.worker import failures, predecessor
from cpln_flows.worker.flow_runs import FlowRunBoard
from cpln_flows.worker.guard import Guard
from cpln_flows.worker.job_log import JobLog
from cpln_flows.worker.startup import Startup

_INTERVAL_SECONDS = 5.0
_AGAIN_SECONDS = 10.0
_ENDED = "Ended: "
_UNDER_WAY = frozenset({StateType.CANCELLING, StateType.PENDING, StateType.RUNNING})


def reports_end(messages: Iterable[str], pid: str | None) -> bool:
    """Whether a flow run's log reports the end of its job, which is logged after its last line.

    Args:
        messages: The newest messages of the log.
        pid: The infrastructure pid of the job; ``None`` if there is no job or it is not known.
    """
    command = f"Cmd: {(pid or ':').rpartition(':')[2]} > {_ENDED}"
    return bool(pid) and any(
        message.startswith("[CPLN] ") and command in message for message in messages
    )


class _NotWantedError(Exception):
    """The flow run no longer needs a job."""


@dataclass(frozen=True)
class Watching:
    """How the job of a flow run is watched.

    Args:
        has_supervisor: Whether Prefect's own supervisor runs in the container.
        stream_output: Whether its output goes to the flow run's logs.
        timeout_seconds: How long it may take; ``None`` means no limit.
        start_seconds: How long its workload may take to become ready, and an image that cannot be
            fetched may take to appear.
    """

    has_supervisor: bool
    stream_output: bool
    timeout_seconds: float | None
    start_seconds: float


@dataclass
class FlowRunJob:
    """The job of one flow run.

    Args:
        prefect: A client of Prefect's API.
        session: What the jobs of this worker share.
        board: The states of the flow runs that this worker follows.
        plan: The job to run.
        run_id: The flow run.
        base_journal: The log of the flow run.
        settings: Grace periods and waits.
        watching: How it is watched.
        is_ours: Whether this worker process still owns the flow run, asked right before the job is
            started.
    """

    prefect: PrefectClient
    session: JobSession
    board: FlowRunBoard
    plan: JobPlan
    run_id: UUID
    base_journal: Journal
    settings: CplnSettings
    watching: Watching
    is_ours: Callable[[FlowRun], bool] = lambda _: True
    _run: JobRun = field(init=False)
    _log: JobLog = field(init=False)
    _startup: Startup = field(init=False)
    _guard: Guard = field(init=False)

    def __post_init__(self) -> None:
        # Silent jobs would cost one request each; the commands' own messages are just as
        # informative.
        settings = self.settings.model_copy(update={"waiting_report_seconds": math.inf})
        self._run = JobRun(
            self.plan,
            settings,
            lambda: self.base_journal,
            ready_timeout_seconds=self.watching.start_seconds,
            before_start=self._look_whether_it_is_wanted,
        )
        self._log = JobLog(self.prefect, self.run_id, self._run, self.watching.stream_output)
        self._startup = Startup(
            self.prefect, self.run_id, self._run, self.watching.start_seconds, self._stop
        )
        self._guard = Guard(
            self.prefect,
            self.board,
            self.run_id,
            self._run,
            self.watching.has_supervisor,
            self._stop,
        )

    @property
    def job(self) -> StartedJob:
        """The job, once it has been started or found."""
        return self._run.job

    @property
    def journal(self) -> Journal:
        """The log of the flow run, with what is known of the job."""
        return self._run.journal

    # Before

    async def start(self, earlier_pid: str | None) -> StartedJob | None:
        """Start the job, or find the one that another process started for the same attempt.

        Args:
            earlier_pid: The pid that the flow run has from an earlier attempt.

        Returns:
            The job, or ``None`` if the flow run no longer needs one, which its log reports.

        Raises:
            ApiError, TransportError, JobTimeoutError, SubmissionUnknownError: There is no job, or
                it is unknown whether there is one.
        """
        self.journal.info(Area.JOB, "Creating Control Plane job...")
        with failures.reporting(self.base_journal):
            if self.plan.submission.attempt:
                await predecessor.end_earlier(
                    self.session.client,
                    self.plan,
                    self.run_id,
                    earlier_pid,
                    grace_seconds=self.watching.start_seconds,
                    journal=self.journal,
                )
            try:
                return await self._run.start(self.session)
            except _NotWantedError as error:
                self.journal.info(Area.JOB, f"No job is started: {error}")
                await self.cancel_without_job()
                return None

    async def find(self, pid: str | None) -> StartedJob | None:
        """Return the job of this attempt if there is one; start nothing.

        Args:
            pid: The pid of the flow run, which may be that of an earlier attempt.
        """
        named = await predecessor.of_pid(self.session.client, pid)
        if named is not None and self.plan.search_tags.items() <= named[1].tags.items():
            self._run.take(submit.adopted(*named, self.plan.location, self.session.client.now()))
            return self.job
        return await self._run.find(self.session)

    async def _look_whether_it_is_wanted(self) -> None:
        """Check the flow run right before its job is started.

        Minutes may have passed until the workload was ready.
        """
        try:
            run = await self.prefect.read_flow_run(self.run_id)
        except ObjectNotFound:
            raise _NotWantedError("the flow run was deleted") from None
        except Exception as error:  # noqa: BLE001 - the guard looks again, and stops unwanted jobs
            self.journal.debug(
                Area.JOB,
                f"Could not read the state of the flow run before starting its job: {error!r}",
            )
            return
        if (
            why := decide.no_start(RunState(run.state.type.value) if run.state else None)
        ) is not None:
            raise _NotWantedError(why)
        if not self.is_ours(run):
            raise _NotWantedError("another worker process has taken over the flow run")

    async def cancel_without_job(self) -> None:
        """Cancel the flow run if it is cancelling, because no job has to end first."""
        try:
            await self._propose_cancelled(
                "the flow run was cancelled before it had a job", {StateType.CANCELLING}
            )
        except Exception as error:  # noqa: BLE001 - the sync flow does what could not be done here
            self.journal.debug(
                Area.JOB,
                f"The flow run could not be updated; the sync flow will do it: {error!r}",
            )

    # While it runs

    async def follow(self) -> int:
        """Follow the job to its end, stop it if its flow run asks for it; return its exit code."""
        await self._log.resume()
        with self.board.watch(self.run_id) as entry:
            helpers = [
                asyncio.create_task(self._guard.watch(entry)),
                asyncio.create_task(self._startup.watch()),
            ]
            try:
                end = await self._end()
            finally:
                # Plain tasks instead of a task group, which would wrap what interrupts the worker.
                for helper in helpers:
                    helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        self._run.end(end)
        self._log.finish()
        self.journal.info(Area.JOB, f"{_ENDED}{end.stopped_by_us or end.describe()}")
        if end.exit_code is not None:
            return end.exit_code
        return 0 if end.succeeded else 1

    async def _end(self) -> Ending:
        following = Following(
            interval_seconds=_INTERVAL_SECONDS,
            timeout_seconds=self.watching.timeout_seconds,
            deliver=self._log.deliver if self.watching.stream_output else None,
            superseded=self._begin_anew,
            observe=self._startup.observe,
        )
        while True:
            try:
                end = await self._run.follow(self.session, following)
            except JobAccessLostError:
                # Nothing is known of the job, so nothing follows for the flow run; sync decides.
                raise
            except JobError as error:  # too late, or lost
                return Ending(Stage.FAILED, stopped_by_us=str(error))
            except CplnError as error:
                self.journal.warning(Area.JOB, f"Cannot follow the job, will retry: {error}")
                await anyio.sleep(_AGAIN_SECONDS)
                continue
            return (
                replace(end, stopped_by_us=self._startup.failure) if self._startup.failure else end
            )

    async def _begin_anew(self) -> None:
        await self._log.resume()  # another process may have delivered lines of it
        try:
            await self.prefect.update_flow_run(self.run_id, infrastructure_pid=self.job.ref.pid)
        except Exception as error:  # noqa: BLE001 - the tags find the job too
            self.journal.warning(
                Area.JOB, f"The infrastructure pid could not be stored on the flow run: {error!r}"
            )

    async def _stop(self, reason: str) -> bool:
        stopped = await self._run.stop(
            self.session, reason, grace_seconds=self.settings.stop_grace_seconds
        )
        if stopped is None or stopped.verified:
            return True
        self.journal.warning(
            Area.KILL, f"The job may still be running, stopping it again: {stopped.evidence}"
        )
        return False

    # After

    async def conclude(self, *, has_waited: bool = False) -> bool:
        """Update the flow run after the end of its job; return whether to check it once more."""
        if (ended := self._run.ended) is None:
            raise ValueError("the job was not followed to its end")
        try:
            state = (await self.prefect.read_flow_run(self.run_id)).state
            fate, why = self._fate(state, ended.ending, has_waited=has_waited)
            match fate:
                case Fate.CANCELLED:
                    await self._propose_cancelled(why)
                case Fate.CRASHED | Fate.FAILED:
                    await self._fail_run(ended, fate, why)
                case Fate.COMPLETED:
                    # Such a state would lack the flow's result, so the sync flow gives the engine
                    # another cycle before it proposes it.
                    self.journal.debug(Area.JOB, f"{why}; the sync flow completes the flow run")
                case Fate.KEEP | Fate.REPORT_FIRST:
                    self.journal.debug(Area.JOB, why)
                    self._report_image(state, ended.ending)
        except Exception as error:  # noqa: BLE001 - the sync flow does what could not be done here
            self.journal.warning(
                Area.JOB,
                f"The flow run could not be updated; the sync flow will do it: {error!r}",
            )
            return False
        return fate is Fate.REPORT_FIRST

    def _fate(self, state: State | None, end: Ending, *, has_waited: bool) -> tuple[Fate, str]:
        if state is None:
            return Fate.KEEP, "the flow run has no state"
        stage = Stage.FAILED if end.stopped_by_us else end.stage
        ended_for = timedelta.max if has_waited else timedelta(0)
        fate, why = decide.run_after(
            RunState(state.type.value), stage, ended_for, self.settings.policy()
        )
        return fate, f"{why}: {end.stopped_by_us or end.describe()}"

    async def _propose_cancelled(
        self, why: str, from_types: Collection[StateType] = _UNDER_WAY
    ) -> None:
        if await orchestration.propose(
            self.prefect, self.run_id, Cancelled(message=why), only_from=from_types
        ):
            self.journal.info(Area.KILL, f"The flow run is Cancelled: {why}")

    async def _fail_run(self, ended: Ended, fate: Fate, why: str) -> None:
        if not orchestration.has_begun(await self.prefect.read_flow_run_states(self.run_id)):
            await self._log.show_last_lines(self.session, ended.at)
        advice = failure.image_advice(ended.ending, self._log.last_lines)
        place = failure.Place(ended.job, is_kept=True)
        text = "\n".join(
            [f"{why}; pid {ended.job.ref.pid}", *([advice] if advice else []), str(place)]
        )
        state: State[None] = Failed(message=text) if fate is Fate.FAILED else Crashed(message=text)
        if await orchestration.propose(
            self.prefect, self.run_id, state, only_from={StateType.PENDING, StateType.RUNNING}
        ):
            self.journal.error(Area.JOB, f"The flow run is {state.name}: {text}")

    def _report_image(self, state: State | None, end: Ending) -> None:
        """Log that the image was the cause, where the engine itself has failed the flow run."""
        if state is not None and state.type in {StateType.FAILED, StateType.CRASHED}:
            advice = failure.image_advice(end, self._log.last_lines)
            if advice is not None:
                self.journal.error(Area.INIT, advice)
