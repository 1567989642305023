"""Select the route for each path."""

from __future__ import annotations

from collections.abc import Sequence

from cpln_flows.emulator.answers import (
    FORBIDDEN,
    NOT_FOUND,
    Answer,
    RefusedError,
    json_answer,
    refuse,
)
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.kinds import KINDS, Kind
from cpln_flows.emulator.links import org_link
from cpln_flows.emulator.permissions import Principal
from cpln_flows.emulator.routes.call import Call
from cpln_flows.emulator.routes.log_service import LogService
from cpln_flows.emulator.routes.objects import ObjectRoutes, not_found
from cpln_flows.emulator.routes.workloads import WorkloadRoutes

_QUERY = "-query"


class Paths:
    """All paths of the platform except the tail and the control routes."""

    def __init__(
        self,
        config: PlatformConfig,
        objects: ObjectRoutes,
        workloads: WorkloadRoutes,
        log_service: LogService,
    ) -> None:
        self._config = config
        self._objects = objects
        self._workloads = workloads
        self._log_service = log_service

    def answer(self, call: Call) -> Answer:
        """Answer a request."""
        try:
            return self._dispatch(call)
        except RefusedError as refusal:
            return refusal.answer()

    def timeout_seconds(self, call: Call) -> float | None:
        """Return the time after which a request is ended, if it has a limit."""
        match call.path.strip("/").split("/"):
            case ["logs", "org", _, "loki", "api", "v1", "query_range"]:
                return self._config.log_query_timeout_seconds
        return None

    def _dispatch(self, call: Call) -> Answer:
        match call.path.strip("/").split("/"):
            case ["discovery"]:
                return self._discovery(call)
            case ["logs", "org", org, "loki", "api", "v1", "query_range"]:
                return self._log_service.range(call, org)
            case ["org", *rest]:
                return self._org(call, call.principal, rest)
            case ["location", location, "replicas", *rest]:
                # The vendor's command line sends two slashes before a link.
                link = "".join(f"/{name}" for name in rest if name)
                return self._workloads.replicas(call, call.principal, location, link)
        raise not_found(call.path)

    def _discovery(self, call: Call) -> Answer:
        """Answer with the services' addresses; this is the only path that needs no token."""
        base = call.base_url
        host = base.partition("://")[2]
        endpoints = {
            "logs": base,
            "registry": f"http://{{org}}.registry.{host}",
            "audit": base,
            "metrics": base,
        }
        return json_answer({"endpoints": endpoints, "firebase": {}})

    def _org(self, call: Call, principal: Principal, rest: Sequence[str]) -> Answer:
        if not rest:
            return self._objects.list(call, principal, "org")
        if rest == ["-schema", "permissions"]:
            return self._objects.schema(call, "org")
        org, *below = rest
        if org != self._config.org:
            if principal.is_superuser:
                raise refuse(NOT_FOUND, f"org {org!r} was not found")
            raise refuse(FORBIDDEN, f'the operation requires permission "view" in org {org}')
        if not below:
            return self._objects.one(call, principal, None, None)
        gvc, (kind_name, *names) = _split_gvc(below)
        kind = KINDS.get(kind_name)
        if kind is None or (gvc is not None and not kind.is_scoped):
            raise not_found(call.path)
        return self._kind(call, principal, kind, gvc, names)

    def _kind(
        self, call: Call, principal: Principal, kind: Kind, gvc: str | None, names: Sequence[str]
    ) -> Answer:
        match names:
            case []:
                return self._objects.collection(call, principal, kind, gvc)
            case ["-query"] if gvc is None or kind.name not in ("workload", "identity"):
                return self._objects.query(call, principal, kind.name)
            case ["-schema", "permissions"]:
                return self._objects.schema(call, kind.name)
            case [name] if not name.startswith("-"):
                return self._objects.one(call, principal, kind, gvc)
            case [name, *rest]:
                return self._below(call, principal, kind, self._link(kind, gvc, name), rest)
        raise not_found(call.path)

    def _below(
        self, call: Call, principal: Principal, kind: Kind, link: str, rest: Sequence[str]
    ) -> Answer:
        if kind.name == "workload":
            return self._workloads.below(call, principal, link, rest)
        if kind.name == "secret" and rest == ["-reveal"]:
            return self._objects.reveal(call, principal, link)
        if kind.name == "serviceaccount" and rest == ["-addKey"]:
            return self._objects.add_key(call, principal, link)
        raise not_found(call.path)

    def _link(self, kind: Kind, gvc: str | None, name: str) -> str:
        base = org_link(self._config.org)
        return (
            f"{base}/{kind.name}/{name}" if gvc is None else f"{base}/gvc/{gvc}/{kind.name}/{name}"
        )


def _split_gvc(below: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """Distinguish ``gvc/G/<kind>/…`` from ``<kind>/…``; ``gvc/G`` itself is of kind gvc."""
    if (
        len(below) > 2  # noqa: PLR2004
        and below[0] == "gvc"
        and not below[2].startswith("-")
        and below[1] != "-schema"
    ):
        return below[1], below[2:]
    return None, below
