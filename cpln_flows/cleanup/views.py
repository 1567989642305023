"""What was seen of workloads, identities, policies and secrets created for Prefect, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cpln_flows.model.links import WorkloadRef

IDLE = timedelta(hours=24)
"""How long a workload must be idle before it is deleted.

Jobs are never started on a workload that has been idle for 20 h, so no workload can be used for a
new job and deleted at the same time.
"""


@dataclass(frozen=True)
class Use:
    """How a workload is used: its newest job, and whether one is active."""

    last: datetime | None = None
    active: str | None = None


@dataclass(frozen=True)
class NotKnown:
    """The use of a workload could not be read to its end: unknown is not unused."""

    why: str


@dataclass(frozen=True)
class WorkloadView:
    """A workload of ours.

    Attributes:
        ref: The workload.
        created: When it was created.
        scheduled: Whether it runs jobs on its own schedule.
        identity: The link of its identity.
        manifest: What restores it.
        use: How it is used; ``None`` if there was no need to look that up.
    """

    ref: WorkloadRef
    created: datetime
    scheduled: bool = False
    identity: str | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    use: Use | NotKnown | None = None

    def is_young(self, now: datetime, idle: timedelta) -> bool:
        """Whether it was created so recently that somebody may be about to use it."""
        return now - self.created <= idle


@dataclass(frozen=True)
class Companion:
    """An identity, a policy or a secret of ours.

    Attributes:
        link: The link of the object.
        changed: When it was created or last applied; whoever is about to use it applies it again.
        serves: Links of what it is for: the workloads that use an identity or can read a secret, or
            the identities of a policy.
        manifest: What restores it.
    """

    link: str
    changed: datetime
    serves: frozenset[str] = frozenset()
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_policy(self) -> bool:
        """Whether it is a policy."""
        return "/policy/" in self.link

    @property
    def is_secret(self) -> bool:
        """Whether it is a secret."""
        return "/secret/" in self.link


@dataclass(frozen=True)
class Inventory:
    """Everything of ours in an organization at one moment.

    ``used`` holds the identities of all workloads there.
    """

    now: datetime
    workloads: tuple[WorkloadView, ...] = ()
    identities: tuple[Companion, ...] = ()
    policies: tuple[Companion, ...] = ()
    secrets: tuple[Companion, ...] = ()
    used: frozenset[str] = frozenset()
    unread: tuple[str, ...] = ()
