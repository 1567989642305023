"""The worker as Prefect sees it: run, follow, kill and take over the jobs of flow runs."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import copy
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any
from uuid import UUID

import anyio
import anyio.abc
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import InfrastructureNotAvailable, ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Crashed, Submitting
from prefect.workers.base import BaseWorker

from cpln_flows import orchestration
from cpln_flows.api import workloads
from cpln_flows.blocks.credentials import DOCUMENTATION_URL, LOGO_URL
from cpln_flows.errors import (
    ConfigurationError,
    CplnError,
    ManifestError,
    RateLimitedError,
    ServerError,
    SubmissionUnknownError,
    TransportError,
    UnexpectedResponseError,
)
from cpln_flows.jobs import access, kill, session
from cpln_flows.jobs.plan import JobPlan
from cpln_flows.jobs.session import JobSession
from cpln_flows.jobs.submit import StartedJob
from cpln_flows.logger import Journal
from cpln_flows.model import addresses
from cpln_flows.model.identifiers import Area, LogContext
from cpln_flows.model.links import GvcRef
from cpln_flows.settings import ApiSettings, CplnSettings
from cpln_flows.worker import failures, flow_run_job, left_behind, prefect_internals, roster
from cpln_flows.worker.configuration import (
    CplnWorkerJobConfiguration,
    CplnWorkerResult,
    CplnWorkerVariables,
)
from cpln_flows.worker.failures import FlowRunLogger
from cpln_flows.worker.flow_run_job import FlowRunJob, Watching
from cpln_flows.worker.flow_runs import FlowRunBoard
from cpln_flows.worker.left_behind import Seen
from cpln_flows.worker.roster import Identity
from cpln_flows.worker.secret_keeper import SecretKeeper
from cpln_flows.worker.takeover import Watch

_AT_ONCE = 10
_CAN_CRASH = frozenset({StateType.PENDING, StateType.RUNNING})
_LEAVE_SECONDS = 3.0
# None of these means that another attempt would fail too.
_PASSING = (
    TransportError,
    ServerError,
    RateLimitedError,
    UnexpectedResponseError,
    SubmissionUnknownError,
)


class CplnWorker(BaseWorker[CplnWorkerJobConfiguration, CplnWorkerVariables, CplnWorkerResult]):
    """Runs the flow runs of a work pool as jobs on Control Plane.

    Example:
        Create a work pool and start a worker:
        ```bash
        prefect work-pool create cpln --type cpln
        prefect worker start --pool cpln --type cpln
        ```
    """

    type = "cpln"
    job_configuration = CplnWorkerJobConfiguration
    job_configuration_variables: builtins.type[CplnWorkerVariables] | None = CplnWorkerVariables

    _display_name = "Control Plane"
    _description = (
        "Execute flow runs as jobs on Control Plane (cpln), each in a container of a cron workload."
    )
    _documentation_url = str(DOCUMENTATION_URL)
    _logo_url = str(LOGO_URL)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Shared by all flow runs; what belongs to one run stays in its FlowRunJob.
        self._settings = CplnSettings.load()
        self._connections = AsyncExitStack()
        self._sessions: dict[ApiSettings, JobSession] = {}
        self._board: FlowRunBoard | None = None
        self._looking: asyncio.Task[None] | None = None
        self._installation: UUID | None = None
        # Prefect prepares every run it finds at the same time. Its server handles about 40 changes
        # a second however many are requested. On SQLite it refuses some of several hundred, which
        # would crash their runs.
        self._preparing = anyio.CapacityLimiter(_AT_ONCE)
        self._followed: set[UUID] = set()
        self._done: dict[UUID, str] = {}  # with the record of the worker process each belonged to
        self._scopes: dict[UUID, anyio.CancelScope] = {}
        self._identity = Identity.of(self.name, is_given=bool(kwargs.get("name") or args[2:3]))
        self._watch: Watch | None = None
        self._watching: asyncio.Task[None] | None = None
        self._looks, self._claims = anyio.Lock(), anyio.Lock()
        self._secrets = SecretKeeper(self._settings.store_prefect_api_in_secret, self._journal)
        self._validated = False
        # A worker that only submits one flow from somebody's program must not follow other runs.
        self._serves = False

    def get_flow_run_logger(self, flow_run: FlowRun) -> FlowRunLogger:
        """Return the logger of a flow run, which omits the traceback of this library's errors."""
        return FlowRunLogger.of(super().get_flow_run_logger(flow_run))

    # Life of the worker

    async def start(self, *args: Any, **kwargs: Any) -> None:
        """Serve the pool; the parameters are those of Prefect."""
        self._serves = True
        await super().start(*args, **kwargs)

    async def setup(self) -> None:
        """Connect to Prefect, validate access to the platform, and take over abandoned runs."""
        for member in prefect_internals.missing(self):
            self._journal.error(
                Area.INIT,
                f"This version of Prefect differs from the one this worker supports: {member}",
            )
        await super().setup()
        self._looking = asyncio.create_task(self._flow_runs.look_for_ever())
        if self._serves:
            self._watching = asyncio.create_task(self._watch_others())

    async def teardown(self, *exc_info: Any) -> None:
        """Release everything; jobs keep running, and the next worker or sync takes them over."""
        for task in (self._looking, self._watching):
            if task is not None:
                task.cancel()
        await self._leave()
        try:
            await super().teardown(*exc_info)
        finally:
            self._board = self._watch = None
            self._sessions.clear()
            with anyio.CancelScope(shield=True):
                await self._connections.aclose()

    async def sync_with_backend(self) -> None:
        """Send the heartbeat, as Prefect does; then look for runs that nobody follows."""
        await super().sync_with_backend()
        if self._work_pool is None or self._runs_task_group is None:
            return
        if not self._validated:
            self._validated = True
            await self._validate()
        if not self._serves:
            return
        try:
            await self._others.beat()
            await self._look()
        except Exception as error:  # noqa: BLE001 - the next heartbeat looks again
            self._logger.warning("Could not look for abandoned flow runs, will retry: %r", error)

    async def _watch_others(self) -> None:
        """Show that this process is alive; look for abandoned runs once another falls silent."""
        while True:
            await anyio.sleep(self._others.interval_seconds)
            try:
                if await self._others.has_news():
                    await self._look()
            except Exception as error:  # noqa: BLE001 - the next look may succeed
                self._logger.debug(
                    "Could not check the other worker processes, will retry: %r", error
                )

    async def _leave(self) -> None:
        """Announce that this process ends, so that its runs are taken over at once."""
        if self._watch is None or self._client is None:
            return
        with anyio.move_on_after(_LEAVE_SECONDS, shield=True):
            try:
                await self._watch.leave(owes=bool(self._followed or self._submitting_flow_run_ids))
            except Exception as error:  # noqa: BLE001 - others infer it from its silence
                self._logger.debug("Could not report the end of this worker process: %r", error)

    async def _look(self) -> None:
        """Take over the runs that nobody follows, and release those that others took over."""
        async with self._looks:
            seen = await self._others.look()
            # No waiting from here on: what this process follows now is compared with what was
            # seen.
            listed = {run.id for run in (*seen.under_way, *seen.ended)}
            self._done = {
                run_id: record for run_id, record in self._done.items() if run_id in listed
            }
            lost = [run for run in seen.under_way if self._is_lost(run)]
            for run in self._left_behind(seen):
                self._followed.add(run.id)
                self._start_soon(self._take_up, run)
            for run in lost:
                self._start_soon(self._let_go_if_lost, run)
            await self._others.settle(seen, frozenset(self._followed))

    def _left_behind(self, seen: Seen) -> list[FlowRun]:
        """Return the runs that nobody follows."""
        unknown = [run for run in seen.under_way if not self._knows(run)]
        found = [run for run in unknown if left_behind.is_left_behind(run, seen)]
        return found + [
            run
            for run in seen.ended
            if not self._knows(run) and left_behind.may_lack_lines(run, seen)
        ]

    def _knows(self, run: FlowRun) -> bool:
        """Whether this process follows a run, or has done all that it can do about it."""
        has_finished = run.id in self._done and roster.owner(run) in (None, self._done[run.id])
        return has_finished or run.id in self._followed or run.id in self._submitting_flow_run_ids

    def _is_lost(self, run: FlowRun) -> bool:
        """Whether another process owns a run that this one follows."""
        return run.id in self._scopes and roster.owner(run) not in (None, self._identity.record)

    async def _let_go_if_lost(self, run: FlowRun) -> None:
        """Release a run that another process has taken over.

        This process was silent for too long, or the other one was just as fast.
        """
        try:
            present = await self.client.read_flow_run(run.id)
        except Exception as error:  # noqa: BLE001 - the next look sees it again
            self._logger.debug("Could not read flow run %s: %r", run.id, error)
            return
        scope = self._scopes.get(run.id)
        if scope is not None and self._is_lost(present):
            self._logger.warning(
                "Flow run %s is now followed by worker process %s", run.id, roster.owner(present)
            )
            scope.cancel()

    # What Prefect asks for

    async def run(
        self,
        flow_run: FlowRun,
        configuration: CplnWorkerJobConfiguration,
        task_status: anyio.abc.TaskStatus[Any] | None = None,
    ) -> CplnWorkerResult:
        """Run a flow run's container to its end.

        Args:
            flow_run: The flow run.
            configuration: The configuration to run it with.
            task_status: Receives the infrastructure pid, once there is a job.

        Returns:
            The pid, and the exit code of the main container. There is no pid if the run was over or
            cancelled before there was a job.
        """
        result, is_told = CplnWorkerResult(identifier="", status_code=0), task_status is None
        with self._following(flow_run.id):
            prepared = await self._flow_run_job(flow_run, configuration)
            self._is_prepared(flow_run.id)
            job = await prepared.start(flow_run.infrastructure_pid)
            if task_status is not None:
                # Given no pid, Prefect stores none.
                task_status.started(job.ref.pid if job is not None else None)
                is_told = True
            if job is not None:
                result = await self._follow(prepared)
        if task_status is not None and not is_told:
            task_status.started(None)
        return result

    async def kill_infrastructure(
        self,
        infrastructure_pid: str,
        configuration: CplnWorkerJobConfiguration,
        grace_seconds: int = 30,
    ) -> None:
        """Stop a job and verify that it has ended.

        Raises:
            InfrastructureNotFound: There is no such job, or it is over.
            InfrastructureNotAvailable: This worker may not stop it, or it did not stop.
        """
        try:
            own = configuration.gvc(self._settings)
        except ConfigurationError as error:
            raise InfrastructureNotAvailable(str(error)) from None
        ref = kill.own_job(infrastructure_pid, own, "work pool's are")
        shared = await self._session(configuration.api_settings(self._settings))
        await kill.kill(shared.client, ref, grace_seconds=grace_seconds, journal=self._journal)

    async def _submit_run(self, flow_run: FlowRun) -> None:
        """Submit a run as Prefect does, but only a few at a time until the platform has them."""
        await self._preparing.acquire_on_behalf_of(flow_run.id)
        try:
            await super()._submit_run(flow_run)
        except Exception:
            # It would end the whole worker. A Scheduled run is found again, and a Pending one is
            # taken over again.
            self._logger.exception("Could not submit flow run %s, will retry", flow_run.id)
            self._submitting_flow_run_ids.discard(flow_run.id)
            self._release_limit_slot(flow_run.id)
        finally:
            self._is_prepared(flow_run.id)

    async def _propose_pending_state(self, flow_run: FlowRun) -> bool:
        """Propose Pending if the run is still scheduled.

        While it waited here, another worker may have run it to its end, and Prefect's server lets a
        run that has crashed or failed become Pending, and so run once more.

        The run gets this process's labels before that, not afterward as Prefect would do it. So if
        this process is killed at any moment, a Pending run shows which process it belonged to.
        """
        state = (await self.client.read_flow_run(flow_run.id)).state
        if state is not None and not state.is_scheduled():
            self.get_flow_run_logger(flow_run).info(
                "Not submitted: the flow run is %s by now", state.name
            )
            return False
        await self._give_worker_labels_to_flow_run(flow_run.id)
        return await super()._propose_pending_state(flow_run)

    async def _give_worker_labels_to_flow_run(self, flow_run_id: UUID) -> None:
        """Label a run as Prefect does, and with what identifies this process.

        Prefect calls it once more when the run is Pending: if two workers propose Pending at once,
        the refused one may have been the last to label the run.
        """
        if self._client is None:
            return
        labels: dict[str, Any] = {"prefect.worker.type": self.type, **self._identity.labels}
        if self._work_pool is not None:
            labels |= {
                "prefect.work-pool.name": self._work_pool.name,
                "prefect.work-pool.id": str(self._work_pool.id),
            }
        await self._client.update_flow_run_labels(flow_run_id, labels)

    async def _propose_submitting_state(self, flow_run: FlowRun) -> None:
        """Propose Submitting for a run that is Pending.

        Prefect's own method would undo a cancellation of that moment.
        """
        try:
            await orchestration.propose(
                self.client, flow_run.id, Submitting(), only_from={StateType.PENDING}
            )
        except Exception as error:  # noqa: BLE001 - the state is only informative
            self._logger.debug(
                "Could not propose Submitting for flow run %s: %r", flow_run.id, error
            )

    def _is_prepared(self, run_id: UUID) -> None:
        with contextlib.suppress(RuntimeError):  # it was released before
            self._preparing.release_on_behalf_of(run_id)

    async def _initiate_run(
        self, flow_run: FlowRun, configuration: CplnWorkerJobConfiguration
    ) -> None:
        """Start a flow run's container; whoever submitted it waits for the flow run itself."""
        prepared = await self._flow_run_job(flow_run, configuration)
        job = await prepared.start(flow_run.infrastructure_pid)
        if job is not None:
            await self.client.update_flow_run(flow_run.id, infrastructure_pid=job.ref.pid)

    async def _propose_crashed_state(
        self, flow_run: FlowRun, message: str, client: PrefectClient | None = None
    ) -> None:
        """Propose Crashed, or Cancelled if the run has been cancelled in the meantime.

        A run that is waiting or over keeps its state.
        """
        prefect, logger = client or self.client, self.get_flow_run_logger(flow_run)
        proposals: Sequence[tuple[State[None], Collection[StateType]]]
        proposals = (
            (Crashed(message=message), _CAN_CRASH),
            (Cancelled(message=message), {StateType.CANCELLING}),
        )
        try:
            for state, only_from in proposals:
                if await orchestration.propose(prefect, flow_run.id, state, only_from=only_from):
                    what, *_ = message.split(": ", maxsplit=1)  # the reason is logged already
                    logger.info(
                        "Reported flow run '%s' as %s: %s",
                        flow_run.id,
                        state.type.value.lower(),
                        what,
                    )
                    return
        except ObjectNotFound:
            self._logger.debug(
                "Flow run %s was deleted before this could be reported: %s", flow_run.id, message
            )
        except Exception:
            logger.exception(
                "The state of flow run '%s' could not be updated; the sync flow will do it: %s",
                flow_run.id,
                message,
            )

    # One flow run

    async def _flow_run_job(
        self, flow_run: FlowRun, configuration: CplnWorkerJobConfiguration
    ) -> FlowRunJob:
        known = LogContext(
            configuration.flow_name, flow_run.id, configuration.namespace or self._settings.gvc
        )
        with failures.preparing(Journal(self.get_flow_run_logger(flow_run), known)):
            return await self._prepared_job(flow_run, configuration)

    async def _prepared_job(
        self, flow_run: FlowRun, configuration: CplnWorkerJobConfiguration
    ) -> FlowRunJob:
        settings = self._settings
        gvc = configuration.gvc(settings)
        shared = await self._session(configuration.api_settings(settings))
        installation = await self._installation_id()
        identity = await orchestration.container_identity(
            self.client,
            flow_run,
            flow_name=configuration.flow_name,
            installation=installation,
            agent=settings.workload or self.name,
        )
        plan = await self._plan(shared, configuration, identity, gvc, installation)
        context = LogContext(configuration.flow_name, flow_run.id, gvc.gvc)
        return FlowRunJob(
            prefect=self.client,
            session=shared,
            board=self._flow_runs,
            plan=plan,
            run_id=flow_run.id,
            base_journal=Journal(self.get_flow_run_logger(flow_run), context),
            settings=settings,
            watching=Watching(
                has_supervisor=configuration.is_using_a_runner,
                stream_output=configuration.stream_output,
                timeout_seconds=configuration.job_watch_timeout_seconds,
                start_seconds=configuration.pod_watch_timeout_seconds
                or settings.ready_timeout_seconds,
            ),
            is_ours=self._is_ours,
        )

    def _is_ours(self, run: FlowRun) -> bool:
        """Whether this process may start a run's job."""
        return not self._serves or roster.owner(run) in (None, self._identity.record)

    async def _plan(
        self,
        shared: JobSession,
        configuration: CplnWorkerJobConfiguration,
        identity: orchestration.JobIdentity,
        gvc: GvcRef,
        installation: UUID,
    ) -> JobPlan:
        location = configuration.wanted_location(self._settings)
        # What is wrong with the manifest is reported before any call to the platform.
        plan = configuration.plan(identity, gvc, location or "")
        if location is None:
            plan = replace(plan, location=await _first_location(shared, gvc))
        return await self._secrets.kept(shared.client, plan, configuration.secrets, installation)

    async def _follow(self, prepared: FlowRunJob) -> CplnWorkerResult:
        code = await prepared.follow()
        if await prepared.conclude() and self._runs_task_group is not None:
            self._runs_task_group.start_soon(self._look_again, prepared)
        return CplnWorkerResult(identifier=prepared.job.ref.pid, status_code=code)

    async def _look_again(self, prepared: FlowRunJob) -> None:
        """Check once more a run whose container ended well while the run has no final state.

        Its slot is free in the meantime.
        """
        await anyio.sleep(self._settings.report_grace_seconds)
        await prepared.conclude(has_waited=True)

    async def _take_up(self, flow_run: FlowRun) -> None:
        """Follow a run that its worker abandoned; start its container if it has none yet."""
        has_ended = flow_run.state is not None and flow_run.state.is_final()
        try:
            if has_ended and await self._has_whole_log(flow_run):
                self._let_go(flow_run.id, roster.owner(flow_run))
                return
            if self._limiter is not None and not has_ended:
                await self._limiter.acquire_on_behalf_of(flow_run.id)
            mine = await left_behind.claim(self.client, flow_run, self._identity, self._claims)
            if mine is None:
                self._followed.discard(flow_run.id)  # its new worker may die too
                return
            await self._preparing.acquire_on_behalf_of(flow_run.id)
            with self._following(flow_run.id):
                await self._go_on_with(mine)
        except Exception:
            self._followed.discard(flow_run.id)  # the next heartbeat tries again
            self._logger.exception("Could not take over abandoned flow run %s", flow_run.id)
        finally:
            self._is_prepared(flow_run.id)
            self._release_limit_slot(flow_run.id)

    async def _has_whole_log(self, flow_run: FlowRun) -> bool:
        """Whether the whole log of an ended run was delivered.

        The worker reports the end of a job right after its log, so this needs no mark of its own,
        and no request at the end of each run. If it is unknown, the log is delivered again, but
        only the lines that are missing.
        """
        messages = await orchestration.newest_messages(self.client, flow_run.id, orchestration.PAGE)
        return flow_run_job.reports_end(messages, flow_run.infrastructure_pid)

    async def _go_on_with(self, flow_run: FlowRun) -> None:
        prepared = await self._prepared_again(flow_run)
        if prepared is None:
            return
        job = await prepared.find(flow_run.infrastructure_pid)
        if job is None:
            job = await self._without_job(flow_run, prepared)
        self._is_prepared(flow_run.id)
        if job is None:
            return
        prepared.journal.info(Area.JOB, f"Taken over by worker {self.name}")
        if job.ref.pid != flow_run.infrastructure_pid:
            await self.client.update_flow_run(flow_run.id, infrastructure_pid=job.ref.pid)
        result = await self._follow(prepared)
        if result.status_code:
            self._logger.info(
                "Flow run %s ended with exit code %s", flow_run.id, result.status_code
            )

    async def _prepared_again(self, flow_run: FlowRun) -> FlowRunJob | None:
        """Prepare the job of a run that was taken over.

        If that is impossible, the run ends and the result is ``None``.
        """
        try:
            await self._give_worker_labels_to_flow_run(flow_run.id)
            configuration = await self.job_configuration.resolve_for_flow_run(
                flow_run,
                client=self.client,
                work_pool=copy.deepcopy(self.work_pool),
                worker_name=self.name,
                worker_id=self.backend_id,
            )
            return await self._flow_run_job(flow_run, configuration)
        except (ConfigurationError, ManifestError, ValueError) as error:
            if not _is_pending(flow_run):
                raise
            await self._propose_crashed_state(flow_run, _not_submitted(error))
        return None

    async def _without_job(self, flow_run: FlowRun, prepared: FlowRunJob) -> StartedJob | None:
        """Handle a run that was taken over without a job: start its job, or conclude the run."""
        if _is_pending(flow_run):
            try:
                return await prepared.start(flow_run.infrastructure_pid)
            except _PASSING:
                raise
            except CplnError as error:
                await self._propose_crashed_state(flow_run, _not_submitted(error))
        elif flow_run.state is not None and flow_run.state.is_cancelling():
            await prepared.cancel_without_job()
        elif flow_run.state is None or not flow_run.state.is_final():
            prepared.journal.warning(
                Area.JOB, "No job of this flow run was found; the sync flow decides about it"
            )
        return None

    @contextlib.contextmanager
    def _following(self, run_id: UUID) -> Iterator[None]:
        """Follow a run until it is released.

        If this worker ends in between, the run still belongs to it.
        """
        self._followed.add(run_id)
        scope = self._scopes[run_id] = anyio.CancelScope()
        try:
            with scope:
                yield
        except Exception:
            self._let_go(run_id)
            raise
        else:
            if scope.cancelled_caught:
                self._followed.discard(run_id)
            else:
                self._let_go(run_id)
        finally:
            self._scopes.pop(run_id, None)

    def _let_go(self, run_id: UUID, record: str | None = None) -> None:
        """Stop following a run, and leave it to the sync flow.

        Do not take it over again, unless another worker process has had it since.
        """
        self._done[run_id] = record or self._identity.record
        self._followed.discard(run_id)

    def _start_soon(
        self, function: Callable[[FlowRun], Coroutine[Any, Any, None]], run: FlowRun
    ) -> None:
        if self._runs_task_group is not None:
            self._runs_task_group.start_soon(function, run)

    # What is shared

    @property
    def _journal(self) -> Journal:
        return Journal(self._logger)

    @property
    def _others(self) -> Watch:
        if self._watch is None:
            seconds = self.heartbeat_interval_seconds
            self._watch = Watch(
                self.client, self._work_pool_name, self._identity, seconds, self._journal
            )
        return self._watch

    @property
    def _flow_runs(self) -> FlowRunBoard:
        if self._board is None:
            self._board = FlowRunBoard(self.client, self._settings.flow_run_poll_seconds)
        return self._board

    async def _session(self, settings: ApiSettings) -> JobSession:
        if settings not in self._sessions:
            self._sessions[settings] = await self._connections.enter_async_context(
                session.shared(settings)
            )
        return self._sessions[settings]

    async def _installation_id(self) -> UUID:
        if self._installation is None:
            self._installation = await orchestration.installation(self.client)
        return self._installation

    async def _validate(self) -> None:
        """Report early what is wrong with the pool's defaults, which a deployment may correct."""
        if addresses.is_loopback(url := PREFECT_API_URL.value()):
            shown = addresses.without_credentials(url)
            self._journal.warning(
                Area.INIT,
                f"PREFECT_API_URL of this worker, {shown}, points containers on other machines back"
                " to themselves; set PREFECT_API_URL in the work pool's environment variables",
            )
        try:
            template = copy.deepcopy(self.work_pool.base_job_template)
            configuration = await self.job_configuration.from_template_and_values(
                template, {}, client=self.client
            )
            gvc = configuration.gvc(self._settings)
            location = configuration.wanted_location(self._settings)
            configuration.add_base_environment()
            plan = configuration.plan(orchestration.JobIdentity.anonymous(), gvc, location or "")
            shared = await self._session(configuration.api_settings(self._settings))
            said = await access.validate(shared.client, gvc, location)
            await self._secrets.kept(
                shared.client, plan, configuration.secrets, await self._installation_id()
            )
        except Exception as error:  # noqa: BLE001 - it is reported, and the worker is still useful
            self._journal.error(Area.INIT, f"Not ready to run jobs: {error}")
        else:
            self._journal.about(gvc=gvc.gvc).info(Area.INIT, f"Ready: {said}")


def _is_pending(run: FlowRun) -> bool:
    return run.state is not None and run.state.type is StateType.PENDING


def _not_submitted(error: Exception) -> str:
    """Return the message that Prefect's own worker has in the same case."""
    return f"Failed to submit flow run to infrastructure: {type(error).__name__}: {error}"


async def _first_location(shared: JobSession, gvc: GvcRef) -> str:
    found = await workloads.first_location(shared.client, gvc)
    if not found:
        raise ConfigurationError(
            f"location: none given, CPLN_LOCATION is not set, and {gvc.path} has no locations"
        )
    return found
