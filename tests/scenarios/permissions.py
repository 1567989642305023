"""A platform whose own token may do what is granted to it and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from cpln_flows.emulator import Platform, PlatformConfig

WORKER = "/org/local/serviceaccount/worker"
DOCUMENTED = {
    "gvc": ["view"],
    "org": ["readLogs"],
    "workload": ["create", "view", "delete", "exec.runCronWorkload", "exec.stopReplica"],
}
"""What the README names."""


def limited(**more: Any) -> Platform:
    """Return a platform whose token belongs to a service account without any rights."""
    tokens = {"s.root": "/org/local/group/superusers", "s.worker": WORKER}
    return Platform(PlatformConfig(delete_delay_seconds=0, token="s.worker", tokens=tokens), **more)


def grant(url: str, grants: Mapping[str, list[str]]) -> None:
    """Let the service account do something with all objects of some kinds."""
    with httpx.Client(base_url=url, headers={"authorization": "s.root"}) as root:
        root.put("/org/local/serviceaccount", json={"name": "worker"}).raise_for_status()
        for kind, permissions in grants.items():
            bindings = [{"permissions": permissions, "principalLinks": [WORKER]}]
            policy = {
                "name": f"p-{kind}",
                "targetKind": kind,
                "target": "all",
                "bindings": bindings,
            }
            root.put("/org/local/policy", json=policy).raise_for_status()
