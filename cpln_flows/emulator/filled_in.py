"""Fields that a response shows although nobody has set them. Pure.

They are not stored, because the local platform itself goes by what was set: without a grace period
of its own, a workload is stopped within that of ``PlatformConfig``, not within the 90 s shown here.
"""

from __future__ import annotations

from cpln_flows.emulator.answers import Document

_GRACE_SECONDS = 90
_EXTERNAL = (
    "inboundAllowCIDR",
    "inboundBlockedCIDR",
    "outboundAllowCIDR",
    "outboundAllowHostname",
    "outboundAllowPort",
    "outboundBlockedCIDR",
)


def filled_in(spec: Document) -> Document:
    """Return the spec of a workload as a response shows it."""
    firewall = spec.get("firewallConfig") or {}
    external: Document = {name: [] for name in _EXTERNAL}
    internal: Document = {"inboundAllowType": "none", "inboundAllowWorkload": []}
    return {
        **spec,
        "firewallConfig": {
            **firewall,
            "external": external | _given(firewall, "external"),
            "internal": internal | _given(firewall, "internal"),
        },
        "rolloutOptions": {"terminationGracePeriodSeconds": _GRACE_SECONDS}
        | _given(spec, "rolloutOptions"),
    }


def _given(document: Document, name: str) -> Document:
    fields: Document = document.get(name) or {}
    return {name: value for name, value in fields.items() if value is not None}
