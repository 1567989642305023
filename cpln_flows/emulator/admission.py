"""Decide by its head alone whether a request is admitted.

No part of a body is read for a sender who has no token.

Whoever has the token may start processes on this machine, and every page in a browser can send
requests to loopback. Therefore ``Host`` has to name this machine (a page whose own name was bound
to 127.0.0.1 names another), a browser's request from another origin is refused, and no response
allows another origin to read it (no CORS).
"""

from __future__ import annotations

import functools
import ipaddress
import re

from cpln_flows.emulator.answers import (
    BAD_REQUEST,
    FORBIDDEN,
    HEAD_TOO_LARGE,
    URI_TOO_LONG,
    RefusedError,
    refuse,
)
from cpln_flows.emulator.authentication import Authentication, read_token
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.control import PREFIX
from cpln_flows.emulator.head import Head
from cpln_flows.emulator.permissions import Principal
from cpln_flows.emulator.rate import RequestRate

URI_LIMIT = 32 * 1024
HEAD_LIMIT = 48 * 1024
_NETLOC = re.compile(r"(\[[0-9a-fA-F:.]+\]|[-._a-zA-Z0-9]+)(?::([0-9]{1,5}))?")
_PORTS = {"http": 80, "https": 443}
_FOREIGN_SITES = ("cross-site", "same-site")
_OPEN_PATHS = ("discovery",)
_NOBODY = Principal(None)


class Admission:
    """Decides which requests are admitted."""

    def __init__(
        self, config: PlatformConfig, authentication: Authentication, rate: RequestRate
    ) -> None:
        self._hosts = tuple(host.lower() for host in config.hosts)
        self._authentication = authentication
        self._rate = rate

    def admit(self, head: Head) -> Principal:
        """Return the sender of a request; raise ``RefusedError`` if it is not admitted."""
        self._check_size(head)
        self._check_host(head)
        self._check_origin(head)
        if head.path.strip("/") in _OPEN_PATHS:
            return _NOBODY
        authorization = head.header(b"authorization")
        principal = self._authentication.principal(authorization)
        if not head.path.startswith(PREFIX):
            self._rate.count(read_token(authorization))
        return principal

    def admit_terminal(self, head: Head) -> None:
        """Admit a WebSocket whose token is in its first message, so that no page can send it.

        The vendor's command line names an origin of its own here.

        Raises:
            RefusedError: The request is not admitted.
        """
        self._check_size(head)
        self._check_host(head)

    def _check_size(self, head: Head) -> None:
        if head.size <= URI_LIMIT:
            return
        if len(head.path) + len(head.query) > URI_LIMIT:
            raise refuse(URI_TOO_LONG, f"path and query must be at most {URI_LIMIT} bytes long")
        if head.size > HEAD_LIMIT:
            raise refuse(
                HEAD_TOO_LARGE, f"the head of a request must be at most {HEAD_LIMIT} bytes long"
            )

    def _check_host(self, head: Head) -> None:
        host = head.header(b"host")
        if host is None:
            raise refuse(BAD_REQUEST, 'header "Host" is required')
        if not _is_own(host, head.scheme, head.server, self._hosts):
            raise _foreign(f'"Host" names another machine or port: {host[:100]!r}')

    def _check_origin(self, head: Head) -> None:
        origin = head.header(b"origin")
        if origin is not None:
            scheme, _, netloc = origin.partition("://")
            if scheme != head.scheme or not _is_own(netloc, scheme, head.server, self._hosts):
                raise _foreign(f"requests of other origins are not allowed: {origin[:100]!r}")
        elif head.header(b"sec-fetch-site") in _FOREIGN_SITES:
            raise _foreign("requests of other sites are not allowed")


def _foreign(message: str) -> RefusedError:
    return refuse(FORBIDDEN, message)


@functools.lru_cache(maxsize=64)
def _is_own(
    netloc: str, scheme: str, server: tuple[str, int | None], hosts: tuple[str, ...]
) -> bool:
    """Return whether a name, with or without a port, addresses this platform.

    That is a loopback name, the very address at which the request arrived, or a configured host.
    """
    found = _NETLOC.fullmatch(netloc)
    if found is None:
        return False
    name, port = found.group(1).lower(), int(found.group(2) or _PORTS.get(scheme, 0))
    if f"{name}:{port}" in hosts:
        return True
    is_known = name in hosts or name == server[0] or _is_loopback(name)
    return is_known and port == (server[1] or _PORTS.get(scheme, 0))


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
