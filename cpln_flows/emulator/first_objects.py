"""The objects that an organization has from the start, and those that a saved state held.

What a saved state lacks of the former is created: a location that is configured since, or a policy
that an older version did not have.
"""

from __future__ import annotations

import uuid

from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.clock import Clock, iso
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.kinds import KINDS
from cpln_flows.emulator.links import collection_link, link_list, org_link
from cpln_flows.emulator.saved import SavedObject, SavedState
from cpln_flows.emulator.store import Store


def restore(store: Store, state: SavedState) -> None:
    """Put the objects of a saved state into an empty store."""
    for each in state.objects:
        kind = each.document["kind"]
        is_scoped = kind in KINDS and KINDS[kind].is_scoped
        record = store.add(
            kind=kind,
            scope=each.scope(state.org),
            name=each.document["name"],
            document=each.document,
            gvc=each.gvc,
            wide_scope=collection_link(state.org, kind) if is_scoped else None,
        )
        record.deleted = each.deleted


def saved_objects(store: Store) -> tuple[SavedObject, ...]:
    """Return everything in a store that is to be saved, which commands are not."""
    return tuple(
        SavedObject(record.gvc, record.document, record.deleted)
        for record in store.records()
        if is_saved(record.kind)
    )


def is_saved(kind: str) -> bool:
    """Return whether objects of a kind are saved."""
    return kind in KINDS or kind == "org"


class FirstObjects:
    """Creates the objects that belong to the platform."""

    def __init__(self, config: PlatformConfig, clock: Clock, store: Store) -> None:
        self._config = config
        self._clock = clock
        self._store = store

    def create(self) -> None:
        """Create the organization, its locations, groups and policies, as far as they lack."""
        org = self._config.org
        self._create(
            "org",
            "/org",
            org,
            {"spec": {"observability": {"logsRetentionDays": self._config.log_retention_days}}},
        )
        for location in self._config.locations:
            region = location.partition("-")[2] or location
            provider = self._config.provider_of(location)
            self._create("location", f"/org/{org}/location", location, {
                "provider": provider, "cloudProvider": provider, "region": region,
                "spec": {"enabled": True}, "origin": "builtin",
            })  # fmt: skip
        for group in ("superusers", "viewers"):
            self._create(
                "group", f"/org/{org}/group", group, {"memberLinks": [], "origin": "builtin"}
            )
        for kind in ("org", *KINDS):
            self._create_policies(kind)

    def gvc(self) -> Document | None:
        """Return the document of the first GVC, unless it exists."""
        org = self._config.org
        if self._store.get(f"{collection_link(org, 'gvc')}/{self._config.gvc}") is not None:
            return None
        links = [f"/org/{org}/location/{location}" for location in self._config.locations]
        spec = {"staticPlacement": {"locationLinks": links}, "env": []}
        return {"name": self._config.gvc, "spec": spec}

    def _create_policies(self, kind: str) -> None:
        org = self._config.org
        for group, permission in (("superusers", "manage"), ("viewers", "view")):
            principals = [f"/org/{org}/group/{group}"]
            self._create("policy", f"/org/{org}/policy", f"{group}-{kind}", {
                "targetKind": kind, "target": "all", "origin": "builtin",
                "bindings": [{"permissions": [permission], "principalLinks": principals}],
            })  # fmt: skip

    def _create(self, kind: str, scope: str, name: str, content: Document) -> None:
        link = f"{scope}/{name}"
        if self._store.get(link) is not None:
            return
        now = iso(self._clock.time_ns())
        document: Document = {
            "kind": kind, "id": str(uuid.uuid4()), "name": name, "version": 1, "description": name,
            "tags": {}, "created": now, "lastModified": now, **content, "status": {},
            "links": link_list(self=link, org=org_link(self._config.org)),
        }  # fmt: skip
        self._store.add(kind=kind, scope=scope, name=name, document=document)
