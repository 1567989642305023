"""Addresses and credentials of containers, and the ways between workloads.

A container is known to the proxy by a secret of its own, so that a firewall can tell who asks.
"""

from __future__ import annotations

import itertools
import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence

from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.links import collection_link
from cpln_flows.emulator.placement import Placement
from cpln_flows.emulator.proxy.routes import Backend, Refused, Route
from cpln_flows.emulator.serving.firewall import admits_address, admits_workload
from cpln_flows.emulator.serving.health import first_port, ports_of
from cpln_flows.emulator.serving.names import Canonical, Internal, is_ours, read_name
from cpln_flows.emulator.serving.ports import HOST
from cpln_flows.emulator.serving.replica import Replica, Replicas
from cpln_flows.emulator.serving.wanted import options_in, serves
from cpln_flows.emulator.store import Record, Store

_PROXY_AUTHENTICATION = Refused(407, "only containers of the local platform use this proxy")
_DENIED = Refused(403, "RBAC: access denied")
_HTTP_PORT = 80
_DEFAULT_TIMEOUT_SECONDS = 5.0


class Network:
    """The names, addresses and firewalls of one platform.

    Attributes:
        endpoint: Address of the API.
        proxy: Address of the proxy, without credentials; empty if none is served.
    """

    def __init__(self, config: PlatformConfig, store: Store, replicas: Replicas) -> None:
        self._config = config
        self._store = store
        self._replicas = replicas
        self._callers: dict[str, Placement] = {}
        self._secrets: dict[Placement, str] = {}
        self._turns: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)
        self.endpoint: str = ""
        self.proxy: str = ""

    def admit(self, placement: Placement) -> str:
        """Return the address of the proxy for containers, with credentials of their own."""
        if not self.proxy:
            return ""
        secret = secrets.token_urlsafe(18)
        self.dismiss(placement)
        self._callers[secret] = placement
        self._secrets[placement] = secret
        return self.proxy.replace("://", f"://{placement.replica}:{secret}@", 1)

    def dismiss(self, placement: Placement) -> None:
        """Forget the credentials of containers that have ended."""
        self._callers.pop(self._secrets.pop(placement, ""), None)

    # As a router of the proxy

    def internal(self, credentials: str | None, host: str, port: int) -> Route | Refused | None:
        """Route a container's request; ``None`` if the name is not one of the platform."""
        caller = self._callers.get((credentials or "").rpartition(":")[2])
        if caller is None:
            return _PROXY_AUTHENTICATION
        match read_name(host):
            case Internal() as name:
                return self._by_internal_name(caller, name, port)
            case Canonical(workload, alias):
                found = self._by_alias(workload, alias)
                return _unknown(host) if found is None else self.canonical(found.link, HOST)
        return _unknown(host) if is_ours(host) else None

    def canonical(self, workload: str, address: str) -> Route | Refused:
        """Route a request from outside to the canonical endpoint of a workload, by its link."""
        record = self._store.get(workload)
        if record is None or record.deleted:
            return _unknown(workload)
        if not admits_address(record, address):
            return _DENIED
        return self._route(record, [self._replicas.of(record)], _HTTP_PORT)

    def _by_internal_name(self, caller: Placement, name: Internal, port: int) -> Route | Refused:
        scope = collection_link(self._config.org, "workload", name.gvc)
        record = self._store.get(f"{scope}/{name.workload}")
        if record is None or record.deleted or not serves(record.document["spec"]):
            return _unknown(f"{name.workload}.{name.gvc}.cpln.local")
        if not admits_workload(record, caller.workload):
            return _DENIED
        found = self._replicas.of(record, name.location)
        if name.index is not None:
            found = [each for each in found if each.index == name.index]
        near = [each for each in found if each.location == caller.location]
        far = [each for each in found if each.location != caller.location]
        # With an index, there is one replica in each location, and a near one is the one meant.
        is_meant = name.index is not None and bool(near)
        return self._route(record, [near] if is_meant else [near, far], port)

    def _route(
        self, record: Record, groups: Sequence[Sequence[Replica]], port: int
    ) -> Route | Refused:
        """Route a request over the ready replicas of each group in turn, the first group first."""
        spec = record.document["spec"]
        declared, is_raw = _port(spec, port)
        if declared is None:
            return Refused(503, f"{record.link} declares no port {port}")
        turn = next(self._turns[record.link])
        ordered = [each for group in groups for each in _ready_in_turn(group, turn)]
        backends = [
            Backend(HOST, each.ports[declared]) for each in ordered if declared in each.ports
        ]
        options = options_in(spec, ordered[0].location if ordered else "")
        seconds = float(options.get("timeoutSeconds") or _DEFAULT_TIMEOUT_SECONDS)
        return Route(tuple(backends), seconds, is_raw)

    def _by_alias(self, workload: str, alias: str) -> Record | None:
        for gvc in self._store.in_scope(collection_link(self._config.org, "gvc")):
            if gvc.document.get("alias") == alias:
                return self._store.get(f"{gvc.link}/workload/{workload}")
        return None


def _unknown(name: str) -> Refused:
    return Refused(503, f"no workload that serves is known as {name}")


def _port(spec: Document, port: int) -> tuple[int | None, bool]:
    """Return the declared port for a port that a client names, and whether it speaks TCP.

    The port of plain HTTP is that of the first port of all containers.
    """
    containers = spec.get("containers") or ()
    for container in containers:
        if port in ports_of(container):
            protocols = {
                each["number"]: each.get("protocol") for each in container.get("ports", ())
            }
            return port, protocols.get(port) == "tcp"
    if port != _HTTP_PORT:
        return None, False
    return next(
        (first for each in containers if (first := first_port(each)) is not None), None
    ), False


def _ready_in_turn(replicas: Sequence[Replica], turn: int) -> list[Replica]:
    ready = [each for each in replicas if each.is_ready]
    start = turn % len(ready) if ready else 0
    return [*ready[start:], *ready[:start]]
