"""Workloads in their locations: processed versions, readiness and deployment documents. No I/O.

Readiness is never stored: it follows from the time of the last change and the configured delay.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.clock import Clock, iso, to_ns
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.containers import ContainerBuilder, UnavailableError
from cpln_flows.emulator.links import collection_link, last_segment, link_list
from cpln_flows.emulator.runs import Run
from cpln_flows.emulator.serving.replica import Replicas
from cpln_flows.emulator.serving.status import Processed, Shown
from cpln_flows.emulator.serving.wanted import options_in, serves, wanted_in
from cpln_flows.emulator.store import Record, Store

_VIRTUAL_MACHINE = "the local platform runs no virtual machines"
_CLUSTERS = uuid.uuid5(uuid.NAMESPACE_DNS, "cluster.local-platform")


def cluster_id(location: str) -> str:
    """Return the id of the cluster that serves a location."""
    return str(uuid.uuid5(_CLUSTERS, location))


def is_suspended(spec: Document) -> bool:
    """Return whether a workload is suspended in all locations without options of their own."""
    return bool((spec.get("defaultOptions") or {}).get("suspend"))


@dataclass(slots=True)
class _Version:
    number: int
    changed_ns: int
    spec: Document


@dataclass(slots=True)
class Deployed:
    """What the locations know about one workload."""

    created_ns: int
    versions: list[_Version] = field(default_factory=list)
    runs: dict[str, list[Run]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Located:
    """A workload in one location, in numbers."""

    is_ready: bool
    replicas: int
    ready_replicas: int


class Deployments:
    """All workloads in all their locations."""

    def __init__(
        self,
        config: PlatformConfig,
        clock: Clock,
        store: Store,
        builder: ContainerBuilder,
        replicas: Replicas,
    ) -> None:
        self._config = config
        self._clock = clock
        self._store = store
        self._builder = builder
        self._replicas = replicas
        # The canonical endpoint of each serving workload that has one, by link.
        self.endpoints: dict[str, str] = {}
        self._deployed: dict[int, Deployed] = {}

    def changed(self, workload: Record) -> None:
        """Note a new version of a workload."""
        now_ns = self._clock.time_ns()
        deployed = self._deployed.setdefault(workload.sequence, Deployed(now_ns))
        processed = self._processed(deployed)
        recent = [
            each
            for each in deployed.versions
            if processed is None or each.number >= processed.number
        ]
        deployed.versions = [*recent, _Version(workload.version, now_ns, workload.document["spec"])]

    def forget(self, workload: Record) -> None:
        """Drop all data of a workload that no longer exists."""
        self._deployed.pop(workload.sequence, None)

    def locations(self, workload: Record) -> list[str]:
        """Return the bare names of a workload's locations, which are those of its GVC."""
        gvc = self._store.get(f"{collection_link(self._config.org, 'gvc')}/{workload.gvc}")
        return gvc_locations(gvc.document) if gvc else []

    def seconds_until_ready(self, workload: Record) -> float:
        """Return the time until the first version is processed; 0 if one already is."""
        deployed = self._deployed[workload.sequence]
        if self._processed(deployed) is not None:
            return 0.0
        due_ns = min(each.changed_ns for each in deployed.versions) + to_ns(
            self._config.ready_delay_seconds
        )
        return (due_ns - self._clock.time_ns()) / 1e9

    def processed_spec(self, workload: Record) -> tuple[int, Document]:
        """Return the version that a run started now would use, and its spec.

        This is not always the newest version.
        """
        processed = self._processed(self._deployed[workload.sequence])
        if processed is None:
            return workload.version, workload.document["spec"]
        return processed.number, processed.spec

    def add_run(self, run: Run) -> None:
        """Show a run in its workload's deployment."""
        runs = self._runs(run.workload).setdefault(run.location, [])
        runs.append(run)

    def trim(self, run: Run) -> None:
        """Drop the oldest finished runs beyond the workload's history limit."""
        runs = self._runs(run.workload).get(run.location, [])
        job = run.workload.document["spec"].get("job") or {}
        limit = job.get("historyLimit") or self._config.history_limit
        finished = [each for each in runs if each.is_over]
        for old in finished[: max(len(finished) - limit, 0)]:
            runs.remove(old)

    def runs(self, workload: Record, location: str | None = None) -> list[Run]:
        """Return the known runs of a workload, oldest first."""
        by_location = self._runs(workload)
        if location is not None:
            return list(by_location.get(location, ()))
        return [run for runs in by_location.values() for run in runs]

    def active_runs(self) -> list[Run]:
        """Return every run that has not ended."""
        return [
            run
            for deployed in list(self._deployed.values())
            for runs in list(deployed.runs.values())
            for run in list(runs)
            if not run.is_over
        ]

    def documents(self, workload: Record, base_url: str) -> list[Document]:
        """Return the documents of a workload's deployments; none for a moment after its creation.

        Each location has a replica service of its own, at an address below ``base_url``.
        """
        deployed = self._deployed[workload.sequence]
        delay_ns = to_ns(self._config.deployment_list_delay_seconds)
        if self._clock.time_ns() < deployed.created_ns + delay_ns:
            return []
        obstacle = self._obstacle(workload)
        return [
            self._document(workload, location, f"{base_url}/location/{location}", obstacle)
            for location in self.locations(workload)
        ]

    def status(self, workload: Record) -> tuple[Document, Document]:
        """Return ``status`` and ``health`` of a workload."""
        spec = workload.document["spec"]
        obstacle = self._obstacle(workload)
        found = [self._located(workload, each, obstacle) for each in self.locations(workload)]
        ready = [each for each in found if each.is_ready]
        endpoint = self.endpoints.get(workload.link, "")
        name, gvc = workload.name, workload.gvc
        indexes = sorted(
            {each.index for each in self._replicas.of(workload) if each.index is not None}
        )
        status = {
            "parentId": f"{gvc}",
            "canonicalEndpoint": endpoint,
            "endpoint": endpoint,
            "internalName": f"{name}.{gvc}.cpln.local",
            "replicaInternalNames": [
                f"replica-{index}.{name}.{gvc}.cpln.local" for index in indexes
            ],
            "healthCheck": {},
            "currentReplicaCount": sum(each.replicas for each in found),
            "resolvedImages": {},
            "loadBalancer": [],
            "suspendedStatus": self._suspended(workload, spec),
        }
        health = {
            "readiness": "ready" if found and len(ready) == len(found) else "notReady",
            "syncFailed": False,
            "readyLocations": len(ready),
            "totalLocations": len(found),
            "readyReplicas": sum(each.ready_replicas for each in found),
            "totalReplicas": sum(each.replicas for each in found),
        }
        return status, health

    def _suspended(self, workload: Record, spec: Document) -> str:
        each = {bool(options_in(spec, name).get("suspend")) for name in self.locations(workload)}
        if each == {True} or (not each and is_suspended(spec)):
            return "suspended"
        return "partiallySuspended" if True in each else "notSuspended"

    def _located(self, workload: Record, location: str, obstacle: str) -> _Located:
        """Return the state of a workload in a location, in a few numbers."""
        deployed = self._deployed.get(workload.sequence)
        processed = None if deployed is None else self._processed(deployed)
        if not serves(workload.document["spec"]):
            active = sum(run.placed and not run.is_over for run in self.runs(workload, location))
            return _Located(self._is_ready(processed, obstacle), active, active)
        if processed is None:
            return _Located(is_ready=False, replicas=0, ready_replicas=0)
        shown = self._shown(workload, processed, location, obstacle)
        ready = sum(each.is_ready for each in shown.replicas)
        return _Located(shown.is_ready, len(shown.replicas), ready)

    def _shown(self, workload: Record, processed: _Version, location: str, obstacle: str) -> Shown:
        return Shown(
            wanted=wanted_in(processed.spec, workload.document.get("tags") or {}, location),
            replicas=self._replicas.of(workload, location),
            obstacle=obstacle,
            is_newest=processed.number >= workload.version,
            suspended_ready=self._config.suspended_ready,
        )

    def _runs(self, workload: Record) -> dict[str, list[Run]]:
        deployed = self._deployed.get(workload.sequence)
        return {} if deployed is None else deployed.runs

    def _processed(self, deployed: Deployed) -> _Version | None:
        latest_ns = self._clock.time_ns() - to_ns(self._config.ready_delay_seconds)
        done = [each for each in deployed.versions if each.changed_ns <= latest_ns]
        return max(done, key=lambda each: each.number, default=None)

    def _is_ready(self, processed: _Version | None, obstacle: str) -> bool:
        return processed is not None and not obstacle and self._may_be_ready(processed)

    def _may_be_ready(self, version: _Version) -> bool:
        return self._config.suspended_ready or not is_suspended(version.spec)

    def _obstacle(self, workload: Record) -> str:
        if workload.document["spec"].get("type") == "vm":
            return _VIRTUAL_MACHINE
        try:
            self._builder.check_available(workload)
        except UnavailableError as error:
            return str(error)
        return ""

    def _document(self, workload: Record, location: str, remote: str, obstacle: str) -> Document:
        deployed = self._deployed[workload.sequence]
        processed = self._processed(deployed)
        serving = serves(workload.document["spec"])
        status = {
            "endpoint": self.endpoints.get(workload.link, ""),
            "remote": remote,
            "lastProcessedVersion": processed.number if processed else 0,
            "expectedDeploymentVersion": workload.version,
            "internal": {},
            **(
                self._serving_status(workload, processed, location, obstacle)
                if serving and processed
                else self._job_status(workload, processed, location, obstacle)
            ),
        }
        if workload.document["spec"].get("type") == "cron":
            shown = [run for run in deployed.runs.get(location, ()) if run.is_shown]
            status["jobExecutions"] = [run.as_document() for run in reversed(shown)]
        return {
            "kind": "deployment",
            "name": location,
            "lastModified": iso(deployed.versions[-1].changed_ns),
            "status": status,
            "links": link_list(
                self=f"{workload.link}/deployment/{location}",
                workload=workload.link,
                location=f"{collection_link(self._config.org, 'location')}/{location}",
            ),
        }

    def _serving_status(
        self, workload: Record, processed: _Version, location: str, obstacle: str
    ) -> Document:
        shown = self._shown(workload, processed, location, obstacle)
        newest = Processed(processed.number, iso(processed.changed_ns), processed.spec)
        return {
            "ready": shown.is_ready,
            "deploying": shown.is_deploying,
            "message": shown.message,
            "desiredScale": shown.wanted.count,
            "versions": shown.versions(workload, location, newest),
        }

    def _job_status(
        self, workload: Record, processed: _Version | None, location: str, obstacle: str
    ) -> Document:
        deploying = processed is None or processed.number < workload.version
        ready = self._is_ready(processed, obstacle)
        active = [run for run in self.runs(workload, location) if run.placed and not run.is_over]
        return {
            "ready": ready,
            "deploying": deploying,
            "message": obstacle or ("the workload is being deployed" if deploying else ""),
            "desiredScale": len(active),
            "versions": []
            if processed is None
            else [self._version(workload, processed, location, ready=ready)],
        }

    def _version(
        self, workload: Record, version: _Version, location: str, *, ready: bool
    ) -> Document:
        containers = version.spec.get("containers") or ()
        return {
            "name": f"{workload.name}-{version.number}",
            "created": iso(version.changed_ns),
            "workload": version.number,
            "gvc": workload.gvc,
            "zone": location,
            "ready": ready,
            "message": "",
            "containers": {
                each["name"]: {
                    "name": each["name"],
                    "image": each["image"],
                    "ready": ready,
                    "message": "",
                    "resources": {"replicas": 0, "replicasReady": 0},
                }
                for each in containers
            },
        }


def gvc_locations(gvc: Document) -> list[str]:
    """Return the bare names of a GVC's locations."""
    placement = (gvc.get("spec") or {}).get("staticPlacement") or {}
    return [last_segment(link) for link in placement.get("locationLinks") or ()]
