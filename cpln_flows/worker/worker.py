"""The worker as Prefect sees it: start a flow run's container, follow it, kill it, take up what another worker has left."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import math
import time
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import anyio
import anyio.abc
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import InfrastructureNotAvailable, InfrastructureNotFound, ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Crashed, Submitting
from prefect.workers.base import BaseWorker

from cpln_flows import orchestration
from cpln_flows.api import workloads
from cpln_flows.blocks.credentials import DOCUMENTATION_URL, LOGO_URL
from cpln_flows.errors import ConfigurationError, CplnError
from cpln_flows.jobs import access, session, stop
from cpln_flows.jobs.journal import Journal
from cpln_flows.jobs.plan import JobPlan
from cpln_flows.jobs.session import JobSession
from cpln_flows.model import addresses
from cpln_flows.model.identifiers import Area, LogContext
from cpln_flows.model.links import CommandRef, GvcRef
from cpln_flows.settings import ApiSettings, CplnSettings
from cpln_flows.worker import failures, left_behind
from cpln_flows.worker.configuration import CplnWorkerJobConfiguration, CplnWorkerResult, CplnWorkerVariables
from cpln_flows.worker.container import Container, Watching
from cpln_flows.worker.failures import FlowRunLogger
from cpln_flows.worker.flow_runs import FlowRunBoard
from cpln_flows.worker.hidden import HiddenVariables, hide, to_hide, with_identity

_AT_ONCE = 10
_CAN_CRASH = frozenset({StateType.PENDING, StateType.RUNNING})
# What was made for the hidden variables may have been deleted meanwhile, by people or by a clean-up.
_HIDDEN_SECONDS = 3600.0


class CplnWorker(BaseWorker[CplnWorkerJobConfiguration, CplnWorkerVariables, CplnWorkerResult]):
    """Runs the flow runs of a work pool as jobs on Control Plane.

    Example:
        Make a work pool and start a worker:
        ```bash
        prefect work-pool create cpln --type cpln
        prefect worker start --pool cpln --type cpln
        ```
    """

    type = "cpln"
    job_configuration = CplnWorkerJobConfiguration
    job_configuration_variables = CplnWorkerVariables

    _display_name = "Control Plane"
    _description = "Execute flow runs as jobs on Control Plane (cpln), each in a container of a cron workload."
    _documentation_url = str(DOCUMENTATION_URL)
    _logo_url = str(LOGO_URL)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Shared by all flow runs; what belongs to one run stays in its Container.
        self._settings = CplnSettings.load()
        self._connections = AsyncExitStack()
        self._sessions: dict[ApiSettings, JobSession] = {}
        self._board: FlowRunBoard | None = None
        self._looking: asyncio.Task[None] | None = None
        self._installation: UUID | None = None
        # Prefect prepares every run it finds at the same time. Its server takes about 40 changes a second however many ask, and
        # on SQLite it refuses some of hundreds, which would crash their runs.
        self._preparing = anyio.CapacityLimiter(_AT_ONCE)
        self._followed: set[UUID] = set()
        self._done: set[UUID] = set()
        self._to_hide: dict[str, HiddenVariables] = {}
        self._hidden: dict[tuple[GvcRef, str | None, str], float] = {}
        self._validated = False
        # A worker that only submits one flow from somebody's program must not begin to follow the runs of others.
        self._serves = False

    def get_flow_run_logger(self, flow_run: FlowRun) -> FlowRunLogger:
        """Return the logger of a flow run, which takes an error of ours for what it is."""
        return FlowRunLogger.of(super().get_flow_run_logger(flow_run))

    # Life of the worker

    async def start(self, *args: Any, **kwargs: Any) -> None:
        """Serve the pool; the parameters are Prefect's."""
        self._serves = True
        await super().start(*args, **kwargs)

    async def setup(self) -> None:
        """Connect to Prefect, validate access to the platform, and take up what was left behind."""
        await super().setup()
        self._looking = asyncio.create_task(self._flow_runs.look_for_ever())

    async def teardown(self, *exc_info: Any) -> None:
        """Let go of everything; jobs run on, and the next worker or the sync flow takes them up."""
        if self._looking is not None:
            self._looking.cancel()
        try:
            await super().teardown(*exc_info)
        finally:
            self._board = None
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
            found = await self._left_behind()
        except Exception as error:  # noqa: BLE001 - the next heartbeat looks again
            self._logger.warning("It could not be looked for runs that were left behind: %r", error)
            return
        for run in found:
            self._followed.add(run.id)
            self._runs_task_group.start_soon(self._take_up, run)

    async def _left_behind(self) -> list[FlowRun]:
        """Return the runs that nobody follows."""
        runs = await left_behind.under_way(self.client, self._work_pool_name)
        self._done &= {run.id for run in runs}
        known = self._followed | self._submitting_flow_run_ids | self._done
        unknown = [run for run in runs if run.id not in known]
        if not unknown:
            return []
        online, now = await left_behind.online(self.client, self._work_pool_name), datetime.now(UTC)
        return [run for run in unknown if left_behind.is_left_behind(run, name=self.name, online=online, now=now)]

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
            configuration: What it is run with.
            task_status: Told the infrastructure pid, once there is a job.

        Returns:
            The pid and the exit code of the main container; no pid if the run was over, or cancelled, before there was a job.
        """
        self._followed.add(flow_run.id)
        try:
            container = await self._container(flow_run, configuration)
            self._is_prepared(flow_run.id)
            job = await container.start(flow_run.infrastructure_pid)
            if task_status is not None:
                task_status.started(job.ref.pid if job is not None else None)  # with no pid Prefect stores none
            return await self._follow(container) if job is not None else CplnWorkerResult(identifier="", status_code=0)
        finally:
            self._let_go(flow_run.id)

    async def kill_infrastructure(
        self, infrastructure_pid: str, configuration: CplnWorkerJobConfiguration, grace_seconds: int = 30
    ) -> None:
        """Stop a job and see that it is over.

        Raises:
            InfrastructureNotFound: There is no such job, or it is over.
            InfrastructureNotAvailable: It is not this worker's to stop, or it did not stop.
        """
        ref, journal = self._ref_of(infrastructure_pid, configuration), self._journal
        journal = journal.about(gvc=ref.gvc, workload=ref.workload, command_id=ref.command_id)
        shared = await self._session(configuration.api_settings(self._settings))
        evidence = ""
        try:
            for reason in ("Prefect asks for it", "it did not end when it was asked to"):
                stopped = await stop.stop(
                    shared.client,
                    ref,
                    location="",  # the job knows it
                    reason=reason,
                    grace_seconds=grace_seconds,
                    journal=journal,
                )
                if stopped.verified and not (stopped.was_sent or evidence):
                    raise InfrastructureNotFound(f"job {ref.pid} is over: {stopped.evidence}")
                if stopped.verified:
                    return
                evidence = stopped.evidence
        except CplnError as error:
            evidence = str(error)
        journal.warning(Area.KILL, f"The job could not be stopped and may still run: {evidence}")
        raise InfrastructureNotAvailable(f"job {ref.pid} could not be stopped and may still run: {evidence}")

    async def _submit_run(self, flow_run: FlowRun) -> None:
        """Submit a run as Prefect does, a few at a time until they are the platform's."""
        await self._preparing.acquire_on_behalf_of(flow_run.id)
        try:
            await super()._submit_run(flow_run)
        finally:
            self._is_prepared(flow_run.id)

    async def _propose_pending_state(self, flow_run: FlowRun) -> bool:
        """Propose Pending if the run is scheduled still: while it waited here another worker may have run it to its end.

        Prefect's server lets a run that has crashed or failed become Pending, and so run once more.
        """
        state = (await self.client.read_flow_run(flow_run.id)).state
        if state is not None and not state.is_scheduled():
            self.get_flow_run_logger(flow_run).info("Not submitted: the flow run is %s by now", state.name)
            return False
        return await super()._propose_pending_state(flow_run)

    async def _propose_submitting_state(self, flow_run: FlowRun) -> None:
        """Propose Submitting to a run that is Pending: Prefect's own way would undo a cancellation of this moment."""
        try:
            await orchestration.propose(self.client, flow_run.id, Submitting(), only_from={StateType.PENDING})
        except Exception as error:  # noqa: BLE001 - it is for people who look
            self._logger.debug("Flow run %s could not be made Submitting: %r", flow_run.id, error)

    def _is_prepared(self, run_id: UUID) -> None:
        with contextlib.suppress(RuntimeError):  # it was said before
            self._preparing.release_on_behalf_of(run_id)

    async def _initiate_run(self, flow_run: FlowRun, configuration: CplnWorkerJobConfiguration) -> None:
        """Start a flow run's container and return; whoever submitted it waits for the flow run itself."""
        container = await self._container(flow_run, configuration)
        job = await container.start(flow_run.infrastructure_pid)
        if job is not None:
            await self.client.update_flow_run(flow_run.id, infrastructure_pid=job.ref.pid)

    async def _propose_crashed_state(self, flow_run: FlowRun, message: str, client: PrefectClient | None = None) -> None:
        """Propose Crashed, or Cancelled if the run was cancelled meanwhile; one that waits or is over stays what it is."""
        prefect, logger = client or self.client, self.get_flow_run_logger(flow_run)
        proposals: Sequence[tuple[State[None], Collection[StateType]]]
        proposals = ((Crashed(message=message), _CAN_CRASH), (Cancelled(message=message), {StateType.CANCELLING}))
        try:
            for state, only_from in proposals:
                if await orchestration.propose(prefect, flow_run.id, state, only_from=only_from):
                    what, *_ = message.split(": ", maxsplit=1)  # why stands in the log already
                    logger.info("Reported flow run '%s' as %s: %s", flow_run.id, state.type.value.lower(), what)
                    return
        except ObjectNotFound:
            self._logger.debug("Flow run %s was deleted before it could be said: %s", flow_run.id, message)
        except Exception:
            logger.exception("The state of flow run '%s' could not be updated; sync will: %s", flow_run.id, message)

    # One flow run

    async def _container(self, flow_run: FlowRun, configuration: CplnWorkerJobConfiguration) -> Container:
        known = LogContext(configuration.flow_name, flow_run.id, configuration.namespace or self._settings.gvc)
        with failures.preparing(Journal(self.get_flow_run_logger(flow_run), known)):
            return await self._prepared_container(flow_run, configuration)

    async def _prepared_container(self, flow_run: FlowRun, configuration: CplnWorkerJobConfiguration) -> Container:
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
        return Container(
            prefect=self.client,
            session=shared,
            board=self._flow_runs,
            plan=plan,
            run_id=flow_run.id,
            journal=Journal(self.get_flow_run_logger(flow_run), context),
            settings=settings,
            watching=Watching(
                has_supervisor=configuration.is_using_a_runner,
                stream_output=configuration.stream_output,
                timeout_seconds=configuration.job_watch_timeout_seconds,
                start_seconds=configuration.pod_watch_timeout_seconds or settings.ready_timeout_seconds,
            ),
        )

    async def _plan(
        self,
        shared: JobSession,
        configuration: CplnWorkerJobConfiguration,
        identity: orchestration.JobIdentity,
        gvc: GvcRef,
        installation: UUID,
    ) -> JobPlan:
        env, hidden = configuration.variables, None
        if self._settings.store_prefect_api_in_secret:
            hidden = self._hidden_variables(env, installation)
            env |= hidden.references
        location = configuration.wanted_location(self._settings)
        # What is wrong with the manifest is said before the platform is asked for anything.
        plan = configuration.plan(identity, gvc, location or "", env)
        if location is None:
            plan = replace(plan, location=await _first_location(shared, gvc))
        return await self._hide(shared, plan, hidden) if hidden and hidden.values else plan

    def _hidden_variables(self, env: dict[str, str], installation: UUID) -> HiddenVariables:
        key = repr(to_hide(env))
        if key not in self._to_hide:
            self._to_hide[key] = HiddenVariables.of(env, installation)
        return self._to_hide[key]

    async def _hide(self, shared: JobSession, plan: JobPlan, hidden: HiddenVariables) -> JobPlan:
        key, now = (plan.gvc, plan.manifest.identity, hidden.secret), time.monotonic()
        if now - self._hidden.get(key, -math.inf) < _HIDDEN_SECONDS:
            return with_identity(plan, hidden)
        made = await hide(shared.client, plan, hidden)
        self._hidden[key] = now
        return made

    async def _follow(self, container: Container) -> CplnWorkerResult:
        code = await container.follow()
        if await container.conclude() and self._runs_task_group is not None:
            self._runs_task_group.start_soon(self._look_again, container)
        return CplnWorkerResult(identifier=container.job.ref.pid, status_code=code)

    async def _look_again(self, container: Container) -> None:
        """Look once more at a run whose container has ended well without a final state; its slot is free meanwhile."""
        await anyio.sleep(self._settings.report_grace_seconds)
        await container.conclude(has_waited=True)

    async def _take_up(self, flow_run: FlowRun) -> None:
        """Follow a run that its worker has left behind; one that has no container yet gets it now."""
        try:
            if self._limiter is not None:
                await self._limiter.acquire_on_behalf_of(flow_run.id)
            if await left_behind.claim(self.client, flow_run, self.name):
                await self._go_on_with(flow_run)
                self._let_go(flow_run.id)
            else:
                self._followed.discard(flow_run.id)  # its new worker may die as well
        except Exception:
            self._followed.discard(flow_run.id)  # the next heartbeat tries again
            self._logger.exception("Flow run %s was left behind by its worker and could not be taken up", flow_run.id)
        finally:
            self._release_limit_slot(flow_run.id)

    async def _go_on_with(self, flow_run: FlowRun) -> None:
        await self._give_worker_labels_to_flow_run(flow_run.id)
        configuration = await self.job_configuration.resolve_for_flow_run(
            flow_run,
            client=self.client,
            work_pool=copy.deepcopy(self.work_pool),
            worker_name=self.name,
            worker_id=self.backend_id,
        )
        container = await self._container(flow_run, configuration)
        job = await container.find(flow_run.infrastructure_pid)
        if job is None:
            if flow_run.state is None or flow_run.state.type is not StateType.PENDING:
                container.journal.warning(Area.JOB, "No job of this flow run was found; the sync flow decides about it")
                return
            job = await container.start(flow_run.infrastructure_pid)
            if job is None:
                return
        container.journal.info(Area.JOB, f"Taken up by worker {self.name}")
        if job.ref.pid != flow_run.infrastructure_pid:
            await self.client.update_flow_run(flow_run.id, infrastructure_pid=job.ref.pid)
        result = await self._follow(container)
        if result.status_code:
            self._logger.info("Flow run %s ended with exit code %s", flow_run.id, result.status_code)

    def _let_go(self, run_id: UUID) -> None:
        """Follow a run no longer, and do not take it up again as long as its state is not final: sync decides about it."""
        self._done.add(run_id)
        self._followed.discard(run_id)

    # What is shared

    @property
    def _journal(self) -> Journal:
        return Journal(self._logger)

    @property
    def _flow_runs(self) -> FlowRunBoard:
        if self._board is None:
            self._board = FlowRunBoard(self.client, self._settings.flow_run_poll_seconds)
        return self._board

    async def _session(self, settings: ApiSettings) -> JobSession:
        if settings not in self._sessions:
            self._sessions[settings] = await self._connections.enter_async_context(session.shared(settings))
        return self._sessions[settings]

    async def _installation_id(self) -> UUID:
        if self._installation is None:
            self._installation = await orchestration.installation(self.client)
        return self._installation

    def _ref_of(self, pid: str, configuration: CplnWorkerJobConfiguration) -> CommandRef:
        try:
            ref, own = CommandRef.parse(pid), configuration.gvc(self._settings)
        except ConfigurationError as error:
            raise InfrastructureNotAvailable(str(error)) from None
        if (ref.org, ref.gvc) != (own.org, own.gvc):
            raise InfrastructureNotAvailable(
                f"job {pid} is in org {ref.org} and GVC {ref.gvc}; the work pool's are {own.org} and {own.gvc}"
            )
        return ref

    async def _validate(self) -> None:
        """Say at once what is wrong with the pool's defaults; a deployment may still bring what is missing."""
        if addresses.is_loopback(url := PREFECT_API_URL.value()):
            shown = addresses.without_credentials(url)
            self._journal.warning(
                Area.INIT,
                f"PREFECT_API_URL of this worker, {shown}, leads containers on other machines to themselves;"
                " set PREFECT_API_URL in the work pool's environment variables",
            )
        try:
            template = copy.deepcopy(self.work_pool.base_job_template)
            configuration = await self.job_configuration.from_template_and_values(template, {}, client=self.client)
            gvc = configuration.gvc(self._settings)
            location = configuration.wanted_location(self._settings)
            configuration.plan(orchestration.JobIdentity.anonymous(), gvc, location or "")
            shared = await self._session(configuration.api_settings(self._settings))
            said = await access.validate(shared.client, gvc, location)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is said, and the worker can still be of use
            self._journal.error(Area.INIT, f"Not ready to run jobs: {error}")
        else:
            self._journal.about(gvc=gvc.gvc).info(Area.INIT, f"Ready: {said}")


async def _first_location(shared: JobSession, gvc: GvcRef) -> str:
    found = await workloads.first_location(shared.client, gvc)
    if not found:
        raise ConfigurationError(f"location: none given, CPLN_LOCATION is not set, and {gvc.path} has no locations")
    return found
