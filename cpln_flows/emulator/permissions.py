"""Decide who may do what: policies, groups and implied permissions. The routes refuse.

Permissions are enforced on requests if the platform was configured with tokens. ``reveal``, which
lets a workload read a secret, is always enforced, because the platform itself checks it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.links import collection_link, last_segment
from cpln_flows.emulator.query import parse_query
from cpln_flows.emulator.store import Record, Store

_GENERIC = {
    "view": (),
    "create": (),
    "delete": (),
    "edit": ("view",),
    "manage": ("view", "create", "delete", "edit"),
}

_SCHEMAS: dict[str, dict[str, tuple[str, ...]]] = {
    "workload": {
        "view": (),
        "create": (),
        "delete": (),
        "edit": ("view",),
        "connect": (),
        "configureLoadBalancer": (),
        "exec": ("exec.runCronWorkload", "exec.stopReplica"),
        "exec.runCronWorkload": (),
        "exec.stopReplica": (),
        "manage": ("view", "create", "delete", "edit", "connect", "configureLoadBalancer", "exec"),
    },
    "org": {
        "view": (),
        "edit": (),
        "readLogs": ("view",),
        "readMetrics": (),
        "readUsage": (),
        "grafanaAdmin": (),
        "exec": ("exec.echo",),
        "exec.echo": (),
        "viewAccessReport": (),
        "manage": (
            "view", "edit", "readLogs", "readMetrics", "readUsage", "grafanaAdmin", "exec",
            "viewAccessReport",
        ),
    },
    "secret": {
        "view": (),
        "create": (),
        "delete": (),
        "use": ("view",),
        "reveal": ("view",),
        "edit": ("view", "reveal"),
        "manage": ("view", "create", "delete", "use", "reveal", "edit"),
    },
    "serviceaccount": {
        "view": (),
        "create": (),
        "delete": (),
        "edit": (),
        "addKey": (),
        "manage": ("view", "create", "delete", "edit", "addKey"),
    },
    "image": {
        "view": (),
        "pull": ("view",),
        "create": ("pull",),
        "edit": ("view",),
        "delete": (),
        "manage": ("view", "pull", "create", "edit", "delete"),
    },
}  # fmt: skip

_DESCRIPTIONS = {
    "manage": "Full access",
    "readLogs": "Read logs of the workloads in the org",
    "reveal": "Read the data of the secret",
    "exec.runCronWorkload": "Start a run of a cron workload",
    "exec.stopReplica": "Stop a replica",
}


def permissions_of(kind: str) -> dict[str, tuple[str, ...]]:
    """Return the permissions of a kind, each with what it implies directly."""
    return _SCHEMAS.get(kind, _GENERIC)


def permission_schema(kind: str) -> Document:
    """Return the permissions of a kind as the platform lists them."""
    items = [
        {
            "name": name,
            "description": _DESCRIPTIONS.get(name, f"Allows {name} of {kind}"),
            "implies": list(implied),
        }
        for name, implied in permissions_of(kind).items()
    ]
    return {"kind": "permissions", "itemKind": kind, "permissions": items}


def granted_by(kind: str, permission: str) -> set[str]:
    """Return every permission that includes a given permission, including itself."""
    schema = permissions_of(kind)
    found = {permission}
    while more := {name for name, implied in schema.items() if found & set(implied)} - found:
        found |= more
    return found


@dataclass(frozen=True, slots=True)
class Principal:
    """The sender of a request.

    ``link`` is a service account, a user, a group, or a workload's identity; ``None`` for a
    workload without one, and for the platform's own token. ``is_operator`` marks the holder of that
    token, the only one who may use the control routes.
    """

    link: str | None
    is_superuser: bool = False
    is_workload: bool = False
    is_operator: bool = False


class Permissions:
    """Decides by the policies in the store."""

    def __init__(self, store: Store, org: str) -> None:
        self._store = store
        self._org = org

    def allows(self, principal: Principal, permission: str, target: Record) -> bool:
        """Return whether a principal has a permission on an object."""
        if principal.is_superuser:
            return True
        if target.kind == "org" and permission == "view" and principal.is_workload:
            # A workload can read its own organization even without an identity.
            return True
        return principal.link is not None and self.link_allows(principal.link, permission, target)

    def link_allows(self, principal: str, permission: str, target: Record) -> bool:
        """Return whether the object behind a link has a permission on another object."""
        principals = {principal, *self._groups_of(principal)}
        wanted = granted_by(target.kind, permission)
        return any(
            _binds(policy.document, principals, wanted) and _covers(policy.document, target)
            for policy in self._store.walk(
                collection_link(self._org, "policy"),
                [("property", "targetKind", target.kind)],
                after=None,
                newest_first=False,
            )
        )

    def _groups_of(self, principal: str) -> list[str]:
        groups = self._store.in_scope(collection_link(self._org, "group"))
        return [
            group.link for group in groups if principal in (group.document.get("memberLinks") or ())
        ]


def _binds(policy: Document, principals: set[str], wanted: set[str]) -> bool:
    return any(
        wanted & set(binding.get("permissions") or ())
        and principals & set(binding.get("principalLinks") or ())
        for binding in policy.get("bindings") or ()
    )


def _covers(policy: Document, target: Record) -> bool:
    if policy.get("target") == "all":
        return True
    if policy.get("targetQuery") is not None:
        return parse_query(target.kind, policy["targetQuery"]).matches(target)
    return target.link in (policy.get("targetLinks") or ())


def kind_of_principal(link: str) -> str:
    """Return the kind of the object that a principal link names."""
    return last_segment(link.rsplit("/", 1)[0])
