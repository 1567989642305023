"""The three ways into the proxy, and where a request goes that came in by one of them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import h11

from cpln_flows.emulator.proxy.headers import credentials_of
from cpln_flows.emulator.proxy.routes import Refused, Route, Router
from cpln_flows.emulator.proxy.targets import (
    Authority,
    BadTargetError,
    origin_form,
    parse_absolute,
    parse_authority,
)

CONNECT = b"CONNECT"
_BAD_REQUEST = 400


@dataclass(frozen=True, slots=True)
class Outside:
    """A server that is not the platform's."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of a request.

    Attributes:
        destination: Where it goes.
        target: Its target in origin form.
        host: The ``Host`` that it gets if it has none.
        tunnel: The entrance of what comes through the tunnel that it opens, if it does.
    """

    destination: Route | Refused | Outside
    target: bytes = field(default=b"", repr=False)
    host: bytes = b""
    tunnel: TunnelEntrance | None = None


class Entrance(Protocol):
    """Where requests of one kind come in."""

    def plan(self, request: h11.Request) -> Plan:
        """Decide what becomes of a request."""


@dataclass(frozen=True, slots=True)
class ProxyEntrance:
    """The forward proxy: its requests name the whole URL, or open a tunnel."""

    router: Router

    def plan(self, request: h11.Request) -> Plan:
        """Route a request by the host in its target."""
        is_tunnel = request.method == CONNECT
        try:
            if is_tunnel:
                authority, target = parse_authority(request.target.decode("ascii", "replace")), b""
            else:
                authority, target = parse_absolute(request.target)
        except BadTargetError as error:
            return _bad(error)
        tunnel = TunnelEntrance(self.router, authority, credentials_of(request))
        destination = tunnel.destination()
        return Plan(destination, target, authority.header, tunnel if is_tunnel else None)


@dataclass(frozen=True, slots=True)
class TunnelEntrance:
    """A tunnel to a host of the platform, in which plain HTTP is spoken."""

    router: Router
    authority: Authority
    credentials: str | None = field(repr=False)

    def destination(self) -> Route | Refused | Outside:
        """Ask where the tunnel leads at the moment."""
        host, port = self.authority.host, self.authority.port
        found = self.router.internal(self.credentials, host, port)
        return Outside(host, port) if found is None else found

    def plan(self, request: h11.Request) -> Plan:
        """Route a request by the host that the tunnel was opened to."""
        try:
            target = _path_of(request)
        except BadTargetError as error:
            return _bad(error)
        return Plan(self.destination(), target, self.authority.header)


@dataclass(frozen=True, slots=True)
class EdgeEntrance:
    """The canonical endpoint of a workload, as one caller sees it."""

    router: Router
    workload: str
    address: str
    host: bytes

    def plan(self, request: h11.Request) -> Plan:
        """Route a request by the address that it came from."""
        try:
            target = _path_of(request)
        except BadTargetError as error:
            return _bad(error)
        return Plan(self.router.canonical(self.workload, self.address), target, self.host)


def _path_of(request: h11.Request) -> bytes:
    if request.method == CONNECT:
        raise BadTargetError("CONNECT is served by the forward proxy only")
    return origin_form(request.target)


def _bad(error: BadTargetError) -> Plan:
    return Plan(Refused(_BAD_REQUEST, str(error)))
