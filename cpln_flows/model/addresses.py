"""Addresses that mean another machine in a container than they do here. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit


def is_loopback(url: str | None) -> bool:
    """Whether an address leads back to the machine that uses it, which is another one for every container.

    >>> is_loopback("http://127.0.0.1:4200/api"), is_loopback("http://prefect-server.prefect.cpln.local/api")
    (True, False)
    """
    try:
        host = urlsplit(url or "").hostname or ""
    except ValueError:
        return False  # no address at all
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def is_url(text: str, *schemes: str) -> bool:
    """Whether a text is the address of a service.

    >>> is_url("https://api.cpln.io", "https"), is_url("api.cpln.io", "https"), is_url("https://api:99999", "https")
    (True, False, False)
    """
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", text)
    except ValueError:
        return False
