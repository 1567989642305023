"""The container of one flow run, from its start to its end, and what becomes of the flow run then."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import anyio
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Failed, InfrastructurePending

from cpln_flows import orchestration
from cpln_flows.api import commands
from cpln_flows.api.logs import LogSource
from cpln_flows.errors import ConfigurationError, CplnError, JobAccessLostError, JobError, NotFoundError
from cpln_flows.jobs import decide, failure, stop, submit
from cpln_flows.jobs.decide import Fate, KeepJob, StopJob
from cpln_flows.jobs.forward import Forwarder
from cpln_flows.jobs.journal import Journal
from cpln_flows.jobs.plan import JobPlan
from cpln_flows.jobs.session import JobSession
from cpln_flows.jobs.stream import LogStream, Pace
from cpln_flows.jobs.submit import StartedJob, Submitter
from cpln_flows.jobs.watch import Follower, Superseded
from cpln_flows.model import identifiers, log_lines
from cpln_flows.model.ending import Ending
from cpln_flows.model.forwarding import Shown
from cpln_flows.model.identifiers import Area
from cpln_flows.model.lifecycle import Stage
from cpln_flows.model.links import CommandRef
from cpln_flows.model.resources import Command
from cpln_flows.model.run_states import RunState
from cpln_flows.settings import CplnSettings
from cpln_flows.worker import failures, output
from cpln_flows.worker.flow_runs import FlowRunBoard, Watched
from cpln_flows.worker.output import Output

_INTERVAL_SECONDS = 5.0
_ANNOUNCE_SECONDS = 3.0
_LOOK_SECONDS = 2.0
_AGAIN_SECONDS = 10.0
_KNOWN_LINES = 1000
_MOST_KNOWN_LINES = 16_000  # more than one job's log may have there
_ENDED = "Ended: "
_PENDING_NAME = "InfrastructurePending"
_UNDER_WAY = frozenset({StateType.CANCELLING, StateType.PENDING, StateType.RUNNING})
_NO_IMAGE = re.compile(r"ErrImage|ImagePull|InvalidImageName|manifest unknown", re.IGNORECASE)


def reports_end(messages: Iterable[str], pid: str | None) -> bool:
    """Whether a flow run's log says that its job has ended, which stands behind the last line of the job.

    Args:
        messages: The newest messages of the log.
        pid: The job; without there is none, or it is not known.
    """
    command = f"Cmd: {(pid or ':').rpartition(':')[2]} > {_ENDED}"
    return bool(pid) and any(message.startswith("[CPLN] ") and command in message for message in messages)


class _NotWantedError(Exception):
    """The flow run needs no job any more."""


@dataclass(frozen=True)
class Watching:
    """How a container is watched.

    Args:
        has_supervisor: Whether Prefect's own supervisor runs in it.
        stream_output: Whether its output goes to the flow run's logs.
        timeout_seconds: How long it may take; none is for ever.
        start_seconds: How long its workload may take to become ready, and an image that cannot be fetched to appear.
    """

    has_supervisor: bool
    stream_output: bool
    timeout_seconds: float | None
    start_seconds: float


@dataclass
class Container:
    """The container of one flow run.

    Args:
        prefect: A client of Prefect's API.
        session: What the jobs of this worker share.
        board: The states of the flow runs that this worker follows.
        plan: What is to be run.
        run_id: The flow run.
        journal: What to tell the user, on the flow run.
        settings: Graces and waits.
        watching: How it is watched.
        is_ours: Whether the flow run, as it is right before its job is started, is this worker process's still.
    """

    prefect: PrefectClient
    session: JobSession
    board: FlowRunBoard
    plan: JobPlan
    run_id: UUID
    journal: Journal
    settings: CplnSettings
    watching: Watching
    is_ours: Callable[[FlowRun], bool] = lambda _: True
    _job: StartedJob | None = None
    _command: Command | None = None
    _no_start: str | None = None
    _ending: Ending | None = None
    _ended: float = 0.0
    _output: Output = field(init=False)

    def __post_init__(self) -> None:
        self._output = self._output_with(None)

    def _output_with(self, shown: Shown | None) -> Output:
        budget = replace(orchestration.log_budget(self.settings), where=f"stream_logs({str(self.run_id)!r})")
        several = len(self.plan.manifest.containers) > 1
        forwarder = Forwarder(self.journal.logger, budget, shown)
        return Output(forwarder, forwards=self.watching.stream_output, named=several)

    @property
    def job(self) -> StartedJob:
        """The job, once it was started or found."""
        if self._job is None:
            raise ValueError("the job was not started")
        return self._job

    async def start(self, earlier_pid: str | None) -> StartedJob | None:
        """Start the job, or find the one that another process has started for the same attempt.

        Args:
            earlier_pid: The pid that the flow run has from an attempt before this one.

        Returns:
            The job; nothing if the flow run needs none any more, which is then said in its log.

        Raises:
            ApiError, TransportError, JobTimeoutError, SubmissionUnknownError: There is no job, or that cannot be told.
        """
        self.journal.info(Area.JOB, "Creating Control Plane job...")
        with failures.reporting(self.journal):
            if self.plan.submission.attempt:
                await self._end_earlier(earlier_pid)
            try:
                self._job = await self._submitter().submit()
            except _NotWantedError as error:
                await self._do_without(str(error))
                return None
        self._know()
        return self._job

    async def find(self, pid: str | None) -> StartedJob | None:
        """Return the job of this attempt if there is one; starts nothing.

        Args:
            pid: The pid of the flow run, which may be that of an earlier attempt.
        """
        command = await self._of_pid(pid)
        if command is not None and self.plan.search_tags.items() <= command[1].tags.items():
            self._job = submit.adopted(command[0], command[1], self.plan.location, self.session.client.now())
        else:
            self._job = await self._submitter().find()
        self._know()
        return self._job

    async def follow(self) -> int:
        """Follow the job to its end, stop it when its flow run asks for that, and return its exit code."""
        await self._know_output()
        with self.board.watch(self.run_id) as entry:
            helpers = [asyncio.create_task(self._guard(entry)), asyncio.create_task(self._announce())]
            try:
                end = await self._end()
            finally:
                # Tasks of their own instead of a task group, which would wrap what interrupts the worker.
                for helper in helpers:
                    helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        self._ending, self._ended = end, time.monotonic()
        self._output.finish()
        self.journal.info(Area.JOB, f"{_ENDED}{end.stopped_by_us or end.describe()}")
        if end.exit_code is not None:
            return end.exit_code
        return 0 if end.succeeded else 1

    async def conclude(self, *, has_waited: bool = False) -> bool:
        """Bring the flow run in line with the end of its job; return whether that has to be looked at once more."""
        if self._ending is None:
            raise ValueError("the job was not followed to its end")
        try:
            state = (await self.prefect.read_flow_run(self.run_id)).state
            fate, why = self._fate(state, self._ending, has_waited=has_waited)
            match fate:
                case Fate.CANCELLED:
                    await self._propose_cancelled(why)
                case Fate.CRASHED | Fate.FAILED:
                    await self._fail_run(fate, why)
                case Fate.COMPLETED:
                    # A state without the flow's result: the sync flow gives the engine another cycle before it says so.
                    self.journal.debug(Area.JOB, f"{why}; the sync flow completes the flow run")
                case Fate.KEEP | Fate.REPORT_FIRST:
                    self.journal.debug(Area.JOB, why)
        except Exception as error:  # noqa: BLE001 - the sync flow does what could not be done here
            self.journal.warning(Area.JOB, f"The flow run could not be brought in line with its job, sync will: {error!r}")
            return False
        return fate is Fate.REPORT_FIRST

    def _fate(self, state: State | None, end: Ending, *, has_waited: bool) -> tuple[Fate, str]:
        if state is None:
            return Fate.KEEP, "the flow run has no state"
        stage = Stage.FAILED if end.stopped_by_us else end.stage
        ended_for = timedelta.max if has_waited else timedelta(0)
        fate, why = decide.run_after(RunState(state.type.value), stage, ended_for, self.settings.policy())
        return fate, f"{why}: {end.stopped_by_us or end.describe()}"

    # Before

    def _submitter(self) -> Submitter:
        return Submitter(
            self.session.client,
            self.plan,
            (),
            self.journal,
            self.watching.start_seconds,
            self.settings.query_settle_seconds,
            before_start=self._look_whether_it_is_wanted,
        )

    async def _look_whether_it_is_wanted(self) -> None:
        """Look at the flow run right before its job is started: until the workload was ready, minutes may have passed."""
        try:
            run = await self.prefect.read_flow_run(self.run_id)
        except ObjectNotFound:
            raise _NotWantedError("the flow run was deleted") from None
        except Exception as error:  # noqa: BLE001 - the guard looks again, and stops what is not wanted
            self.journal.debug(Area.JOB, f"The state of the flow run cannot be read before its job is started: {error!r}")
            return
        if (why := decide.no_start(RunState(run.state.type.value) if run.state else None)) is not None:
            raise _NotWantedError(why)
        if not self.is_ours(run):
            raise _NotWantedError("another worker process has taken the flow run up")

    def _know(self) -> None:
        if self._job is not None:
            self.journal = self.journal.about(workload=self._job.ref.workload, command_id=self._job.ref.command_id)

    async def _of_pid(self, pid: str | None) -> tuple[CommandRef, Command] | None:
        try:
            ref = CommandRef.parse(pid or "")
            return ref, await commands.read(self.session.client, ref)
        except (ConfigurationError, NotFoundError):
            return None

    async def _end_earlier(self, pid: str | None) -> None:
        """End what an earlier attempt has left running: two containers of one flow run would both report for it."""
        workload = self.plan.workload_of(self.plan.submission.attempt)
        tags = {key: self.plan.search_tags[key] for key in (identifiers.SUBMISSION, identifiers.ROLE)}
        try:
            listed = await commands.with_tags(self.session.client, workload, tags)
        except NotFoundError:
            listed = []
        found = {workload.command(command.id): command for command in listed}
        if (of_pid := await self._of_pid(pid)) is not None:
            found[of_pid[0]] = of_pid[1]
        mine, own = self.plan.search_tags.items(), str(self.run_id)
        for ref, command in found.items():
            of_this_run = command.tags.get(identifiers.FLOW_RUN_ID) == own
            if of_this_run and not command.is_terminal and not mine <= command.tags.items():
                await self._stop_earlier(ref, command)

    async def _stop_earlier(self, ref: CommandRef, command: Command) -> None:
        journal = self.journal.about(workload=ref.workload, command_id=ref.command_id)
        reason = "an earlier attempt of the flow run has left it running"
        stopped = await stop.stop(
            self.session.client,
            ref,
            location=command.spec.location or self.plan.location,
            reason=reason,
            grace_seconds=self.watching.start_seconds,
            journal=journal,
        )
        if not stopped.verified:
            raise JobError(
                f"{reason}, and it could not be stopped: {stopped.evidence}. No second container was started; stop the job"
                " on the platform and run the flow run again",
                infrastructure_pid=ref.pid,
            )

    async def _do_without(self, why: str) -> None:
        self.journal.info(Area.JOB, f"No job is started: {why}")
        await self.cancel_without_job()

    async def cancel_without_job(self) -> None:
        """Cancel the flow run if it is cancelling: it has no job that would have to end first."""
        try:
            await self._propose_cancelled("the flow run was cancelled before it had a job", {StateType.CANCELLING})
        except Exception as error:  # noqa: BLE001 - the sync flow does what could not be done here
            self.journal.debug(Area.JOB, f"The flow run could not be brought in line, sync will: {error!r}")

    # While it runs

    async def _end(self) -> Ending:
        while True:
            try:
                outcome = await self._follower().follow()
            except JobAccessLostError:
                raise  # nothing is known of the job, so nothing follows for the flow run; the sync flow decides about it
            except JobError as error:  # too late, or lost
                return Ending(Stage.FAILED, stopped_by_us=str(error))
            except CplnError as error:
                self.journal.warning(Area.JOB, f"The job cannot be followed, trying again: {error}")
                await anyio.sleep(_AGAIN_SECONDS)
                continue
            if isinstance(outcome, Superseded):
                self._job = outcome.by
                self._know()
                await self._know_output()  # another process may have delivered lines of it
                await self._store_pid()
                continue
            return replace(outcome, stopped_by_us=self._no_start) if self._no_start else outcome

    def _follower(self) -> Follower:
        return Follower(
            session=self.session,
            job=self.job,
            main=self.plan.manifest.main.name,
            has_sidecars=len(self.plan.manifest.containers) > 1,
            restarts=self.plan.manifest.restarts,
            deliver=self._output.deliver if self.watching.stream_output else None,
            journal=self.journal,
            # One request for each job that prints nothing would grow with the jobs; the commands' own messages tell as much.
            settings=self.settings.model_copy(update={"waiting_report_seconds": math.inf}),
            interval_seconds=_INTERVAL_SECONDS,
            timeout_seconds=self.watching.timeout_seconds,
            older=self._submitter().older_than,
            observe=self._observe,
        )

    def _observe(self, command: Command) -> None:
        self._command = command

    async def _store_pid(self) -> None:
        try:
            await self.prefect.update_flow_run(self.run_id, infrastructure_pid=self.job.ref.pid)
        except Exception as error:  # noqa: BLE001 - the tags find the job too
            self.journal.warning(Area.JOB, f"The infrastructure pid could not be stored on the flow run: {error!r}")

    async def _guard(self, entry: Watched) -> None:
        """Stop the job when its flow run asks for that."""
        policy, supervised = self.settings.policy(), self.watching.has_supervisor
        while True:
            state = entry.state
            has_begun = await self._has_begun() if state is not None else None
            if state is None or has_begun is None:
                await entry.wait(None if state is None else self.settings.flow_run_poll_seconds)
                continue
            kind, lasted = RunState(state.type.value), await self.board.now() - state.timestamp
            match decide.job_after(kind, lasted, policy, has_begun=has_begun, has_supervisor=supervised):
                case KeepJob(at_most):
                    await entry.wait(None if at_most is None else at_most.total_seconds())
                case StopJob(reason):
                    if await self._is_still(state, entry) and await self._stop(reason):
                        return
                    await anyio.sleep(_LOOK_SECONDS)

    async def _is_still(self, state: State, entry: Watched) -> bool:
        """Look whether the run is in this state still: the board tells of no way back to one that is not noteworthy.

        Prefect's server lets a run that has crashed or failed run on.
        """
        try:
            present = (await self.prefect.read_flow_run(self.run_id)).state
        except ObjectNotFound:
            return True
        except Exception as error:  # noqa: BLE001 - asked again soon, and until then nothing is stopped
            self.journal.debug(Area.KILL, f"The flow run cannot be read before its job is stopped: {error!r}")
            return False
        if present is not None and present.id == state.id:
            return True
        entry.forget(state)
        return False

    async def _has_begun(self) -> bool | None:
        try:
            return orchestration.has_begun(await self.prefect.read_flow_run_states(self.run_id))
        except Exception as error:  # noqa: BLE001 - asked again soon
            self.journal.debug(Area.KILL, f"The history of the flow run cannot be read: {error!r}")
            return None

    async def _stop(self, reason: str) -> bool:
        stopped = await stop.stop(
            self.session.client,
            self.job.ref,
            location=self.job.location,
            reason=reason,
            grace_seconds=self.settings.stop_grace_seconds,
            journal=self.journal,
        )
        if not stopped.verified:
            self.journal.warning(Area.KILL, f"The job may still run, stopping it again: {stopped.evidence}")
        return stopped.verified

    async def _announce(self) -> None:
        """Say that the platform has not started the container yet, and why not if it tells."""
        await anyio.sleep(_ANNOUNCE_SECONDS)
        told: set[str] = set()
        while self._is_starting():
            text = "; ".join(self._messages())
            if text not in told:
                told.add(text)
                await self._say_pending(text)
            if _NO_IMAGE.search(text) and time.monotonic() - self.job.started >= self.watching.start_seconds:
                self._no_start = f"the container did not start within {self.watching.start_seconds:g} s: {text}"
                await self._stop(self._no_start)
                return
            await anyio.sleep(_LOOK_SECONDS)

    def _is_starting(self) -> bool:
        return self._command is None or self._command.lifecycle_stage == Stage.PENDING

    def _messages(self) -> list[str]:
        found = self._command.status.messages if self._command else []
        return [str(message.get("message", message)) if isinstance(message, dict) else str(message) for message in found]

    async def _say_pending(self, text: str) -> None:
        if text:
            self.journal.warning(Area.JOB, f"The platform has not started the container: {text}")
        message = f"The platform starts the container at {self.plan.location}" + (f": {text}" if text else "")
        try:
            state: State[None] = InfrastructurePending(message=message)
            await orchestration.propose(
                self.prefect, self.run_id, state, only_from={StateType.PENDING}, unless=None if text else _PENDING_NAME
            )
        except Exception as error:  # noqa: BLE001 - it is for people who look
            self.journal.debug(Area.JOB, f"The state {_PENDING_NAME} could not be proposed: {error!r}")

    # After

    async def _propose_cancelled(self, why: str, from_types: Collection[StateType] = _UNDER_WAY) -> None:
        if await orchestration.propose(self.prefect, self.run_id, Cancelled(message=why), only_from=from_types):
            self.journal.info(Area.KILL, f"The flow run is Cancelled: {why}")

    async def _fail_run(self, fate: Fate, why: str) -> None:
        if not orchestration.has_begun(await self.prefect.read_flow_run_states(self.run_id)):
            await self._tell_last_lines()
        text = f"{why}; pid {self.job.ref.pid}\n{failure.Place(self.job, is_kept=True)}"
        state: State[None] = Failed(message=text) if fate is Fate.FAILED else Crashed(message=text)
        if await orchestration.propose(self.prefect, self.run_id, state, only_from={StateType.PENDING, StateType.RUNNING}):
            self.journal.error(Area.JOB, f"The flow run is {state.name}: {text}")

    async def _tell_last_lines(self) -> None:
        """Forward the end of the log of every container: the flow could not report, so this is all there is."""
        if not self.watching.stream_output:
            stream = LogStream(
                source=LogSource(self.session.client, self.job.ref.org, log_lines.selector(self.job.ref, self.job.location)),
                deliver=self._output.deliver,
                journal=self.journal,
                since_ns=self.job.since_ns,
                pace=Pace.of(self.settings),
                now_ns=self.session.client.now_ns,
            )
            await stream.settle(self._ended)  # the last lines, which say why it has died, are the ones that come late
            await stream.drain()
        self._output.flush()

    async def _know_output(self) -> None:
        """Learn which lines of a job that was found are in the flow run's logs already, so that none comes twice."""
        if not self.job.adopted or not self.watching.stream_output:
            return
        try:
            shown, since_ns = await self._shown()
        except Exception as error:  # noqa: BLE001 - lines that come twice are better than none
            self.journal.debug(Area.LOGS, f"The flow run's logs cannot be read: {error!r}")
            return
        self._output = self._output_with(shown)
        self._job = replace(self.job, since_ns=max(self.job.since_ns, since_ns))

    async def _shown(self) -> tuple[Shown, int]:
        """Return the newest lines that stand in the flow run's logs, and from when on those are all; not more than needed."""
        most = _KNOWN_LINES
        while True:
            messages = await orchestration.newest_messages(self.prefect, self.run_id, most)
            shown = Shown(messages)
            if len(messages) < most:
                return shown, 0
            since_ns = output.read_from_ns(shown)
            if since_ns is not None or most >= _MOST_KNOWN_LINES:
                return shown, since_ns or 0
            most *= 4
