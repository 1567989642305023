"""What was seen of the workloads, identities, policies and secrets that were made for Prefect. Values, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cpln_flows.model.links import WorkloadRef

IDLE = timedelta(hours=24)
"""Jobs are never started on what is idle for 20 h, so between the two nothing can be started and deleted at once."""


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
        ref: Which.
        created: When it was made.
        scheduled: Whether it runs jobs on its own schedule.
        identity: Link of its identity.
        manifest: What makes it again.
        use: How it is used; absent as long as that need not be looked up.
    """

    ref: WorkloadRef
    created: datetime
    scheduled: bool = False
    identity: str | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    use: Use | NotKnown | None = None

    def is_young(self, now: datetime, idle: timedelta) -> bool:
        """Whether it was made so lately that somebody may be about to use it."""
        return now - self.created <= idle


@dataclass(frozen=True)
class Companion:
    """An identity, a policy or a secret of ours.

    Attributes:
        link: Which.
        changed: When it was made, or put once more: who is about to use it does that.
        serves: Links of what it is for: the workloads of an identity, or that can read a secret; the identities of a policy.
        manifest: What makes it again.
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
    """Everything of ours in an organization at one moment; ``used`` are the identities of all workloads there."""

    now: datetime
    workloads: tuple[WorkloadView, ...] = ()
    identities: tuple[Companion, ...] = ()
    policies: tuple[Companion, ...] = ()
    secrets: tuple[Companion, ...] = ()
    used: frozenset[str] = frozenset()
    unread: tuple[str, ...] = ()
