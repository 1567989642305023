"""One execution of a cron workload and its containers, as a deployment shows them.

Holds state and makes no decisions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.clock import Timer, iso
from cpln_flows.emulator.executors.base import Container, Handle, RunSpec
from cpln_flows.emulator.store import Record

ExecutionStatus = Literal["pending", "active", "successful", "failed", "invalid", "removed"]
_OVER = ("successful", "failed", "invalid", "removed")


@dataclass(slots=True)
class ContainerState:
    """The state of one container."""

    name: str
    image: str
    cpu: str
    memory: str
    handle: Handle | None = None
    running: bool = False
    over: bool = False
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    restarts: int = 0

    @classmethod
    def of(cls, container: Container) -> ContainerState:
        """Return the state of a container that was not started yet."""
        return cls(container.name, container.image, container.cpu, container.memory)

    def as_document(self) -> Document:
        """Return the container as an execution shows it."""
        document: Document = {
            "name": self.name,
            "image": self.image,
            "ready": self.running,
            "message": self.message,
            "resources": {
                "replicas": 0 if self.over else 1,
                "replicasReady": int(self.running),
                "cpu": self.cpu,
                "memory": self.memory,
            },
        }
        if self.exit_code is not None:
            document["restarts"] = {
                "exitCode": self.exit_code,
                "reason": self.reason,
                "count": self.restarts,
            }
        return document


@dataclass(slots=True, eq=False)
class Run:
    """One execution: on demand when it has a command, scheduled otherwise.

    ``ended_by`` names what ends it from outside: a stop, a deadline, or the deletion of its
    workload.
    """

    workload: Record
    location: str
    name: str
    replica: str
    version: int
    containers: dict[str, ContainerState]
    command: Record | None = None
    spec: RunSpec | None = None
    status: ExecutionStatus = "pending"
    started_ns: int | None = None
    ended_ns: int | None = None
    placed: bool = False
    ended_by: Literal["itself", "stop", "deadline", "deletion"] = "itself"
    conditions: list[Document] = field(default_factory=list)
    stops: list[Record] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)

    @property
    def disk(self) -> str:
        """Name of its volume in a volumeset that is not shared."""
        return self.location

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status in _OVER

    @property
    def is_shown(self) -> bool:
        """Whether a deployment lists it: not before its replica exists."""
        return self.started_ns is not None

    def handle_of(self, container: str) -> Handle | None:
        """Return the handle of a running container with this name."""
        found = self.containers.get(container)
        return found.handle if found is not None and found.running else None

    def handles(self) -> list[Handle]:
        """Return the handles of the running containers."""
        return [
            each.handle
            for each in self.containers.values()
            if each.handle is not None and not each.over
        ]

    def add_condition(self, kind: str, reason: str, message: str, moment_ns: int) -> None:
        """Note why the execution is as it is."""
        moment = iso(moment_ns)
        self.conditions.append(
            {
                "type": kind,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastDetectionTime": moment,
                "lastTransitionTime": moment,
            }
        )

    def as_document(self) -> Document:
        """Return the execution as a deployment shows it."""
        document: Document = {
            "workloadVersion": self.version,
            "name": self.name,
            "status": self.status,
            "startTime": None if self.started_ns is None else iso(self.started_ns),
            "conditions": self.conditions,
            "containers": {name: state.as_document() for name, state in self.containers.items()},
        }
        if self.placed:
            document["replica"] = self.replica
        if self.ended_ns is not None:
            document["completionTime"] = iso(self.ended_ns)
        return document
