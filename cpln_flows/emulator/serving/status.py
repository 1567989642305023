"""What a deployment, a status and a health show of a serving workload. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.serving.replica import Replica
from cpln_flows.emulator.serving.wanted import Wanted
from cpln_flows.emulator.store import Record


@dataclass(frozen=True, slots=True)
class Processed:
    """A version of a workload that a location has processed."""

    number: int
    created: str
    spec: Document


@dataclass(frozen=True, slots=True)
class Shown:
    """What a location shows of a serving workload.

    Attributes:
        wanted: What it is to run.
        replicas: What runs there.
        obstacle: Why no replica can be started.
        is_newest: Whether the newest version has been processed.
        suspended_ready: Whether a location without replicas is ready.
    """

    wanted: Wanted
    replicas: Sequence[Replica]
    obstacle: str
    is_newest: bool
    suspended_ready: bool

    @property
    def current(self) -> list[Replica]:
        """The replicas that are as they are to be."""
        template = self.wanted.template
        return [
            each for each in self.replicas if each.template == template and not each.is_stopping
        ]

    @property
    def is_ready(self) -> bool:
        """Whether all replicas that are wanted are ready, in the version that was processed."""
        if self.obstacle:
            return False
        if not self.wanted.count:
            return self.suspended_ready
        return sum(each.is_ready for each in self.current) >= self.wanted.count

    @property
    def is_deploying(self) -> bool:
        """Whether the location is still on its way to what is wanted."""
        return not self.is_newest or not self.is_ready or len(self.replicas) != self.wanted.count

    @property
    def message(self) -> str:
        """Why it is not ready; empty if it is."""
        if self.is_ready and self.is_newest:
            return ""
        return (
            self.obstacle
            or _first_problem(self.current)
            or ("the workload is being deployed" if self.is_deploying else "")
        )

    def versions(self, workload: Record, location: str, newest: Processed) -> list[Document]:
        """Return each version that runs, the processed one first."""
        current = self.current
        older = [each for each in self.replicas if each not in current]
        base = {"gvc": workload.gvc, "zone": location}
        shown = [base | _version(workload.name, newest, current) | {"ready": self.is_ready}]
        for number in sorted({each.version for each in older}, reverse=True):
            if number != newest.number:
                of_version = [each for each in older if each.version == number]
                version = Processed(number, newest.created, of_version[-1].spec)
                shown.append(base | _version(workload.name, version, of_version) | {"ready": False})
        return shown


def _version(workload: str, version: Processed, replicas: Sequence[Replica]) -> Document:
    return {
        "name": f"{workload}-{version.number}",
        "created": version.created,
        "workload": version.number,
        "message": _first_problem(replicas),
        "containers": {
            container["name"]: _container(container, replicas)
            for container in version.spec.get("containers") or ()
        },
    }


def _first_problem(replicas: Sequence[Replica]) -> str:
    for replica in replicas:
        if replica.problem:
            return replica.obstacle or f"replica {replica.replica}, {replica.problem}"
    return ""


def _container(container: Document, replicas: Sequence[Replica]) -> Document:
    name = container["name"]
    found = [each.containers[name] for each in replicas if name in each.containers]
    ready = sum(each.is_ready for each in found)
    return {
        "name": name,
        "image": container["image"],
        "ready": bool(found) and ready == len(found),
        "message": next((each.problem for each in found if each.problem), ""),
        "resources": {
            "replicas": len(found),
            "replicasReady": ready,
            "cpu": container.get("cpu", ""),
            "memory": container.get("memory", ""),
        },
    }
