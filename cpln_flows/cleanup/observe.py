"""Read everything of ours that a clean-up may delete: unknown is not unused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from cpln_flows.api import commands, companions, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.api.commands import Latest
from cpln_flows.api.workloads import Users
from cpln_flows.cleanup.views import Companion, Inventory, NotKnown, Use, WorkloadView
from cpln_flows.concurrency import both, each, gathering
from cpln_flows.errors import CplnError, NotFoundError
from cpln_flows.model import links
from cpln_flows.model.links import WorkloadRef
from cpln_flows.model.resources import (
    Command,
    Identity,
    Named,
    PlatformPolicy,
    Secret,
    Workload,
    WorkloadDeployment,
)
from cpln_flows.reconcile.masking import HIDDEN, shown

_GVC = re.compile(r"/gvc/([^/]+)/")


@dataclass(frozen=True)
class Companions:
    """What was created for Prefect besides the workloads.

    Secrets that cannot be read are left alone and reported.
    """

    identities: list[Identity]
    policies: list[PlatformPolicy]
    secrets: list[Secret] = field(default_factory=list)
    unread: tuple[str, ...] = ()

    def readers(self, secret: Secret, users: Users) -> frozenset[str]:
        """Return the workloads that can read a secret.

        They refer to it, or a policy lets their identity reveal it, or their identity has its name
        and so was created for it.
        """
        identities = {
            link
            for policy in self.policies
            if secret.name in policy.secrets
            for link in policy.principals
        }
        identities |= {
            link for link in users.of_identities if links.last_segment(link) == secret.name
        }
        found = (users.of_identities.get(link, set()) for link in identities)
        return frozenset(users.of_secrets.get(secret.name, ())).union(*found)


@dataclass
class Observer:
    """Reads what exists.

    Args:
        client: An open client.
        org: The organization.
        gvc: One GVC; default all. Leftovers are always searched for in the whole organization.
        idle: How long nothing may have run on a workload.
        clock: Returns the platform's time, which stamps its objects.
    """

    client: CplnClient
    org: str
    gvc: str | None
    idle: timedelta
    clock: Callable[[], datetime]

    async def inventory(self) -> Inventory:
        """Return everything of ours; what cannot be read is kept and reported."""
        now = self.clock()
        unread: list[str] = []
        listed = workloads.ours(self.client, self.org, self.gvc)
        try:
            with gathering():
                views = await each(lambda workload: self._with_use(view_of(workload), now), listed)
        except CplnError as error:  # requests about a single workload do not raise
            return Inventory(now, unread=(f"workloads of {self.org}: {error}",))
        unread += [
            f"{view.ref.path}: {view.use.why}" for view in views if isinstance(view.use, NotKnown)
        ]
        try:
            inventory = await self._with_companions(Inventory(now, tuple(views)))
            unread += inventory.unread
        except CplnError as error:
            inventory = Inventory(now, tuple(views))
            unread.append(f"identities, policies and secrets of {self.org}: {error}")
        return replace(inventory, unread=tuple(unread))

    async def _with_use(self, view: WorkloadView, now: datetime) -> WorkloadView:
        if view.scheduled or view.is_young(now, self.idle):
            return view  # it stays, whatever its jobs are
        return replace(view, use=await self.use(view.ref, now))

    async def use(self, ref: WorkloadRef, now: datetime) -> Use | NotKnown:
        """Read the jobs of a workload, only as far as needed to see that it is used."""
        try:
            latest = await commands.latest(self.client, ref)
            newest = latest.newest
            last = (newest.last_modified or newest.created) if newest else None
            if (
                newest is not None
                and last is not None
                and (not newest.is_terminal or now - last <= self.idle)
            ):
                return Use(last, None if newest.is_terminal else f"command {newest.id}")
            active, deployed = await both(
                self._active(ref, latest), workloads.deployments(self.client, ref)
            )
            return Use(last, f"command {active[0].id}") if active else _use_of(deployed, last)
        except NotFoundError:
            return NotKnown("it is being deleted")
        except CplnError as error:
            return NotKnown(str(error))

    async def _active(self, ref: WorkloadRef, latest: Latest) -> list[Command]:
        return latest.active if latest.is_all else await commands.active(self.client, ref)

    async def _with_companions(self, inventory: Inventory) -> Inventory:
        found = await self.companions()
        if not any((found.identities, found.policies, found.secrets)):
            return replace(inventory, unread=found.unread)
        users = await workloads.users(self.client, self.org)
        return replace(
            inventory,
            identities=tuple(
                Companion(
                    identity.link,
                    changed_at(identity),
                    frozenset(users.of_identities.get(identity.link, ())),
                    _manifest(identity),
                )
                for identity in found.identities
            ),
            policies=tuple(
                Companion(policy.link, changed_at(policy), policy.principals, _manifest(policy))
                for policy in found.policies
            ),
            secrets=tuple(
                Companion(
                    secret.link,
                    changed_at(secret),
                    found.readers(secret, users),
                    {**_manifest(secret), "data": HIDDEN},
                )
                for secret in found.secrets
            ),
            used=frozenset(users.of_identities),
            unread=found.unread,
        )

    async def companions(self) -> Companions:
        """Return the identities, policies and secrets that were created for Prefect."""
        org = self.org
        identities, policies = await both(
            companions.identities(self.client, org), companions.policies(self.client, org)
        )
        try:
            return Companions(
                identities, policies, await companions.secrets_of_keys(self.client, org)
            )
        except CplnError as error:
            return Companions(identities, policies, unread=(f"secrets of {org}: {error}",))


def view_of(workload: Workload) -> WorkloadView:
    """Return what a workload itself shows, without its jobs."""
    spec = workload.spec
    options = spec.get("defaultOptions")
    suspended = options.get("suspend") if isinstance(options, Mapping) else None
    return WorkloadView(
        ref=workload.ref,
        created=workload.created,
        scheduled=spec.get("type") != "cron" or str(suspended).lower() != "true",
        identity=workload.identity,
        manifest=_manifest(workload),
    )


def _use_of(deployed: Sequence[WorkloadDeployment], last: datetime | None) -> Use:
    """Add what the executions show: those of a schedule have no command."""
    executions = [
        execution for deployment in deployed for execution in deployment.status.job_executions
    ]
    active = next((execution.name for execution in executions if execution.is_active), None)
    moments = [
        moment
        for moment in (last, *(deployment.last_run for deployment in deployed))
        if moment is not None
    ]
    return Use(max(moments, default=None), f"execution {active}" if active else None)


def _manifest(one: Named) -> dict[str, Any]:
    """Return the manifest that ``cpln apply`` restores the object from.

    Masked values must be filled in first.
    """
    kind = links.last_segment(one.link.rpartition("/")[0])
    body = one.model_dump(
        by_alias=True, exclude={"version", "created", "last_modified", "links"}, exclude_none=True
    )
    gvc = _GVC.search(one.link)
    return shown({"kind": kind, **({"gvc": gvc[1]} if gvc else {}), **body})


def changed_at(one: Named) -> datetime:
    """Return when an object was created, or last applied."""
    return one.last_modified or one.created
