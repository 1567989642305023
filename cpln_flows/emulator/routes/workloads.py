"""The routes that only workloads have: commands, deployments and replicas."""

from __future__ import annotations

from collections.abc import Sequence

from cpln_flows.emulator.answers import Answer, json_answer, refuse
from cpln_flows.emulator.commands import RUN, STOP, command_scope
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.deployments import Deployments
from cpln_flows.emulator.lifecycle import Lifecycle
from cpln_flows.emulator.links import link_list
from cpln_flows.emulator.permissions import Principal
from cpln_flows.emulator.resources import Resources
from cpln_flows.emulator.routes.call import Call
from cpln_flows.emulator.routes.objects import ObjectRoutes, created, not_found
from cpln_flows.emulator.store import Record, Store

_PERMISSIONS = {RUN: "exec.runCronWorkload", STOP: "exec.stopReplica"}


class WorkloadRoutes:
    """The paths below a workload."""

    def __init__(
        self,
        *,
        config: PlatformConfig,
        store: Store,
        resources: Resources,
        deployments: Deployments,
        lifecycle: Lifecycle,
        objects: ObjectRoutes,
    ) -> None:
        self._config = config
        self._store = store
        self._resources = resources
        self._deployments = deployments
        self._lifecycle = lifecycle
        self._objects = objects

    def below(self, call: Call, principal: Principal, link: str, rest: Sequence[str]) -> Answer:
        """Answer for a path below a workload."""
        match rest:
            case ["-command"]:
                return self._commands(call, principal, link)
            case ["-command", "-query"]:
                self._resources.find(principal, link)
                return self._objects.query(call, principal, "command")
            case ["-command", command_id]:
                return self._command(call, principal, link, command_id)
            case ["-replica"]:
                return self._list_replicas(call, principal, link)
            case ["deployment"]:
                return self._list_deployments(call, principal, link)
            case ["deployment", location]:
                return self._deployment(call, principal, link, location)
        raise not_found(call.path)

    def replicas(self, call: Call, principal: Principal, location: str, link: str) -> Answer:
        """Answer for the replica service of a location."""
        workload = self._read(call, principal, link)
        if workload.kind != "workload" or location not in self._deployments.locations(workload):
            raise not_found(call.path)
        return _replica_list(self._lifecycle.replicas(workload, location))

    def _list_replicas(self, call: Call, principal: Principal, link: str) -> Answer:
        workload = self._read(call, principal, link)
        locations = self._deployments.locations(workload)
        names = [self._lifecycle.replicas(workload, location) for location in locations]
        return _replica_list([name for found in names for name in found])

    def _commands(self, call: Call, principal: Principal, link: str) -> Answer:
        if call.method == "GET":
            self._resources.find(principal, link)
            return self._objects.list(call, principal, "command")
        if call.method != "POST":
            raise call.not_allowed()
        body = call.document()
        permission = _PERMISSIONS.get(str(body.get("type")), "exec")
        workload = self._resources.find(principal, link, permission)
        if workload.deleted:
            raise refuse(409, f"{link} is being deleted")
        command = self._lifecycle.command(workload, body, call.base_url)
        return created(self._config, command.link, command.document)

    def _command(self, call: Call, principal: Principal, link: str, command_id: str) -> Answer:
        self._resources.find(principal, link)
        command = self._store.get(f"{command_scope(link)}/{command_id}")
        if command is None:
            raise not_found(call.path)
        if call.method != "GET":
            # Clients have methods for PATCH and DELETE of a command, but their effect is not
            # documented.
            raise call.not_allowed()
        return json_answer(command.document)

    def _list_deployments(self, call: Call, principal: Principal, link: str) -> Answer:
        workload = self._read(call, principal, link)
        return json_answer(
            {
                "kind": "list",
                "itemKind": "deployment",
                "items": self._deployments.documents(workload, call.base_url),
                "links": link_list(self=call.path),
            }
        )

    def _deployment(self, call: Call, principal: Principal, link: str, location: str) -> Answer:
        workload = self._read(call, principal, link)
        for document in self._deployments.documents(workload, call.base_url):
            if document["name"] == location:
                return json_answer(document)
        raise not_found(call.path)

    def _read(self, call: Call, principal: Principal, link: str) -> Record:
        if call.method != "GET":
            raise call.not_allowed()
        return self._resources.find(principal, link)


def _replica_list(names: Sequence[str]) -> Answer:
    return json_answer({"kind": "list", "items": list(names), "links": []})
