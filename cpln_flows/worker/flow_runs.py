"""The states of all flow runs that a worker follows, read from Prefect in one query."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import anyio
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.sorting import FlowRunSort

from cpln_flows.model.run_states import FINAL, RunState
from cpln_flows.orchestration import PAGE
from cpln_flows.prefect_api.clock import PrefectClock

logger: logging.Logger = logging.getLogger(__name__)

NOTEWORTHY = frozenset(StateType(state) for state in (*FINAL, RunState.CANCELLING))
"""The types of state that may affect a job."""


@dataclass
class Watched:
    """One flow run, and its state once that is noteworthy."""

    run_id: UUID
    state: State | None = None
    changed: anyio.Event = field(default_factory=anyio.Event)

    def forget(self, state: State) -> None:
        """Discard a state that the flow run has left again."""
        if self.state is not None and self.state.id == state.id:
            self.state = None

    async def wait(self, seconds: float | None) -> None:
        """Wait for another noteworthy state, for at most this long."""
        with anyio.move_on_after(seconds):
            await self.changed.wait()


@dataclass
class FlowRunBoard:
    """The noteworthy states of all followed flow runs."""

    client: PrefectClient
    interval_seconds: float
    watched: dict[UUID, Watched] = field(default_factory=dict)
    _clock: PrefectClock = field(init=False)

    def __post_init__(self) -> None:
        self._clock = PrefectClock(self.client)

    async def now(self) -> datetime:
        """Return Prefect's time, by which the age of a state is judged."""
        try:
            return await self._clock.refresh()
        except Exception as error:  # noqa: BLE001 - the known offset of its clock stays good for a while
            logger.debug("Cannot read Prefect's time: %r", error)
            return self._clock.now()

    @contextmanager
    def watch(self, run_id: UUID) -> Iterator[Watched]:
        """Put a flow run on the board."""
        entry = self.watched[run_id] = Watched(run_id)
        try:
            yield entry
        finally:
            if self.watched.get(run_id) is entry:
                del self.watched[run_id]

    async def look_for_ever(self) -> None:
        """Look repeatedly; an unanswered query changes nothing."""
        while True:
            await anyio.sleep(self.interval_seconds)
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - the next look may succeed
                logger.warning("Cannot read flow-run states, will retry: %r", error)

    async def look(self) -> None:
        """Query all flow runs on the board once; only those in a noteworthy state are returned."""
        wanted = list(self.watched)
        for start in range(0, len(wanted), PAGE):
            found = await self.client.read_flow_runs(
                flow_run_filter=FlowRunFilter(
                    id=FlowRunFilterId(any_=wanted[start : start + PAGE]),
                    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=sorted(NOTEWORTHY))),
                ),
                sort=FlowRunSort.ID_DESC,
                limit=PAGE,
            )
            for run in found:
                self._note(run.id, run.state)

    def _note(self, run_id: UUID, state: State | None) -> None:
        entry = self.watched.get(run_id)
        if (
            entry is None
            or state is None
            or (entry.state is not None and entry.state.id == state.id)
        ):
            return
        entry.state = state
        changed, entry.changed = entry.changed, anyio.Event()
        changed.set()
