"""What a cycle intends: its actions, and the guard that withholds a plan of too many changes."""

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
        judged: How many runs and jobs were checked.
        withheld: Why none of it may be done, if the guard objects.
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
        """What is done to what: equal for two cycles with the same plan, whatever the ages are."""
        return frozenset((action.kind, action.run_id, action.command) for action in self.actions)


def plan_of(
    actions: Iterable[Action],
    *,
    now: datetime,
    judged: int,
    limits: Limits,
    unread: tuple[Unread, ...] = (),
) -> Plan:
    """Assemble a plan; one that would change too much is withheld."""
    kept = tuple(action for action in actions if not isinstance(action, Keep))
    # A run that ends together with its job was checked once and counts as one change.
    changes = {action.run_id for action in kept if is_change(action)}
    # However many jobs one dead parent leaves behind, they are no sign that the snapshot is wrong.
    causes = {action.cause for action in kept if is_change(action)}
    return Plan(
        now,
        kept,
        judged,
        limits.exceeded_by(len(changes), judged, min(len(causes), len(changes))),
        unread,
    )
