"""Addresses of services: where they lead, and what they must not contain. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def is_loopback(url: str | None) -> bool:
    """Whether an address leads back to the machine that uses it.

    For every container that is a different machine.

    >>> is_loopback("http://127.0.0.1:4200/api"), is_loopback("http://prefect.cpln.local/api")
    (True, False)
    """
    try:
        host = urlsplit(url or "").hostname or ""
    except ValueError:
        return False  # not an address at all
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def is_url(text: str, *schemes: str) -> bool:
    """Whether a string is the address of a service.

    >>> is_url("https://api.cpln.io", "https"), is_url("api.cpln.io", "https")
    (True, False)
    >>> is_url("https://api:99999", "https")
    False
    """
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in schemes
            and bool(parts.hostname)
            and parts.port != 0
            and not re.search(r"\s", text)
        )
    except ValueError:
        return False


def is_endpoint(url: str) -> bool:
    """Whether paths can be appended to an address.

    Such an address ends with its host or with a path, and carries no user.

    >>> is_endpoint("https://api.cpln.io"), is_endpoint("https://api.cpln.io?a=b")
    (True, False)
    >>> is_endpoint("https://me:pass@api.cpln.io")
    False
    """
    return is_url(url, *PORTS) and not has_credentials(url) and "?" not in url and "#" not in url


def host(url: str) -> str | None:
    """Return the host of an address, if it has one."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def keeps_secrets(url: str) -> bool:
    """Whether nobody on the way can read what is sent to an address.

    >>> keeps_secrets("wss://logs.cpln.io"), keeps_secrets("http://logs.cpln.io")
    (True, False)
    >>> keeps_secrets("http://127.0.0.1:80")
    True
    """
    return url.lower().startswith(("https:", "wss:")) or is_loopback(url)


def origin(url: str) -> str | None:
    """Return scheme, host and port of an address in a normal form, or ``None`` if it has none.

    >>> origin("HTTPS://API.cpln.io/org"), origin("http://[::1]:80"), origin("/org/acme")
    ('https://api.cpln.io:443', 'http://[::1]:80', None)
    """
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return None
    if not parts.hostname or port is None:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def has_credentials(url: str) -> bool:
    """Whether an address may carry a user or a password, even if it cannot be parsed.

    >>> has_credentials("https://me:pass@api.cpln.io"), has_credentials("https://api.cpln.io/a@b")
    (True, False)
    """
    return "@" in _authority(url)


def without_credentials(url: str) -> str:
    """Return an address as a log or an error may show it.

    >>> without_credentials("http://me:pass@proxy:3128"), without_credentials("me:pass@proxy")
    ('http://...@proxy:3128', '...@proxy')
    >>> without_credentials("http://proxy")
    'http://proxy'
    """
    authority = _authority(url)
    return (
        url.replace(authority, f"...@{authority.rpartition('@')[2]}", 1)
        if "@" in authority
        else url
    )


def _authority(url: str) -> str:
    return re.split(r"[/?#\\]", url.partition("://")[2] if "://" in url else url, maxsplit=1)[0]
