"""Reading everything of ours that a clean-up may delete, and deleting it after one more look."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from logging import getLogger
from typing import Any

from cpln_flows.api import commands, companions, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.api.commands import Latest
from cpln_flows.errors import CplnError, NotFoundError
from cpln_flows.jobs.journal import Journal, Logger
from cpln_flows.model.identifiers import Area, LogContext
from cpln_flows.model.links import WorkloadRef
from cpln_flows.model.resources import Command, Named, Workload, WorkloadDeployment
from cpln_flows.reconcile import orphans
from cpln_flows.reconcile.orphans import Companion, Deletion, Inventory, Look, NotKnown, Sweep, Use, WorkloadView
from cpln_flows.reconcile.together import both, each, gathering

_AT_ONCE = 40
_ACTIVE = frozenset({"active", "pending"})
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|PWD|CREDENTIAL|AUTH|PRIVATE|SIGNATURE|COOKIE|DSN|CONN", re.IGNORECASE)
_WITH_PASSWORD = re.compile(r"://[^/@\s]+@")
_REFERENCE = "cpln://"
_HIDDEN = "(not shown: it may be a secret)"


@dataclass(frozen=True)
class Deleted:
    """What came of one deletion; ``said`` tells why it was not done."""

    deletion: Deletion
    done: bool
    said: str = ""


@dataclass
class Storekeeper:
    """Reads and deletes.

    Args:
        client: An open client.
        org: Organization.
        gvc: One GVC; default all. Identities and policies that are left over are looked for in the whole organization only.
        idle: How long nothing may have run on a workload.
        clock: The time.
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
        except CplnError as error:
            inventory = Inventory(now, tuple(views))
            unread.append(f"identities and policies of {self.org}: {error}")
        return replace(inventory, unread=tuple(unread))

    async def delete(self, sweep: Sweep) -> tuple[Deleted, ...]:
        """Delete what a sweep says and return what came of it; one that is withheld is not touched."""
        if sweep.withheld:
            return ()
        return tuple(await each(self._attempt, sweep.deletions, at_once=_AT_ONCE))

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
        identities, policies = await both(
            companions.identities(self.client, self.org), companions.policies(self.client, self.org)
        )
        if not identities and not policies:
            return inventory
        users = await workloads.identities_in_use(self.client, self.org)
        return replace(
            inventory,
            identities=tuple(
                Companion(one.link, one.created, frozenset(users.get(one.link, ())), _manifest(one)) for one in identities
            ),
            policies=tuple(Companion(one.link, one.created, one.principals, _manifest(one)) for one in policies),
            used=frozenset(users),
        )

    # Deleting

    async def _attempt(self, deletion: Deletion) -> Deleted:
        journal = Journal(self.logger, _context(deletion))
        try:
            changed = await self._changed(deletion)
            if changed:
                journal.info(Area.CLEANUP, f"Kept {deletion.link}: changed meanwhile, {changed}")
                return Deleted(deletion, done=False, said=f"changed meanwhile: {changed}")
            for link in (deletion.link, *(companion.link for companion in deletion.with_it)):
                await companions.delete(self.client, link)
                journal.info(Area.CLEANUP, f"Deleted {link}: {deletion.reason}")
        except Exception as error:  # noqa: BLE001 - one deletion that fails must not keep the others from being done
            journal.warning(Area.CLEANUP, f"{deletion.link} could not be deleted: {error}")
            return Deleted(deletion, done=False, said=f"it failed: {error}")
        return Deleted(deletion, done=True)

    async def _changed(self, deletion: Deletion) -> str | None:
        """Look once more right before a deletion; say why it is not right any more, if so."""
        if deletion.workload is None:
            return await self._in_use_again(deletion)
        now = self.clock()
        try:
            fresh, use = await both(workloads.read(self.client, deletion.workload.ref), self._use(deletion.workload.ref, now))
        except NotFoundError:
            return None  # gone already; what belongs to it may not be
        verdict = orphans.of_workload(replace(_view(fresh), use=use), now, self.idle)
        return None if isinstance(verdict, orphans.Delete) else verdict.reason

    async def _in_use_again(self, deletion: Deletion) -> str | None:
        users = await workloads.identities_in_use(self.client, self.org)
        return f"{len(users[deletion.link])} workloads use it" if users.get(deletion.link) else None


def _view(workload: Workload) -> WorkloadView:
    spec = workload.spec
    suspended = (spec.get("defaultOptions") or {}).get("suspend")
    return WorkloadView(
        ref=workload.ref,
        created=workload.created,
        scheduled=spec.get("type") != "cron" or str(suspended).lower() != "true",
        identity=spec.get("identityLink"),
        manifest={**_manifest(workload), "gvc": workload.ref.gvc, "spec": _without_secrets(spec)},
    )


def _use_of(deployed: Sequence[WorkloadDeployment], last: datetime | None) -> Use:
    """Add what the executions tell: those of a schedule have no command."""
    executions = [execution for one in deployed for execution in one.status.job_executions]
    active = next((execution.name for execution in executions if execution.status in _ACTIVE), None)
    moments = [moment for moment in (last, *(one.last_run for one in deployed)) if moment is not None]
    return Use(max(moments, default=None), f"execution {active}" if active else None)


def _manifest(one: Named) -> dict[str, Any]:
    """Return what ``cpln apply`` takes to make the object again."""
    kind = one.link.rsplit("/", 2)[-2] if one.link else ""
    shown = one.model_dump(mode="json", by_alias=True, exclude={"version", "created", "links"}, exclude_none=True)
    return {"kind": kind, **shown}


def _without_secrets(spec: Mapping[str, Any]) -> dict[str, Any]:
    containers = [
        {**container, "env": [_shown(variable) for variable in container["env"]]} if container.get("env") else container
        for container in spec.get("containers") or ()
    ]
    return {**spec, "containers": containers}


def _shown(variable: Mapping[str, Any]) -> dict[str, Any]:
    """Return a variable as an artifact may show it; what its name or its value gives away as a secret is not shown."""
    value = str(variable.get("value", ""))
    secret = _SECRET.search(str(variable.get("name"))) or _WITH_PASSWORD.search(value)
    return {**variable, "value": _HIDDEN} if secret and value and not value.startswith(_REFERENCE) else dict(variable)


def _context(deletion: Deletion) -> LogContext:
    ref = deletion.workload.ref if deletion.workload else None
    return LogContext(gvc=ref.gvc if ref else None, workload=ref.name if ref else None)
