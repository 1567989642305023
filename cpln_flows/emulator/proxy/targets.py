"""Read the target of a request: absolute form, authority form, origin form. No I/O."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_HTTP_PORT = 80
_LAST_PORT = 65_535
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})")
_PORT = re.compile(r"[0-9]{1,5}")
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://")
_END_OF_AUTHORITY = re.compile(r"[/?#]")


class BadTargetError(Exception):
    """A target that a proxy cannot serve."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A host in lowercase, an IPv6 address without brackets, and a port."""

    host: str
    port: int

    @property
    def header(self) -> bytes:
        """The authority as a ``Host`` header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == _HTTP_PORT else f"{host}:{self.port}").encode()


def parse_authority(text: str, default_port: int | None = None) -> Authority:
    """Read ``host:port``; raise ``BadTargetError`` unless both are there and valid."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not _is_ipv6(host) or (rest and not rest.startswith(":")):
            raise BadTargetError("the target holds no valid IPv6 address")
        port = rest[1:]
    else:
        host, _, port = text.partition(":")
        if not _HOST.fullmatch(host):
            raise BadTargetError("the target holds no valid host")
    return Authority(host.lower(), _port(port, default_port))


def parse_absolute(target: bytes) -> tuple[Authority, bytes]:
    """Read ``http://host/path``; return the authority and the target in origin form.

    Raises:
        BadTargetError: It is no such URL.
    """
    text = target.decode("ascii", "replace")
    scheme, separator, rest = text.partition("://")
    if not separator or text.startswith("/"):
        raise BadTargetError("this is a forward proxy: the target must be an absolute URL")
    if scheme.lower() != "http":
        raise BadTargetError("only http:// URLs can be requested; use CONNECT for others")
    end = _END_OF_AUTHORITY.search(rest)
    authority = rest if end is None else rest[: end.start()]
    path = "" if end is None else rest[end.start() :].partition("#")[0]
    if not path.startswith("/"):
        path = f"/{path}"
    return parse_authority(authority, _HTTP_PORT), path.encode()


def origin_form(target: bytes) -> bytes:
    """Return the target as a server of its own host gets it, whatever form it came in.

    Raises:
        BadTargetError: It is neither a path, nor an absolute URL, nor an asterisk.
    """
    if _SCHEME.match(target):
        return parse_absolute(target)[1]
    if target.startswith(b"/") or target == b"*":
        return target
    raise BadTargetError("the target must be a path")


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def _port(text: str, default: int | None) -> int:
    if not text and default is not None:
        return default
    if not _PORT.fullmatch(text) or not 0 < int(text) <= _LAST_PORT:
        raise BadTargetError("the target holds no valid port")
    return int(text)
