"""The replicas of serving workloads and their containers: what is known of them. No behavior."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.clock import Timer
from cpln_flows.emulator.executors.base import Handle, RunSpec
from cpln_flows.emulator.runs import ContainerState
from cpln_flows.emulator.serving.health import Health, Probe
from cpln_flows.emulator.serving.probing import Probing
from cpln_flows.emulator.serving.rollout import Present
from cpln_flows.emulator.store import Record


@dataclass(slots=True, eq=False)
class ServingContainer:
    """One container of a replica, over all of its restarts.

    Attributes:
        state: Its process, and how the last one ended.
        readiness: Its readiness probe, if it has one, and what it has found.
        liveness: The same of its liveness probe.
        ports: The port on this machine of each port that it declares.
        started_ns: When its process was started last.
        failures: Restarts since a process of it last ran for long.
        probing: The probes that are being made.
    """

    state: ContainerState
    readiness: Probe | None
    liveness: Probe | None
    ready: Health
    alive: Health
    ports: dict[int, int] = field(default_factory=dict)
    started_ns: int = 0
    failures: int = 0
    probing: list[Probing] = field(default_factory=list)

    @property
    def is_ready(self) -> bool:
        """Whether requests may be sent to it."""
        return self.state.running and self.ready.is_passing

    @property
    def problem(self) -> str:
        """Why it is not ready; empty if it is, or if nothing is known yet."""
        if self.is_ready:
            return ""
        if self.state.running:
            return f"readiness probe failed: {self.ready.reason}" if self.ready.reason else ""
        return self.state.message


@dataclass(slots=True, eq=False)
class Replica:
    """One replica of a serving workload.

    Attributes:
        workload: Its workload.
        location: Bare name of its location.
        replica: Its name.
        index: Its index, if its workload is stateful.
        version: The workload's version with which it was started.
        template: Digest of everything that it has to be replaced for.
        spec: The workload's spec in that version.
        key: What no other replica on this machine has.
        run: What the executor runs; ``None`` before its secrets could be read.
        obstacle: Why it could not be started.
        is_stopping: Whether it has been asked to end.
        is_gone: Whether nothing of it is left.
        stops: The commands that stop it.
    """

    workload: Record
    location: str
    replica: str
    index: int | None
    version: int
    template: str
    spec: Document
    key: str
    containers: dict[str, ServingContainer] = field(default_factory=dict)
    run: RunSpec | None = field(default=None, repr=False)
    obstacle: str = ""
    is_stopping: bool = False
    is_gone: bool = False
    stops: list[Record] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name."""
        return self.replica

    @property
    def command(self) -> None:
        """No command starts a replica."""

    @property
    def disk(self) -> str:
        """Name of its volume in a volumeset that is not shared."""
        return self.location if self.index is None else f"{self.location}-{self.index}"

    @property
    def is_ready(self) -> bool:
        """Whether requests may be sent to it."""
        return (
            not self.is_stopping
            and bool(self.containers)
            and all(each.is_ready for each in self.containers.values())
        )

    @property
    def restarts(self) -> int:
        """How often its containers were started again."""
        return sum(each.state.restarts for each in self.containers.values())

    @property
    def problem(self) -> str:
        """Why it is not ready; empty if it is, or if nothing is known yet."""
        if self.obstacle:
            return self.obstacle
        for name, container in self.containers.items():
            if container.problem:
                return f"container {name}: {container.problem}"
        return ""

    @property
    def ports(self) -> dict[int, int]:
        """The port on this machine of each port that its containers declare."""
        return {
            declared: port
            for container in self.containers.values()
            for declared, port in container.ports.items()
        }

    def handle_of(self, container: str) -> Handle | None:
        """Return the handle of a running container with this name."""
        found = self.containers.get(container)
        return found.state.handle if found is not None and found.state.running else None

    def handles(self) -> list[Handle]:
        """Return the handles of the containers that have a process."""
        states = [each.state for each in self.containers.values()]
        return [each.handle for each in states if each.handle is not None and not each.over]

    def as_present(self) -> Present:
        """Return the replica as a rollout sees it."""
        return Present(self.replica, self.template, self.is_ready, self.is_stopping, self.index)


class Replicas:
    """All replicas, oldest first in each location of their workload."""

    def __init__(self) -> None:
        self._by_workload: dict[int, list[Replica]] = {}

    def add(self, replica: Replica) -> None:
        """Add a new replica."""
        self._by_workload.setdefault(replica.workload.sequence, []).append(replica)

    def remove(self, replica: Replica) -> None:
        """Remove a replica of which nothing is left."""
        replicas = self._by_workload[replica.workload.sequence]
        replicas.remove(replica)
        if not replicas:
            del self._by_workload[replica.workload.sequence]

    def of(self, workload: Record, location: str | None = None) -> list[Replica]:
        """Return the replicas of a workload, in one location or in all."""
        return [
            each
            for each in self._by_workload.get(workload.sequence, ())
            if location in (None, each.location)
        ]

    def __iter__(self) -> Iterator[Replica]:
        """Iterate over all replicas."""
        return iter([each for replicas in self._by_workload.values() for each in replicas])
