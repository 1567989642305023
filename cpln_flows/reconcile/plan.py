"""What a cycle intends: its actions together, and the guard that withholds what would change too much."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from cpln_flows.model.links import CommandRef
from cpln_flows.model.policy import Limits
from cpln_flows.reconcile.actions import Action, Keep, Kind, is_change
from cpln_flows.reconcile.snapshot import Unread


@dataclass(frozen=True)
class Plan:
    """What one cycle intends.

    Attributes:
        now: When it was decided.
        actions: What to do; what needs nothing is left out.
        judged: How many runs and jobs were looked at.
        withheld: Why nothing of it may be done, if the guard says so.
        unread: What could not be read.
    """

    now: datetime
    actions: tuple[Action, ...] = ()
    judged: int = 0
    withheld: str | None = None
    unread: tuple[Unread, ...] = ()

    @property
    def changes(self) -> tuple[Action, ...]:
        """The actions by which something ends."""
        return tuple(action for action in self.actions if is_change(action))

    @property
    def subjects(self) -> frozenset[tuple[Kind, UUID | None, CommandRef | None]]:
        """What is done to what: the same in two cycles that plan the same, whatever their reasons say about ages."""
        return frozenset((action.kind, action.run_id, action.command) for action in self.actions)


def plan_of(
    actions: Iterable[Action],
    *,
    now: datetime,
    judged: int,
    limits: Limits,
    unread: tuple[Unread, ...] = (),
) -> Plan:
    """Put a plan together; one that would change too much is withheld."""
    kept = tuple(action for action in actions if not isinstance(action, Keep))
    # A run that is ended together with its job is one of those that were looked at, and is changed once.
    changes = {action.run_id for action in kept if is_change(action)}
    # However many jobs one dead parent has left behind, they are no sign that something is wrong with what was seen.
    causes = {action.cause for action in kept if is_change(action)}
    return Plan(
        now,
        kept,
        judged,
        limits.exceeded_by(len(changes), judged, min(len(causes), len(changes))),
        unread,
    )
