"""Create, update and forget the documents of commands. Starts and stops no runs."""

from __future__ import annotations

import uuid

from cpln_flows.emulator.answers import BAD_REQUEST, Document, refuse
from cpln_flows.emulator.clock import Clock, iso, to_ns
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.deployments import cluster_id
from cpln_flows.emulator.links import link_list
from cpln_flows.emulator.query import parse_query
from cpln_flows.emulator.store import Record, Store

FINAL_STAGES = ("completed", "failed", "cancelled")
RUN, STOP = "runCronWorkload", "stopReplica"


def command_scope(workload: str) -> str:
    """Return the link of a workload's commands."""
    return f"{workload}/-command"


class Commands:
    """The commands of all workloads."""

    def __init__(self, config: PlatformConfig, clock: Clock, store: Store) -> None:
        self._config = config
        self._clock = clock
        self._store = store

    def create(self, workload: Record, body: Document, status: Document) -> Record:
        """Store a new command."""
        scope = command_scope(workload.link)
        self._check_conflict(scope, body)
        command_id = str(uuid.uuid4())
        now_ns = self._clock.time_ns()
        spec = body.get("spec") or {}
        document: Document = {
            "id": command_id,
            "ownerId": workload.id,
            "kind": "command",
            "version": 1,
            "type": body["type"],
            "lifecycleStage": "pending",
            "created": iso(now_ns),
            "lastModified": iso(now_ns),
            "tags": body.get("tags") or {},
            "spec": spec,
            "status": {
                "clusterIdByLocation": {spec["location"]: cluster_id(spec["location"])},
                **status,
            },
            "links": link_list(self=f"{scope}/{command_id}", workload=workload.link),
        }
        if "conflictQuery" in body:
            document["conflictQuery"] = body["conflictQuery"]
        return self._store.add(
            kind="command",
            scope=scope,
            name=command_id,
            document=document,
            gvc=workload.gvc,
            visible_ns=now_ns + to_ns(self._config.command_visible_delay_seconds),
        )

    def update(
        self, command: Record, stage: str | None = None, message: str = "", **status: object
    ) -> None:
        """Advance a command; a final stage stays, and a message is not repeated."""
        document = command.document
        if (
            self._store.get(command.link) is not command
            or document["lifecycleStage"] in FINAL_STAGES
        ):
            return
        changed = {**document["status"], **status}
        if message and message not in changed.get("messages", ()):
            changed["messages"] = [*changed.get("messages", ()), message]
        stage = stage or document["lifecycleStage"]
        if changed == document["status"] and stage == document["lifecycleStage"]:
            return
        self._store.replace(
            command,
            {
                **document,
                "version": document["version"] + 1,
                "lastModified": iso(self._clock.time_ns()),
                "lifecycleStage": stage,
                "status": changed,
            },
        )
        if stage in FINAL_STAGES and self._config.command_retention_seconds is not None:
            self._clock.call_later(
                self._config.command_retention_seconds, lambda: self._store.remove(command)
            )

    def active_stop(self, workload: Record, location: str, replica: str | None) -> Record | None:
        """Return an active stop of the same replica."""
        return self._store.find(
            command_scope(workload.link),
            [("property", "type", STOP)],
            lambda each: (
                each.document["lifecycleStage"] not in FINAL_STAGES
                and each.document["spec"].get("location") == location
                and each.document["spec"].get("replica") == replica
            ),
        )

    def forget_all(self, workload: Record) -> None:
        """Drop the commands of a workload that no longer exists."""
        for command in self._store.in_scope(command_scope(workload.link)):
            self._store.remove(command)

    def _check_conflict(self, scope: str, body: Document) -> None:
        if not body.get("conflictQuery"):
            return
        query = parse_query("command", body["conflictQuery"], "conflictQuery")
        found = self._store.find(
            scope,
            query.keys(),
            lambda each: (
                each.document["lifecycleStage"] not in FINAL_STAGES and query.matches(each)
            ),
        )
        if found is not None:
            raise refuse(BAD_REQUEST, f"a conflicting command already exists: {found.link}")
