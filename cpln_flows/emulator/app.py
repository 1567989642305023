"""One local platform: its assembled parts, and the interface for tests.

``server`` serves it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from cpln_flows.emulator.admission import Admission
from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.authentication import Authentication
from cpln_flows.emulator.autosave import Autosave
from cpln_flows.emulator.clock import Clock, RealClock, running_loop
from cpln_flows.emulator.commands import Commands
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.containers import ContainerBuilder
from cpln_flows.emulator.control import Control, switch
from cpln_flows.emulator.deployments import Deployments
from cpln_flows.emulator.executors.base import Executor
from cpln_flows.emulator.executors.process import ProcessExecutor
from cpln_flows.emulator.executors.script import ScriptedExecutor
from cpln_flows.emulator.faults import Faults
from cpln_flows.emulator.first_objects import is_saved, restore, saved_objects
from cpln_flows.emulator.http_app import HttpApp
from cpln_flows.emulator.lifecycle import Lifecycle
from cpln_flows.emulator.links import collection_link, org_link
from cpln_flows.emulator.logs import Logs
from cpln_flows.emulator.overview import RunningReplica, running_replicas
from cpln_flows.emulator.permissions import Permissions
from cpln_flows.emulator.proxy.server import Proxy
from cpln_flows.emulator.recorder import Recorder, RequestRecord
from cpln_flows.emulator.resources import Resources
from cpln_flows.emulator.routes.log_service import LogService
from cpln_flows.emulator.routes.objects import ObjectRoutes
from cpln_flows.emulator.routes.paths import Paths
from cpln_flows.emulator.routes.workloads import WorkloadRoutes
from cpln_flows.emulator.saved import SavedState
from cpln_flows.emulator.serving.gateway import Gateway
from cpln_flows.emulator.serving.network import Network
from cpln_flows.emulator.serving.replica import Replicas
from cpln_flows.emulator.serving.runner import ReplicaRunner
from cpln_flows.emulator.serving.services import Services
from cpln_flows.emulator.state import StateFolder
from cpln_flows.emulator.store import Record, Store
from cpln_flows.emulator.tail import Tails
from cpln_flows.emulator.terminal import Terminals

_T = TypeVar("_T")


class Platform:
    """A self-contained Control Plane with all of its state.

    ``app`` is the ASGI application: pass it to ``httpx.ASGITransport``, or serve it with ``Server``
    or ``serve_in_thread``. ``token`` grants access to everything here, including the control
    routes: keep it secret. A platform belongs to one event loop at a time. ``aclose`` kills every
    job; call it before that loop closes. With ``state``, it begins with what the folder holds, and
    saves there what changes, from ``start`` to ``aclose``; ``StateError`` is raised if the folder
    cannot be used.
    """

    def __init__(
        self,
        config: PlatformConfig | None = None,
        *,
        clock: Clock | None = None,
        executor: Executor | None = None,
        state: StateFolder | None = None,
    ) -> None:
        # A copy, because the control routes may change the switches of this platform only.
        self.config: PlatformConfig = dataclasses.replace(config or PlatformConfig())
        self.clock: Clock = clock or RealClock()
        self.faults: Faults = Faults(self.config.seed)
        self._recorder = Recorder()
        self._store = Store()
        executor = executor or ProcessExecutor()
        if isinstance(executor, ScriptedExecutor):
            executor.clock = self.clock
        permissions = Permissions(self._store, self.config.org)
        builder = ContainerBuilder(self.config, self._store, permissions)
        saved = None if state is None else state.open(self.config.org)
        authentication = Authentication(self.config, None if saved is None else saved.token)
        self._authentication = authentication
        if saved is not None:
            authentication.restore_keys(saved.keys)
            restore(self._store, saved)
        self._logs = Logs(self.config, self.clock, self._log_retention_days)
        self._replicas = Replicas()
        self._network = Network(self.config, self._store, self._replicas)
        self._deployments = Deployments(
            self.config, self.clock, self._store, builder, self._replicas
        )
        proxy = Proxy(self._network, websocket_timeout=lambda: self.config.websocket_timeout)
        self._gateway = Gateway(self._network, proxy, self._deployments.endpoints)
        commands = Commands(self.config, self.clock, self._store)
        runner = ReplicaRunner(
            config=self.config,
            clock=self.clock,
            builder=builder,
            authentication=authentication,
            logs=self._logs,
            executor=executor,
            network=self._network,
            replicas=self._replicas,
        )
        services = Services(
            config=self.config,
            clock=self.clock,
            deployments=self._deployments,
            commands=commands,
            replicas=self._replicas,
            runner=runner,
            gateway=self._gateway,
        )
        self._lifecycle = Lifecycle(
            config=self.config,
            clock=self.clock,
            deployments=self._deployments,
            commands=commands,
            builder=builder,
            authentication=authentication,
            logs=self._logs,
            executor=executor,
            services=services,
            network=self._network,
        )
        self._resources = Resources(
            config=self.config,
            clock=self.clock,
            store=self._store,
            permissions=permissions,
            authentication=authentication,
            deployments=self._deployments,
            lifecycle=self._lifecycle,
            volumesets=executor.volumesets if isinstance(executor, ProcessExecutor) else None,
        )
        self._autosave = None if state is None else self._keep(state, executor)
        self._has_started = False
        self.token: str = authentication.token
        self.app: HttpApp = self._http_app(authentication)
        self.loop: asyncio.AbstractEventLoop | None = None

    @property
    def requests(self) -> list[RequestRecord]:
        """The received requests in the order of their responses, without control requests."""
        return self._recorder.requests

    @property
    def connections(self) -> int:
        """The number of TCP connections that clients have opened."""
        return self._recorder.connections

    @property
    def recorder(self) -> Recorder:
        """The recorder of the requests."""
        return self._recorder

    @property
    def base_url(self) -> str:
        """The address that scheduled jobs get; a job on demand gets the one its submitter used."""
        return self._network.endpoint

    @base_url.setter
    def base_url(self, url: str) -> None:
        self._network.endpoint = url

    @property
    def jobs_started(self) -> int:
        """The number of runs that have begun, on demand and by schedule."""
        return self._lifecycle.started_runs

    @property
    def active_jobs(self) -> list[str]:
        """The names of the executions that have not ended."""
        return [run.name for run in self._deployments.active_runs()]

    def running(self) -> list[RunningReplica]:
        """Return the replicas of all workloads and the executions that have not ended."""
        return self._in_loop(
            lambda: running_replicas(
                self.config.org,
                self._replicas,
                self._deployments.active_runs(),
                self._deployments.endpoints,
            )
        )

    def accepts(self, authorization: str | None) -> bool:
        """Return whether an ``Authorization`` header has a token of this platform."""
        return self._authentication.accepts(authorization)

    def commands(self, workload: str | None = None) -> list[Document]:
        """Return every command, or those of the workload with this bare name, oldest first."""
        return [
            command.document
            for found in self._workload_records()
            if workload in (None, found.name)
            for command in self._store.in_scope(f"{found.link}/-command")
        ]

    def workloads(self) -> list[Document]:
        """Return every workload, oldest first."""
        return [self._resources.render(record) for record in self._workload_records()]

    def objects(self, kind: str) -> list[Document]:
        """Return every object of a kind in the organization or its GVCs, oldest first."""
        return [
            record.document
            for record in self._store.in_scope(collection_link(self.config.org, kind))
        ]

    def switch(self, **changes: object) -> None:
        """Change switches of the configuration while the platform runs."""
        switch(self.config, changes)

    def append_lines(self, labels: Mapping[str, str], entries: Iterable[tuple[int, str]]) -> None:
        """Have the logs service receive lines now, with any time stamps; from any thread."""
        listed = list(entries)
        self._in_loop(lambda: self._logs.append(self._logs.stream(labels), listed))

    def open_gateway(self, host: str) -> None:
        """Listen for requests to workloads, until ``aclose``; harmless when that is done.

        Args:
            host: The address of this machine to listen on.
        """
        self._gateway.open(host, self._workload_records())

    def start(self) -> None:
        """Go on with the saved state, and begin to save; does nothing without a state folder.

        ``Server`` calls it in the event loop that the platform belongs to. Whoever uses ``app``
        without a server calls it first.

        Raises:
            StateError: The state cannot be saved.
        """
        if self._autosave is not None and not self._has_started:
            self._has_started = True
            self._autosave.start()
            self._resources.resume()

    async def aclose(self) -> None:
        """Kill every job and every replica, and leave nothing behind, except the state."""
        try:
            await self._lifecycle.aclose()
            await self._gateway.aclose()
        finally:
            if self._autosave is not None:
                await self._autosave.aclose()

    def _keep(self, state: StateFolder, executor: Executor) -> Autosave:
        if isinstance(executor, ProcessExecutor):
            executor.volumesets.keep(self.config.org, state.volumes)
        autosave = Autosave(state, self.clock, self._saved)

        def changed(record: Record) -> None:
            if is_saved(record.kind):
                autosave.changed()

        self._store.on_change = changed
        return autosave

    def _saved(self) -> SavedState:
        return SavedState(
            org=self.config.org,
            token=self.token,
            keys=self._authentication.keys(),
            objects=saved_objects(self._store),
        )

    def _http_app(self, authentication: Authentication) -> HttpApp:
        objects = ObjectRoutes(self.config, self._resources)
        workloads = WorkloadRoutes(
            config=self.config,
            store=self._store,
            resources=self._resources,
            deployments=self._deployments,
            lifecycle=self._lifecycle,
            objects=objects,
        )
        service = LogService(self.config, self.clock, self._logs, self._resources)
        return HttpApp(
            config=self.config,
            clock=self.clock,
            faults=self.faults,
            recorder=self._recorder,
            admission=Admission(self.config, authentication),
            paths=Paths(self.config, objects, workloads, service),
            tails=Tails(self.config, self.clock, self._logs, service),
            terminals=Terminals(
                self.config,
                authentication,
                self._resources,
                lambda: [*self._replicas, *self._deployments.active_runs()],
            ),
            control=Control(
                config=self.config,
                clock=self.clock,
                faults=self.faults,
                recorder=self._recorder,
                logs=self._logs,
                running=self.running,
            ),
        )

    def _log_retention_days(self) -> float:
        org = self._store.get(org_link(self.config.org))
        observability = (org.document.get("spec") or {}).get("observability") if org else None
        days = (observability or {}).get("logsRetentionDays", self.config.log_retention_days)
        return float(days)

    def _workload_records(self) -> list[Record]:
        return self._store.in_scope(collection_link(self.config.org, "workload"))

    def _in_loop(self, call: Callable[[], _T]) -> _T:
        loop = self.loop
        if loop is None or not loop.is_running() or loop is running_loop():
            return call()
        done: concurrent.futures.Future[_T] = concurrent.futures.Future()
        loop.call_soon_threadsafe(lambda: done.set_result(call()))
        return done.result()
