"""Which replica to start or stop next, so that a location runs what it is to run. Pure.

Called again after every change: a step is only taken when the previous ones have taken effect, so a
replica that never becomes ready stops a rollout, and the replicas before it go on serving.

- Replicas without an index are replaced with one more than wanted, and an old one stops only when a
  new one is ready in its place.
- Replicas with an index are replaced from the highest to the lowest, one after another. No two of
  an index ever exist at once. An old replica that is not ready is replaced first, so that a broken
  version can be corrected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cpln_flows.emulator.serving.wanted import Wanted

_SURGE = 1


@dataclass(frozen=True, slots=True)
class Present:
    """One replica that exists."""

    name: str
    template: str
    is_ready: bool = False
    is_stopping: bool = False
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Start a replica; one with an index if its workload is stateful."""

    index: int | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop a replica."""

    name: str


Step = Start | Stop


def next_steps(wanted: Wanted, present: Sequence[Present]) -> list[Step]:
    """Return the steps to take now.

    Args:
        wanted: What the location is to run.
        present: The replicas that exist there, oldest first.
    """
    if not wanted.is_ordered:
        return _unordered(wanted, present)
    return _all_at_once(wanted, present) if wanted.at_once else _in_order(wanted, present)


def _unordered(wanted: Wanted, present: Sequence[Present]) -> list[Step]:
    alive = [each for each in present if not each.is_stopping]
    new = [each for each in alive if each.template == wanted.template]
    old = [each for each in alive if each.template != wanted.template]
    room = wanted.count + (_SURGE if old and wanted.count else 0) - len(alive)
    starts: list[Step] = [Start()] * max(min(wanted.count - len(new), room), 0)
    surplus = _least_useful(new)[: max(len(new) - wanted.count, 0)]
    useless = [each for each in old if not each.is_ready or not wanted.count]
    serving = [each for each in old if each not in useless]
    ready = len(serving) + sum(each.is_ready for each in new)
    replaced = serving[: max(ready - wanted.count, 0)]
    stopped = [*useless, *replaced, *surplus]
    unready = [each for each in _least_useful(new) if not each.is_ready and each not in stopped]
    excess = unready[: max(len(alive) - len(stopped) - wanted.count - _SURGE, 0)]
    return [*starts, *(Stop(each.name) for each in (*stopped, *excess))]


def _least_useful(replicas: Sequence[Present]) -> list[Present]:
    """Return replicas in the order in which they may go: those not ready, then the youngest."""
    youngest_first = list(reversed(replicas))
    return sorted(youngest_first, key=lambda each: each.is_ready)


def _all_at_once(wanted: Wanted, present: Sequence[Present]) -> list[Step]:
    taken = {each.index for each in present}
    surplus = [each for each in _alive(present) if _is_surplus(each, wanted)]
    missing = [index for index in range(wanted.count) if index not in taken]
    changes: list[Step] = [
        *(Stop(each.name) for each in surplus),
        *(Start(index) for index in missing),
    ]
    # What is told to start and stop at once is the number of replicas, not their versions.
    return changes or _replaced(wanted, present)


def _in_order(wanted: Wanted, present: Sequence[Present]) -> list[Step]:
    if any(each.is_stopping for each in present):
        return []
    surplus = [each for each in present if _is_surplus(each, wanted)]
    if surplus:
        return [Stop(max(surplus, key=_index).name)]
    taken = {each.index for each in present}
    for index in range(wanted.count):
        if index not in taken:
            below = [each for each in present if _index(each) < index]
            return (
                [Start(index)] if all(each.is_ready for each in below) else _replaced(wanted, below)
            )
    return _replaced(wanted, present)


def _replaced(wanted: Wanted, present: Sequence[Present]) -> list[Step]:
    """Return the stop of the next replica of an old version, if one may be replaced now."""
    if any(each.is_stopping for each in present):
        return []
    old = [
        each
        for each in present
        if each.template != wanted.template and not _is_surplus(each, wanted)
    ]
    broken = [each for each in old if not each.is_ready]
    if broken:
        return [Stop(max(broken, key=_index).name)]
    if old and all(each.is_ready for each in present):
        return [Stop(max(old, key=_index).name)]
    return []


def _alive(present: Sequence[Present]) -> list[Present]:
    return [each for each in present if not each.is_stopping]


def _is_surplus(replica: Present, wanted: Wanted) -> bool:
    return _index(replica) >= wanted.count


def _index(replica: Present) -> int:
    return -1 if replica.index is None else replica.index
