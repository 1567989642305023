"""Reading everything of ours that a clean-up may delete, and deleting it after one more look."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from logging import getLogger
from typing import Any

from cpln_flows.api import commands, companions, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.api.commands import Latest
from cpln_flows.api.workloads import Users
from cpln_flows.concurrency import both, each, gathering
from cpln_flows.errors import CplnError, NotFoundError
from cpln_flows.jobs.journal import Journal, Logger
from cpln_flows.model import links
from cpln_flows.model.identifiers import Area
from cpln_flows.model.links import WorkloadRef
from cpln_flows.model.resources import Command, Identity, Named, PlatformPolicy, Secret, Workload, WorkloadDeployment
from cpln_flows.reconcile import orphans
from cpln_flows.reconcile.masking import HIDDEN, shown
from cpln_flows.reconcile.orphans import Companion, Deletion, Inventory, Look, NotKnown, Sweep, Use, WorkloadView

_AT_ONCE = 40
_GVC = re.compile(r"/gvc/([^/]+)/")


@dataclass(frozen=True)
class Deleted:
    """What came of one deletion; ``said`` tells why it was not done."""

    deletion: Deletion
    done: bool
    said: str = ""


@dataclass(frozen=True)
class _Companions:
    """What was made for Prefect beside the workloads; secrets that cannot be read are left alone, and said."""

    identities: list[Identity]
    policies: list[PlatformPolicy]
    secrets: list[Secret] = field(default_factory=list)
    unread: tuple[str, ...] = ()

    def readers(self, secret: Secret, users: Users) -> frozenset[str]:
        """Return the workloads that refer to a secret, or whose identity may reveal it or was made for it."""
        identities = {link for policy in self.policies if secret.name in policy.secrets for link in policy.principals}
        identities |= {link for link in users.of_identities if links.last_segment(link) == secret.name}
        found = (users.of_identities.get(link, set()) for link in identities)
        return frozenset(users.of_secrets.get(secret.name, ())).union(*found)


@dataclass
class Storekeeper:
    """Reads and deletes.

    Args:
        client: An open client.
        org: Organization.
        gvc: One GVC; default all. What is left over of others is looked for in the whole organization only.
        idle: How long nothing may have run on a workload.
        clock: The platform's time, which it stamps its objects with.
        logger: Where the log lines go.
    """

    client: CplnClient
    org: str
    gvc: str | None
    idle: timedelta
    clock: Callable[[], datetime]
    logger: Logger = field(default_factory=lambda: getLogger("cpln_flows"))

    async def inventory(self) -> Inventory:
        """Return everything of ours; what cannot be read is kept, and said."""
        now = self.clock()
        unread: list[str] = []
        listed = workloads.ours(self.client, self.org, self.gvc)
        try:
            with gathering():
                views = await each(lambda workload: self._with_use(_view(workload), now), listed)
        except CplnError as error:  # what is asked about a single one does not raise
            return Inventory(now, unread=(f"workloads of {self.org}: {error}",))
        unread += [f"{view.ref.path}: {view.use.why}" for view in views if isinstance(view.use, NotKnown)]
        try:
            inventory = await self._with_companions(Inventory(now, tuple(views)))
            unread += inventory.unread
        except CplnError as error:
            inventory = Inventory(now, tuple(views))
            unread.append(f"identities, policies and secrets of {self.org}: {error}")
        return replace(inventory, unread=tuple(unread))

    async def delete(self, sweep: Sweep) -> tuple[Deleted, ...]:
        """Delete what a sweep says and return what came of it; one that is withheld is not touched."""
        if sweep.withheld:
            return ()
        workloads = [deletion for deletion in sweep.deletions if deletion.workload]
        deleted = await each(self._attempt, workloads, at_once=_AT_ONCE)
        gone = frozenset(one.deletion.link for one in deleted if one.done)
        return (*deleted, *(await self._delete_companions(sweep, gone)))

    # Looking

    async def _with_use(self, view: WorkloadView, now: datetime) -> WorkloadView:
        if not isinstance(orphans.of_workload(view, now, self.idle), Look):
            return view
        return replace(view, use=await self._use(view.ref, now))

    async def _use(self, ref: WorkloadRef, now: datetime) -> Use | NotKnown:
        """Look at the jobs of a workload, no further than is needed to see that it is used."""
        try:
            latest = await commands.latest(self.client, ref)
            newest = latest.newest
            last = (newest.last_modified or newest.created) if newest else None
            if newest is not None and last is not None and (not newest.is_terminal or now - last <= self.idle):
                return Use(last, None if newest.is_terminal else f"command {newest.id}")
            active, deployed = await both(self._active(ref, latest), workloads.deployments(self.client, ref))
            return Use(last, f"command {active[0].id}") if active else _use_of(deployed, last)
        except NotFoundError:
            return NotKnown("it is being deleted")
        except CplnError as error:
            return NotKnown(str(error))

    async def _active(self, ref: WorkloadRef, latest: Latest) -> list[Command]:
        return latest.active if latest.is_all else await commands.active(self.client, ref)

    async def _with_companions(self, inventory: Inventory) -> Inventory:
        found = await self._companions()
        if not any((found.identities, found.policies, found.secrets)):
            return replace(inventory, unread=found.unread)
        users = await workloads.users(self.client, self.org)
        return replace(
            inventory,
            identities=tuple(
                Companion(one.link, _changed(one), frozenset(users.of_identities.get(one.link, ())), _manifest(one))
                for one in found.identities
            ),
            policies=tuple(Companion(one.link, _changed(one), one.principals, _manifest(one)) for one in found.policies),
            secrets=tuple(
                Companion(one.link, _changed(one), found.readers(one, users), {**_manifest(one), "data": HIDDEN})
                for one in found.secrets
            ),
            used=frozenset(users.of_identities),
            unread=found.unread,
        )

    async def _companions(self) -> _Companions:
        org = self.org
        identities, policies = await both(companions.identities(self.client, org), companions.policies(self.client, org))
        try:
            return _Companions(identities, policies, await companions.secrets_of_keys(self.client, org))
        except CplnError as error:
            return _Companions(identities, policies, unread=(f"secrets of {org}: {error}",))

    # Deleting

    async def _attempt(self, deletion: Deletion) -> Deleted:
        return await self._delete(deletion, await self._changed(deletion.workload) if deletion.workload else None)

    async def _delete_companions(self, sweep: Sweep, gone: Collection[str]) -> list[Deleted]:
        """Delete policies, then identities, then secrets, after one more look at who uses them, one for all."""
        intended = [(deletion, deletion.companion) for deletion in sweep.deletions if deletion.companion]
        if not intended:
            return []
        try:
            users, there = await both(workloads.users(self.client, self.org), self._companions())
        except CplnError as error:
            return [Deleted(deletion, done=False, said=f"unknown is not unused: {error}") for deletion, _ in intended]

        changed = {one.link: _changed(one) for some in (there.identities, there.policies, there.secrets) for one in some}
        using = users.of_identities | {one.link: there.readers(one, users) for one in there.secrets}

        async def attempt(one: tuple[Deletion, Companion]) -> Deleted:
            if there.unread and one[1].is_secret:
                return await self._delete(one[0], f"unknown is not unused: {there.unread[0]}")
            return await self._delete(one[0], orphans.of_companion(one[1], changed.get(one[1].link), using, gone))

        deleted: list[Deleted] = []
        for turn in range(3):
            deleted += await each(attempt, [pair for pair in intended if orphans.order(pair[1]) == turn], at_once=_AT_ONCE)
        return deleted

    async def _delete(self, deletion: Deletion, changed: str | None) -> Deleted:
        journal = Journal(self.logger, deletion.context)
        if changed:
            journal.info(Area.CLEANUP, f"Kept {deletion.link}: changed meanwhile, {changed}")
            return Deleted(deletion, done=False, said=f"changed meanwhile: {changed}")
        try:
            await companions.delete(self.client, deletion.link)
        except Exception as error:  # noqa: BLE001 - one deletion that fails must not keep the others from being done
            journal.warning(Area.CLEANUP, f"{deletion.link} could not be deleted: {error}")
            return Deleted(deletion, done=False, said=f"it failed: {error}")
        journal.info(Area.CLEANUP, f"Deleted {deletion.link}: {deletion.reason}")
        return Deleted(deletion, done=True)

    async def _changed(self, workload: WorkloadView) -> str | None:
        """Look once more right before a deletion; say why it is not right any more, if so."""
        now = self.clock()
        try:
            fresh, use = await both(workloads.read(self.client, workload.ref), self._use(workload.ref, now))
        except NotFoundError:
            return None  # gone already
        except CplnError as error:
            return f"unknown is not unused: {error}"
        verdict = orphans.of_workload(replace(_view(fresh), use=use), now, self.idle)
        return None if isinstance(verdict, orphans.Delete) else verdict.reason


def _view(workload: Workload) -> WorkloadView:
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
    """Add what the executions tell: those of a schedule have no command."""
    executions = [execution for one in deployed for execution in one.status.job_executions]
    active = next((execution.name for execution in executions if execution.is_active), None)
    moments = [moment for moment in (last, *(one.last_run for one in deployed)) if moment is not None]
    return Use(max(moments, default=None), f"execution {active}" if active else None)


def _manifest(one: Named) -> dict[str, Any]:
    """Return what ``cpln apply`` takes to make the object again, once its masked values are filled in."""
    kind = links.last_segment(one.link.rpartition("/")[0])
    body = one.model_dump(by_alias=True, exclude={"version", "created", "last_modified", "links"}, exclude_none=True)
    gvc = _GVC.search(one.link)
    return shown({"kind": kind, **({"gvc": gvc[1]} if gvc else {}), **body})


def _changed(one: Named) -> datetime:
    return one.last_modified or one.created
