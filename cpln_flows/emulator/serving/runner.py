"""Run one replica: start its containers, probe them, start them again when they end, stop them.

What runs where is decided elsewhere (``services``); here a replica keeps running until it is told
to stop. Everything is called in the platform's event loop.
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.authentication import Authentication
from cpln_flows.emulator.clock import NANOSECONDS, Clock
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.containers import (
    UNAVAILABLE_RETRY_SECONDS,
    Access,
    ContainerBuilder,
    UnavailableError,
)
from cpln_flows.emulator.executors.base import Check, Container, Executor, RunSpec
from cpln_flows.emulator.executors.hooks import start_with_hooks
from cpln_flows.emulator.logs import Logs
from cpln_flows.emulator.placement import grace_seconds, log_labels
from cpln_flows.emulator.runs import ContainerState
from cpln_flows.emulator.serving import ports, restarts
from cpln_flows.emulator.serving.health import Health, liveness_of, ports_of, readiness_of
from cpln_flows.emulator.serving.network import Network
from cpln_flows.emulator.serving.probing import Probing
from cpln_flows.emulator.serving.replica import Replica, Replicas, ServingContainer


class ReplicaRunner:
    """Runs replicas.

    Attributes:
        on_change: Called when a replica has become ready, is no longer ready, or is gone.
    """

    def __init__(
        self,
        *,
        config: PlatformConfig,
        clock: Clock,
        builder: ContainerBuilder,
        authentication: Authentication,
        logs: Logs,
        executor: Executor,
        network: Network,
        replicas: Replicas,
    ) -> None:
        self._config = config
        self._clock = clock
        self._builder = builder
        self._authentication = authentication
        self._logs = logs
        self._executor = executor
        self._network = network
        self._replicas = replicas
        self._random = random.Random(config.seed)  # noqa: S311 - ports, not secrets
        self.on_change: Callable[[Replica], None] = lambda _replica: None

    def begin(self, replica: Replica) -> None:
        """Start the containers of a new replica, or try again later if that is not possible."""
        if replica.is_stopping:
            return
        access = Access(
            self._network.endpoint,
            self._authentication.issue_workload_token(replica.spec.get("identityLink")),
            self._network.admit(replica),
        )
        try:
            replica.run = self._builder.build(replica, replica.spec, access, key=replica.key)
            self._prepare(replica, replica.run)
        except (UnavailableError, OSError) as error:
            self._authentication.revoke_workload_token(access.token)
            self._network.dismiss(replica)
            replica.run = None
            replica.containers.clear()
            replica.obstacle = str(error)
            self._later(replica, UNAVAILABLE_RETRY_SECONDS, lambda: self.begin(replica))
            return
        replica.obstacle = ""
        for name in replica.containers:
            self._start(replica, name)

    def _prepare(self, replica: Replica, run: RunSpec) -> None:
        for container, document in zip(run.containers, replica.spec["containers"], strict=True):
            new = replica.containers[container.name] = _new_container(container, document)
            self._choose_ports(new, ports_of(document))

    def stop(self, replica: Replica) -> None:
        """Send SIGTERM now, and kill everything after the grace period."""
        if replica.is_stopping:
            return
        replica.is_stopping = True
        for container in replica.containers.values():
            _stop_probing(container)
        for handle in replica.handles():
            handle.terminate()
        seconds = grace_seconds(replica, self._config)
        self._later(replica, seconds, lambda: self.kill(replica))
        self._check_gone(replica)

    def kill(self, replica: Replica) -> None:
        """Kill everything that runs in a replica, for good."""
        replica.is_stopping = True
        for container in replica.containers.values():
            _stop_probing(container)
        for handle in replica.handles():
            handle.kill()
        self._check_gone(replica)

    def _start(self, replica: Replica, name: str) -> None:
        if replica.is_stopping or replica.run is None:
            return
        container = replica.containers[name]
        container.state.message = ""
        container.started_ns = self._clock.time_ns()
        container.ready = Health(container.readiness is None)
        seen = [
            ports.mapped(each, replica.containers[each.name].ports, replica.ports)
            for each in replica.run.containers
        ]
        spec = replace(replica.run, containers=tuple(seen), attempt=container.state.restarts)
        wanted = next(each for each in seen if each.name == name)
        events = _Events(self, replica, container, self._logs, self._config)
        container.state.handle = start_with_hooks(self._executor, spec, wanted, events)
        if container.state.running:
            self._start_probing(replica, container)

    def _choose_ports(self, container: ServingContainer, declared: Sequence[int]) -> None:
        """Choose a port of this machine for each that a container declares."""
        taken = {port for each in self._replicas for port in each.ports.values()}
        chosen = ports.choose(len(declared), taken, self._random)
        container.ports = dict(zip(declared, chosen, strict=True))

    # What the executor reports

    def container_started(self, replica: Replica, container: ServingContainer) -> None:
        """Note that a container's first process runs."""
        if container.state.running:
            return
        container.state.running = True
        if container.state.handle is not None:
            self._start_probing(replica, container)
        self.on_change(replica)

    def container_ended(
        self, replica: Replica, container: ServingContainer, code: int, reason: str, message: str
    ) -> None:
        """Start a container again, unless its replica is being stopped."""
        _stop_probing(container)
        state = container.state
        failed_probe = "" if container.alive.is_passing else container.alive.reason
        state.running, state.handle = False, None
        state.exit_code, state.reason = code, reason
        state.message = f"{reason}: {message}" if message else f"{reason}: exit code {code}"
        if failed_probe:
            state.message = f"liveness probe failed: {failed_probe}"
        container.alive = Health(is_passing=True)
        if replica.is_stopping:
            state.over = True
            self._check_gone(replica)
            return
        self._later(
            replica,
            self._restart_seconds(container),
            functools.partial(self._start_again, replica, state.name),
        )
        self.on_change(replica)

    def _start_again(self, replica: Replica, name: str) -> None:
        container = replica.containers[name]
        if not all(ports.is_free(port) for port in container.ports.values()):
            with contextlib.suppress(OSError):
                self._choose_ports(container, list(container.ports))
        container.state.restarts += 1
        self._start(replica, name)

    def _restart_seconds(self, container: ServingContainer) -> float:
        ran_seconds = (self._clock.time_ns() - container.started_ns) / NANOSECONDS
        container.failures = 0 if ran_seconds >= restarts.RECOVERED_SECONDS else container.failures
        seconds = restarts.delay_seconds(container.failures, self._config.restart_delay_seconds)
        container.failures += 1
        return seconds

    # Probes

    def _start_probing(self, replica: Replica, container: ServingContainer) -> None:
        for probe, health, found in (
            (container.readiness, container.ready, self._readiness_found),
            (container.liveness, container.alive, self._liveness_found),
        ):
            if probe is not None:
                container.probing.append(
                    Probing(
                        probe,
                        health,
                        functools.partial(_ask, container),
                        functools.partial(found, replica, container),
                        self._clock,
                    )
                )

    def _readiness_found(
        self, replica: Replica, container: ServingContainer, health: Health
    ) -> None:
        changed = health.is_passing != container.ready.is_passing
        container.ready = health
        if changed:
            self.on_change(replica)

    def _liveness_found(
        self, replica: Replica, container: ServingContainer, health: Health
    ) -> None:
        container.alive = health
        handle = container.state.handle
        if health.is_passing or handle is None:
            return
        _stop_probing(container)
        handle.terminate()
        self._later(replica, grace_seconds(replica, self._config), handle.kill)

    # The end

    def _check_gone(self, replica: Replica) -> None:
        """Report a replica of which nothing is left."""
        for container in replica.containers.values():
            if container.state.handle is None:
                container.state.over = True
        is_over = all(each.state.over for each in replica.containers.values())
        if replica.is_gone or not is_over:
            return
        replica.is_gone = True
        for timer in replica.timers:
            timer.cancel()
        replica.timers.clear()
        if replica.run is not None:
            self._authentication.revoke_workload_token(replica.run.env["CPLN_TOKEN"])
            replica.run = None
        self._network.dismiss(replica)
        self.on_change(replica)

    def _later(self, replica: Replica, seconds: float, call: Callable[[], None]) -> None:
        replica.timers.append(self._clock.call_later(seconds, call))


