"""Choose the proxy for a request from proxy variables. Pure: the caller reads the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from cpln_flows.errors import ConfigurationError
from cpln_flows.model import addresses

_SCHEMES: Mapping[str, tuple[str, ...]] = {
    "http": ("http", "all"),
    "https": ("https", "all"),
    # Most environments name no proxy for WebSockets, so these fall back to the HTTP proxies.
    "ws": ("ws", "http", "all"),
    "wss": ("wss", "https", "all"),
}
_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63}){0,9}", re.IGNORECASE)


class Proxy(NamedTuple):
    """A proxy and the variable that names it."""

    url: str
    variable: str


@dataclass(frozen=True)
class _Exception:
    """One entry of ``NO_PROXY``: a network, or a domain with its subdomains, maybe for one port."""

    network: IPv4Network | IPv6Network | None = None
    name: str = ""
    port: int | None = None

    @classmethod
    def parse(cls, entry: str) -> _Exception | None:
        """Parse an entry; return ``None`` if it cannot match any host."""
        entry = entry.strip().rpartition("://")[2]
        try:
            return cls(network=ip_network(entry.strip("[]"), strict=False))
        except ValueError:
            pass
        try:
            parts = urlsplit(f"//{entry}")
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return None
        if parts.path or parts.query or parts.fragment or parts.username is not None:
            return None
        try:
            return cls(network=ip_network(host), port=port)
        except ValueError:
            name = host.removeprefix("*").strip(".")
            return cls(name=name, port=port) if _NAME.fullmatch(name) else None

    def covers(self, host: str, port: int | None) -> bool:
        """Whether the entry applies to a host."""
        if self.port not in (None, port):
            return False
        if self.network is None:
            return host == self.name or host.endswith(f".{self.name}")
        address = _address(host)
        return (
            address is not None
            and address.version == self.network.version
            and address in self.network
        )


@dataclass(frozen=True)
class Proxies:
    """The proxies of an environment.

    Args:
        by_scheme: Address of a proxy by the scheme of the requests that use it, or ``all``.
        exceptions: The hosts that are reached without a proxy.
        is_off: Whether all hosts are reached without a proxy.
    """

    # Not in the repr, because an address may contain a password.
    by_scheme: Mapping[str, str] = field(default_factory=dict, repr=False)
    exceptions: tuple[_Exception, ...] = ()
    is_off: bool = False

    @classmethod
    def of(cls, found: Mapping[str, str]) -> Self:
        """Parse the result of ``urllib.request.getproxies``.

        Entries of ``NO_PROXY`` that cannot match any host are skipped: they may be meant for other
        programs.

        >>> exceptions = "fd00:1234::/64, .internal, 10.0.0.0/8"
        >>> proxies = Proxies.of({"https": "proxy:3128", "no": exceptions})
        >>> proxies.proxy_of("https://api.cpln.io")
        Proxy(url='http://proxy:3128', variable='HTTPS_PROXY')
        >>> proxies.proxy_of("https://[fd00:1234::7]"), proxies.proxy_of("https://api.internal")
        (None, None)
        """
        entries = [entry.strip() for entry in found.get("no", "").split(",")]
        exceptions = (_Exception.parse(entry) for entry in entries if entry)
        by_scheme = {scheme: url for scheme, url in found.items() if scheme != "no" and url}
        return cls(
            by_scheme, tuple(entry for entry in exceptions if entry is not None), "*" in entries
        )

    def proxy_of(self, url: str) -> Proxy | None:
        """Return the proxy for a request to this address, if it needs one.

        Raises:
            ConfigurationError: The environment names an invalid proxy; the message has the variable
                and its value.
        """
        parts = urlsplit(url)
        schemes = _SCHEMES.get(parts.scheme, ())
        scheme = next((scheme for scheme in schemes if scheme in self.by_scheme), None)
        host, port = (
            (parts.hostname or "").rstrip("."),
            parts.port or addresses.PORTS.get(parts.scheme),
        )
        if (
            scheme is None
            or self.is_off
            or any(entry.covers(host, port) for entry in self.exceptions)
        ):
            return None
        return _proxy(self.by_scheme[scheme].strip(), f"{scheme.upper()}_PROXY")


def _proxy(text: str, variable: str) -> Proxy:
    url = text if "://" in text else f"http://{text}"
    if not addresses.is_url(url, "http", "https", "socks5", "socks5h") or urlsplit(
        url
    ).path not in ("", "/"):
        raise ConfigurationError(
            f"{variable}: {addresses.without_credentials(text)!r} is not the address of a proxy;"
            " expected one such as http://proxy:3128 or socks5://proxy:1080; correct or unset it"
        )
    return Proxy(url, variable)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
