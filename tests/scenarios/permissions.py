"""Platforms that enforce permissions: with a token of few rights, or with generated documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from cpln_flows import CplnConfig, CplnCredentials
from cpln_flows.emulator import ManualClock, Platform, PlatformConfig, Script, ScriptedExecutor
from cpln_flows.emulator.answers import RefusedError
from cpln_flows.emulator.resources import Resources
from cpln_flows.local import LocalPlatform
from cpln_flows.local.pytest_plugin import pointed_at
from cpln_flows.provision import grants, permissions
from cpln_flows.provision.grants import Names
from cpln_flows.provision.permissions import Feature, Need, Target

WORKER = "/org/local/serviceaccount/worker"
ROOT = {"authorization": "s.root"}
_GVC_KINDS = ("identity", "volumeset", "workload")


def by_kind(*features: Feature) -> dict[str, list[str]]:
    """The permissions that features need, by kind."""
    found: dict[str, list[str]] = {}
    for need in permissions.of(*features):
        if need.permission not in found.setdefault(need.kind, []):
            found[need.kind].append(need.permission)
    return found


DOCUMENTED = by_kind(Feature.JOBS, Feature.LOGS)
"""What a job needs whose log is read."""


def limited(**more: Any) -> Platform:
    """Return a platform whose token belongs to a service account without any rights."""
    tokens = {"s.root": "/org/local/group/superusers", "s.worker": WORKER}
    return Platform(PlatformConfig(delete_delay_seconds=0, token="s.worker", tokens=tokens), **more)


def grant(url: str, grants: Mapping[str, list[str]]) -> None:
    """Let the service account do something with all objects of some kinds."""
    with httpx.Client(base_url=url, headers=ROOT) as root:
        root.put("/org/local/serviceaccount", json={"name": "worker"}).raise_for_status()
        for kind, allowed in grants.items():
            bindings = [{"permissions": allowed, "principalLinks": [WORKER]}]
            policy = {
                "name": f"p-{kind}",
                "targetKind": kind,
                "target": "all",
                "bindings": bindings,
            }
            root.put("/org/local/policy", json=policy).raise_for_status()


@dataclass
class Installation:
    """A platform with exactly the generated documents, and the keys of their service accounts.

    Attributes:
        local: The platform; its own token is a superuser's.
        names: The names in the documents.
        refusals: Kind and permission of every request that was refused.
    """

    local: LocalPlatform
    names: Names
    refusals: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def as_superuser(self) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=self.local.url, headers=ROOT) as client:
            yield client

    def put(self, path: str, **body: Any) -> None:
        """Create or replace an object, as a superuser."""
        with self.as_superuser() as root:
            root.put(path, json=body).raise_for_status()

    def apply(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Apply documents one by one, in their order, as a superuser."""
        for document in documents:
            body = dict(document)
            place = f"gvc/{body.pop('gvc')}/" if document["kind"] in _GVC_KINDS else ""
            self.put(f"/org/local/{place}{document['kind']}", **body)

    def key(self, account: str) -> str:
        """A new key of a service account."""
        with self.as_superuser() as root:
            path = f"/org/local/serviceaccount/{account}/-addKey"
            return str(root.post(path, json={}).raise_for_status().json()["key"])

    def with_token(self, token: str) -> LocalPlatform:
        """The platform as somebody with this token sees it, who gives no location."""
        settings = self.local.settings.model_copy(
            update={"token": SecretStr(token), "location": None}
        )
        return replace(self.local, settings=settings)

    @staticmethod
    def credentials(token: str) -> CplnCredentials:
        return CplnCredentials(config=CplnConfig(token=token))


@contextmanager
def installation(
    needs: Iterable[Need],
    monkeypatch: pytest.MonkeyPatch,
    *,
    script: Callable[[Any], Script],
    without: Need | None = None,
    hours_behind: float = 0,
    one_key: bool = True,
    **config: Any,
) -> Iterator[Installation]:
    """Serve a platform on which the documents for some needs were applied.

    Args:
        needs: What is needed.
        monkeypatch: Points the environment at the platform, and listens to its refusals.
        script: What jobs do.
        without: A need that is left out; what its permission implies stays.
        hours_behind: How far the platform's clock is behind; it stands still then.
        one_key: Whether sync and clean-up use the worker's key; else their tokens are `s.` and the
            name of their identity.
        config: Switches of the platform.
    """
    identities = (grants.SYNC, grants.CLEANUP)
    tokens = {"s.root": "/org/local/group/superusers"} | {
        f"s.{name}": f"/org/local/gvc/quickstart/identity/{name}" for name in identities
    }
    given = {"delete_delay_seconds": 0, "token": "s.root", "tokens": tokens, **config}
    start = datetime.now(UTC) - timedelta(hours=hours_behind)
    clock = {"clock": ManualClock(start)} if hours_behind else {}
    platform = Platform(PlatformConfig(**given), executor=ScriptedExecutor(script), **clock)
    names = Names("local", "quickstart", secrets=("keys",), one_key=one_key)
    with pointed_at(platform, monkeypatch) as local:
        there = Installation(local, names)
        placement = {"staticPlacement": {"locationLinks": ["//location/local-1"]}}
        there.put("/org/local/gvc", name="elsewhere", spec=placement)
        # A refused client reads its token again: it must not find that of the superuser.
        for name in ("CPLN_TOKEN", "CPLN_LOCATION"):
            monkeypatch.delenv(name)
        there.apply(_documents(tuple(needs), without, names))
        _listen(there, monkeypatch)
        yield there


def _documents(needs: Iterable[Need], without: Need | None, names: Names) -> list[grants.Document]:
    """The documents for some needs; what one of them implies takes its place in the policies."""
    chosen: list[Need] = []
    for need in needs:
        less = [need.permission]
        if without is not None and _same(need, without):
            less = sorted(grants.implied(need.kind, need.permission))
        chosen += [replace(need, permission=permission) for permission in less]
    holders = [one for one in grants.documents(needs, names) if one["kind"] != "policy"]
    return holders + [one for one in grants.documents(chosen, names) if one["kind"] == "policy"]


def _same(need: Need, other: Need) -> bool:
    """Whether two needs are the same permission, which features may share."""
    return (need.kind, need.permission) == (other.kind, other.permission) and (
        need.target is other.target or Target.ALL in (need.target, other.target)
    )


def _listen(there: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    require = Resources.require

    def listening(self: Resources, principal: Any, permission: str, record: Any) -> None:
        try:
            require(self, principal, permission, record)
        except RefusedError:
            there.refusals.append((record.kind, permission))
            raise

    monkeypatch.setattr(Resources, "require", listening)