def _new_container(container: Container, document: Document) -> ServingContainer:
    readiness = readiness_of(document)
    return ServingContainer(
        state=ContainerState.of(container),
        readiness=readiness,
        liveness=liveness_of(document),
        ready=Health(readiness is None),
        alive=Health(is_passing=True),
    )


def _stop_probing(container: ServingContainer) -> None:
    for probing in container.probing:
        probing.stop()
    container.probing.clear()


async def _ask(container: ServingContainer, check: Check) -> str | None:
    handle = container.state.handle
    if handle is None:
        return "the container does not run"
    if check.port is None:
        return await handle.check(check)
    return await handle.check(replace(check, port=container.ports.get(check.port, check.port)))


class _Events:
    """Passes on what an executor reports on one container of one replica."""

    def __init__(
        self,
        runner: ReplicaRunner,
        replica: Replica,
        container: ServingContainer,
        logs: Logs,
        config: PlatformConfig,
    ) -> None:
        self._runner = runner
        self._replica = replica
        self._container = container
        self._logs = logs
        self._labels = log_labels(replica, container.state.name, config)

    def note(self, message: str) -> None:
        """Report something that the user should know; a deployment shows it until it is ready."""
        self._container.state.message = message

    def started(self) -> None:
        """Report that the first process runs."""
        self._runner.container_started(self._replica, self._container)

    def waiting(self, reason: str, message: str) -> None:
        """Report that the container cannot start now and keeps waiting."""
        self._container.state.message = f"{reason}: {message}"

    def never_placed(self, message: str) -> None:
        """Report that no replica will be created."""
        self._container.state.message = message

    def wrote(self, stream: str, lines: list[str]) -> None:
        """Pass on lines that the container wrote to ``stdout`` or ``stderr``."""
        self._logs.write(self._logs.stream({**self._labels, "stream": stream}), lines)

    def ended(self, exit_code: int, reason: str, message: str) -> None:
        """Report, as the last call, that the container has ended and nothing of it is left."""
        self._runner.container_ended(self._replica, self._container, exit_code, reason, message)
