"""Which workloads nobody uses any more, and what deleted workloads have left behind. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cpln_flows.cleanup.views import IDLE, Companion, Inventory, NotKnown, Use, WorkloadView
from cpln_flows.model.identifiers import LogContext
from cpln_flows.model.policy import Limits


@dataclass(frozen=True)
class Keep:
    """A workload stays, and why."""

    reason: str


@dataclass(frozen=True)
class Delete:
    """A workload is an orphan, and why."""

    reason: str


def of_workload(  # noqa: PLR0911 - a row each
    view: WorkloadView, now: datetime, idle: timedelta = IDLE
) -> Keep | Delete:
    """Decide whether a workload is an orphan.

    Args:
        view: The workload.
        now: The current time.
        idle: How long nothing may have run on it.
    """
    match view.use:
        case _ if view.scheduled:
            return Keep("it runs on its own schedule")
        case _ if view.is_young(now, idle):
            return Keep(f"it was created at {_at(view.created)}")
        case None:
            return Keep("its jobs were not checked")
        case NotKnown(why):
            return Keep(f"unknown is not unused: {why}")
        case Use(active=str() as job):
            return Keep(f"{job} is active")
        case Use(last=datetime() as last) if now - last <= idle:
            return Keep(f"its newest job was seen at {_at(last)}")
        case Use(last=datetime() as last):
            return Delete(f"its newest job was seen at {_at(last)}")
        case Use():
            return Delete(f"no job has run on it since it was created at {_at(view.created)}")


@dataclass(frozen=True)
class Deletion:
    """One thing to delete, and why: a workload, or an identity, policy or secret."""

    link: str
    reason: str
    manifest: Mapping[str, Any]
    workload: WorkloadView | None = None
    companion: Companion | None = None

    @property
    def context(self) -> LogContext:
        """What log lines about it begin with."""
        ref = self.workload.ref if self.workload else None
        return LogContext(gvc=ref.gvc if ref else None, workload=ref.name if ref else None)


@dataclass(frozen=True)
class Sweep:
    """What a clean-up intends.

    Attributes:
        now: When it was decided.
        deletions: What to delete: workloads first, then policies, identities and secrets.
        kept: How many workloads stay.
        withheld: Why none of it may be done, if the guard objects.
        unread: What could not be read.
    """

    now: datetime
    deletions: tuple[Deletion, ...] = ()
    kept: int = 0
    withheld: str | None = None
    unread: tuple[str, ...] = ()


def sweep(inventory: Inventory, limits: Limits, idle: timedelta = IDLE) -> Sweep:
    """Return what to delete: orphans with their companions, and companions that serve nobody.

    Companions are identities, policies and secrets.

    Args:
        inventory: What was seen.
        limits: How much may be deleted.
        idle: How long nothing may have run on a workload.
    """
    doomed: list[Deletion] = []
    with_it: dict[str, Deletion] = {}
    for view in inventory.workloads:
        verdict = of_workload(view, inventory.now, idle)
        if isinstance(verdict, Delete):
            doomed.append(Deletion(view.ref.path, verdict.reason, view.manifest, view))
            with_it |= {
                companion.link: _of(companion, f"it belongs to {view.ref.path}")
                for companion in _companions(view, inventory, idle)
            }
    with_it |= {
        secret.link: _of(secret, reason)
        for secret, reason in _secrets_of(
            frozenset(deletion.link for deletion in doomed), inventory, idle
        )
    }
    leftovers = [
        _of(companion, reason)
        for companion, reason in _leftovers(inventory, idle)
        if companion.link not in with_it
    ]
    judged = sum(
        map(len, (inventory.workloads, inventory.identities, inventory.policies, inventory.secrets))
    )
    withheld = limits.exceeded_by(len(doomed) + len(leftovers), judged)
    kept = len(inventory.workloads) - len(doomed)
    others = sorted((*with_it.values(), *leftovers), key=lambda deletion: order(deletion.companion))
    return Sweep(inventory.now, (*doomed, *others), kept, withheld, inventory.unread)


def of_companion(
    companion: Companion,
    changed: datetime | None,
    users: Mapping[str, Collection[str]],
    gone: Collection[str],
) -> str | None:
    """Return why an identity, policy or secret must stay after all, right before its deletion.

    Args:
        companion: The identity, policy or secret.
        changed: When it was last applied, if it still exists.
        users: The workloads of the organization that use an identity or can read a secret, by the
            link of that identity or secret.
        gone: Links of workloads that were deleted a moment ago and may still be listed.
    """
    if changed not in (None, companion.changed):
        return "it was applied again"
    for identity in sorted(companion.serves) if companion.is_policy else [companion.link]:
        using = sorted(set(users.get(identity, ())) - set(gone))
        if using:
            return f"{using[0]} uses {'its identity' if companion.is_policy else 'it'}"
    return None


def order(companion: Companion | None) -> int:
    """Return a companion's turn: a grant goes before its grantee, and that before its target."""
    return 0 if companion is None or companion.is_policy else 2 if companion.is_secret else 1


def _of(companion: Companion, reason: str) -> Deletion:
    return Deletion(companion.link, reason, companion.manifest, companion=companion)


def _companions(view: WorkloadView, inventory: Inventory, idle: timedelta) -> Iterable[Companion]:
    """Yield the identity that serves only this workload, and the policies that serve only it."""
    for identity in inventory.identities:
        if (
            identity.link == view.identity
            and identity.serves == {view.ref.path}
            and _is_old(identity, inventory, idle)
        ):
            yield from (policy for policy in inventory.policies if policy.serves == {identity.link})
            yield identity


def _secrets_of(
    doomed: frozenset[str], inventory: Inventory, idle: timedelta
) -> Iterable[tuple[Companion, str]]:
    """Yield the secrets that only workloads to be deleted can read."""
    for secret in inventory.secrets:
        if secret.serves and secret.serves <= doomed and _is_old(secret, inventory, idle):
            yield secret, f"it belongs to {min(secret.serves)}"


def _leftovers(inventory: Inventory, idle: timedelta) -> Iterable[tuple[Companion, str]]:
    for policy in inventory.policies:
        serves_nobody = not policy.serves & inventory.used and all(
            "/identity/" in link for link in policy.serves
        )
        if serves_nobody and _is_old(policy, inventory, idle):
            yield policy, "it serves no identity of a workload"
    for identity in inventory.identities:
        if not identity.serves and _is_old(identity, inventory, idle):
            yield identity, "no workload uses it"
    for secret in inventory.secrets:
        if not secret.serves and _is_old(secret, inventory, idle):
            yield secret, "no workload can read it"


def _is_old(companion: Companion, inventory: Inventory, idle: timedelta) -> bool:
    # A young companion may belong to a workload that is about to be created.
    return inventory.now - companion.changed > idle


def _at(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
