"""The names by which workloads are reached. Pure.

- ``WORKLOAD.GVC.cpln.local``: any ready replica.
- ``replica-N.WORKLOAD.GVC.cpln.local`` and ``replica-N.WORKLOAD.LOCATION.GVC.cpln.local``: the
  replica of a stateful workload with index N.
- ``WORKLOAD-ALIAS.cpln.app``: the canonical endpoint, with the alias of the GVC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LABEL = r"[a-z0-9][-a-z0-9]*"
_WORKLOAD = re.compile(rf"(?P<workload>{_LABEL})\.(?P<gvc>{_LABEL})\.cpln\.local")
_REPLICA = re.compile(
    rf"replica-(?P<index>[0-9]{{1,4}})\.(?P<workload>{_LABEL})\."
    rf"(?:(?P<location>{_LABEL})\.)?(?P<gvc>{_LABEL})\.cpln\.local"
)
_CANONICAL = re.compile(rf"(?P<workload>{_LABEL})-(?P<alias>a1[a-z0-9]{{11}})\.cpln\.app")
_LONGEST = 253


@dataclass(frozen=True, slots=True)
class Internal:
    """What an internal name names."""

    workload: str
    gvc: str
    index: int | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Canonical:
    """What a canonical name names."""

    workload: str
    alias: str


def read_name(host: str) -> Internal | Canonical | None:
    """Return what a host name names on the platform, or ``None`` if it is a name of elsewhere.

    Example:
        >>> read_name("replica-0.db.prod.cpln.local")
        Internal(workload='db', gvc='prod', index=0, location=None)
        >>> read_name("example.com")
    """
    name = host.rstrip(".").lower()
    if len(name) > _LONGEST:
        return None
    if found := _WORKLOAD.fullmatch(name):
        return Internal(found["workload"], found["gvc"])
    if found := _REPLICA.fullmatch(name):
        return Internal(found["workload"], found["gvc"], int(found["index"]), found["location"])
    if found := _CANONICAL.fullmatch(name):
        return Canonical(found["workload"], found["alias"])
    return None


def is_ours(host: str) -> bool:
    """Return whether a host name is below the platform's own domains."""
    return host.rstrip(".").lower().endswith((".cpln.local", ".cpln.app"))
