"""Who may send requests to a workload. Pure.

Nothing is allowed unless a workload's firewall allows it. Between containers its internal part
counts, for any other caller its external part.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.store import Record


def admits_workload(callee: Record, caller: Record) -> bool:
    """Return whether the containers of a workload may send requests to another, in one org."""
    internal = _part(callee, "internal")
    match internal.get("inboundAllowType"):
        case "same-org":
            return True
        case "same-gvc":
            return callee.gvc == caller.gvc
        case "workload-list":
            return caller.link in (internal.get("inboundAllowWorkload") or ())
        case _:
            return False


def admits_address(callee: Record, address: str) -> bool:
    """Return whether a caller with this IP address may send requests to a workload."""
    external = _part(callee, "external")
    return _is_within(address, external.get("inboundAllowCIDR") or ()) and not _is_within(
        address, external.get("inboundBlockedCIDR") or ()
    )


def _part(callee: Record, name: str) -> Document:
    firewall: Document = callee.document["spec"].get("firewallConfig") or {}
    return firewall.get(name) or {}


def _is_within(address: str, networks: Iterable[str]) -> bool:
    caller = ipaddress.ip_address(address)
    if isinstance(caller, ipaddress.IPv6Address):
        caller = caller.ipv4_mapped or caller
    return any(caller in network for each in networks if (network := _network(each)) is not None)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
