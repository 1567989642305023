"""Addresses that mean another machine in a container than they do here. Pure."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(url: str | None) -> bool:
    """Whether an address leads back to the machine that uses it, which is another one for every container.

    >>> is_loopback("http://127.0.0.1:4200/api"), is_loopback("http://prefect-server.prefect.cpln.local/api")
    (True, False)
    """
    host = urlsplit(url or "").hostname
    if host is None:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified
