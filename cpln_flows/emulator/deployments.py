"""Workloads in their locations: processed versions, readiness and deployment documents. No I/O.

Readiness is never stored: it follows from the time of the last change and the configured delay.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.clock import Clock, iso, to_ns
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.containers import ContainerBuilder, MissingSecretError, secrets_in
from cpln_flows.emulator.links import collection_link, last_segment, link_list
from cpln_flows.emulator.runs import Run
from cpln_flows.emulator.store import Record, Store

_CLUSTERS = uuid.uuid5(uuid.NAMESPACE_DNS, "cluster.local-platform")


def cluster_id(location: str) -> str:
    """Return the id of the cluster that serves a location."""
    return str(uuid.uuid5(_CLUSTERS, location))


def is_suspended(spec: Document) -> bool:
    """Return whether a workload's own schedule is suspended."""
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


class Deployments:
    """All workloads in all their locations."""

    def __init__(
        self, config: PlatformConfig, clock: Clock, store: Store, builder: ContainerBuilder
    ) -> None:
        self._config = config
        self._clock = clock
        self._store = store
        self._builder = builder
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
        return [
            self._document(workload, deployed, location, f"{base_url}/location/{location}")
            for location in self.locations(workload)
        ]

    def status(self, workload: Record) -> tuple[Document, Document]:
        """Return ``status`` and ``health`` of a workload."""
        locations = self.locations(workload)
        ready = self._is_ready(workload, self._deployed.get(workload.sequence))
        replicas = sum(run.placed and not run.is_over for run in self.runs(workload))
        spec = workload.document["spec"]
        status = {
            "parentId": f"{workload.gvc}",
            "canonicalEndpoint": "",
            "endpoint": "",
            "internalName": f"{workload.name}.{workload.gvc}.cpln.local",
            "replicaInternalNames": [],
            "healthCheck": {},
            "currentReplicaCount": replicas,
            "resolvedImages": {},
            "loadBalancer": [],
            "suspendedStatus": "suspended" if is_suspended(spec) else "notSuspended",
        }
        health = {
            "readiness": "ready" if ready else "notReady",
            "syncFailed": False,
            "readyLocations": len(locations) if ready else 0,
            "totalLocations": len(locations),
            "readyReplicas": replicas,
            "totalReplicas": replicas,
        }
        return status, health

    def _runs(self, workload: Record) -> dict[str, list[Run]]:
        deployed = self._deployed.get(workload.sequence)
        return {} if deployed is None else deployed.runs

    def _processed(self, deployed: Deployed) -> _Version | None:
        latest_ns = self._clock.time_ns() - to_ns(self._config.ready_delay_seconds)
        done = [each for each in deployed.versions if each.changed_ns <= latest_ns]
        return max(done, key=lambda each: each.number, default=None)

    def _is_ready(self, workload: Record, deployed: Deployed | None) -> bool:
        processed = None if deployed is None else self._processed(deployed)
        return (
            processed is not None
            and not self._secret_problem(workload)
            and self._may_be_ready(processed)
        )

    def _may_be_ready(self, version: _Version) -> bool:
        return self._config.suspended_ready or not is_suspended(version.spec)

    def _secret_problem(self, workload: Record) -> str:
        names = secrets_in(workload.document["spec"].get("containers") or ())
        try:
            self._builder.check_secrets(workload, names)
        except MissingSecretError as error:
            return str(error)
        return ""

    def _document(
        self, workload: Record, deployed: Deployed, location: str, remote: str
    ) -> Document:
        processed = self._processed(deployed)
        problem = self._secret_problem(workload)
        ready = processed is not None and not problem and self._may_be_ready(processed)
        deploying = processed is None or processed.number < workload.version
        status = {
            "endpoint": "",
            "remote": remote,
            "ready": ready,
            "deploying": deploying,
            "message": problem or ("the workload is being deployed" if deploying else ""),
            "desiredScale": len(
                [run for run in deployed.runs.get(location, ()) if run.placed and not run.is_over]
            ),
            "lastProcessedVersion": processed.number if processed else 0,
            "expectedDeploymentVersion": workload.version,
            "internal": {},
            "versions": []
            if processed is None
            else [self._version(workload, processed, location, ready=ready)],
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
