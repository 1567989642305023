"""One local platform: its assembled parts, and the interface for tests.

``server`` serves it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.autosave import Autosave
from cpln_flows.emulator.clock import Clock, RealClock, running_loop
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.control import switch
from cpln_flows.emulator.executors.base import Executor
from cpln_flows.emulator.executors.process import ProcessExecutor
from cpln_flows.emulator.executors.script import ScriptedExecutor
from cpln_flows.emulator.faults import Faults
from cpln_flows.emulator.first_objects import is_saved, saved_objects
from cpln_flows.emulator.http_app import HttpApp
from cpln_flows.emulator.links import collection_link
from cpln_flows.emulator.overview import RunningReplica, running_replicas
from cpln_flows.emulator.parts import Parts
from cpln_flows.emulator.recorder import Recorder, RequestRecord
from cpln_flows.emulator.saved import SavedState
from cpln_flows.emulator.state import StateFolder
from cpln_flows.emulator.store import Record

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
        executor = executor or ProcessExecutor()
        if isinstance(executor, ScriptedExecutor):
            executor.clock = self.clock
        saved = None if state is None else state.open(self.config.org)
        self._parts = Parts(self.config, self.clock, executor, saved)
        self._autosave = None if state is None else self._keep(state, executor)
        self._has_started = False
        self.faults: Faults = self._parts.faults
        self.token: str = self._parts.authentication.token
        self.app: HttpApp = self._parts.app(self.running)
        self.loop: asyncio.AbstractEventLoop | None = None

    @property
    def requests(self) -> list[RequestRecord]:
        """The received requests in the order of their responses, without control requests."""
        return self._parts.recorder.requests

    @property
    def connections(self) -> int:
        """The number of TCP connections that clients have opened."""
        return self._parts.recorder.connections

    @property
    def recorder(self) -> Recorder:
        """The recorder of the requests."""
        return self._parts.recorder

    @property
    def base_url(self) -> str:
        """The address that scheduled jobs get; a job on demand gets the one its submitter used."""
        return self._parts.network.endpoint

    @base_url.setter
    def base_url(self, url: str) -> None:
        self._parts.network.endpoint = url

    @property
    def jobs_started(self) -> int:
        """The number of runs that have begun, on demand and by schedule."""
        return self._parts.job_runner.started_runs

    @property
    def active_jobs(self) -> list[str]:
        """The names of the executions that have not ended."""
        return [run.name for run in self._parts.deployments.active_runs()]

    def running(self) -> list[RunningReplica]:
        """Return the replicas of all workloads and the executions that have not ended."""
        return self._in_loop(
            lambda: running_replicas(
                self.config.org,
                self._parts.replicas,
                self._parts.deployments.active_runs(),
                self._parts.deployments.endpoints,
            )
        )

    def accepts(self, authorization: str | None) -> bool:
        """Return whether an ``Authorization`` header has a token of this platform."""
        return self._parts.authentication.accepts(authorization)

    def commands(self, workload: str | None = None) -> list[Document]:
        """Return every command, or those of the workload with this bare name, oldest first."""
        return [
            command.document
            for found in self._parts.workload_records()
            if workload in (None, found.name)
            for command in self._parts.store.in_scope(f"{found.link}/-command")
        ]

    def workloads(self) -> list[Document]:
        """Return every workload, oldest first."""
        return [self._parts.resources.render(record) for record in self._parts.workload_records()]

    def objects(self, kind: str) -> list[Document]:
        """Return every object of a kind in the organization or its GVCs, oldest first."""
        return [
            record.document
            for record in self._parts.store.in_scope(collection_link(self.config.org, kind))
        ]

    def switch(self, **changes: object) -> None:
        """Change switches of the configuration while the platform runs."""
        switch(self.config, changes)

    def append_lines(self, labels: Mapping[str, str], entries: Iterable[tuple[int, str]]) -> None:
        """Have the logs service receive lines now, with any time stamps; from any thread."""
        listed = list(entries)
        self._in_loop(lambda: self._parts.logs.append(self._parts.logs.stream(labels), listed))

    def open_gateway(self, host: str) -> None:
        """Listen for requests to workloads, until ``aclose``; harmless when that is done.

        Args:
            host: The address of this machine to listen on.
        """
        self._parts.gateway.open(host, self._parts.workload_records())

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
            self._parts.resources.resume()

    async def aclose(self) -> None:
        """Kill every job and every replica, and leave nothing behind, except the state."""
        try:
            await self._parts.lifecycle.aclose()
            await self._parts.gateway.aclose()
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

        self._parts.store.on_change = changed
        return autosave

    def _saved(self) -> SavedState:
        return SavedState(
            org=self.config.org,
            token=self.token,
            keys=self._parts.authentication.keys(),
            objects=saved_objects(self._parts.store),
        )

    def _in_loop(self, call: Callable[[], _T]) -> _T:
        loop = self.loop
        if loop is None or not loop.is_running() or loop is running_loop():
            return call()
        done: concurrent.futures.Future[_T] = concurrent.futures.Future()

        def answer() -> None:
            try:
                done.set_result(call())
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                done.set_exception(error)

        loop.call_soon_threadsafe(answer)
        return done.result()
