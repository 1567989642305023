"""Prefect's side of a simulated world: flow runs in memory, changed by the rules of Prefect's server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from cpln_flows.reconcile.snapshot import FINAL, UNDER_WAY, Answer, Misses, RunState, RunView, StateView

# As seen on 3.8.8: a state over another final one is taken, but for CRASHED and what does not end the run.
_KEPT_FROM = frozenset({RunState.CRASHED, RunState.PENDING, RunState.RUNNING, RunState.CANCELLING})


@dataclass
class Proposal:
    """A state that the flows under test have proposed, and what the run was in then."""

    at: datetime
    run_id: UUID
    before: RunState
    after: RunState
    accepted: bool
    since: datetime
    message: str


@dataclass
class Run:
    """A flow run."""

    id: UUID
    parent: UUID | None = None
    task_run: UUID | None = None
    states: list[StateView] = field(default_factory=list)
    pid: str | None = None
    misses: Misses | None = None

    @property
    def state(self) -> StateView:
        return self.states[-1]

    @property
    def view(self) -> RunView:
        """What Prefect's API tells in a list."""
        began = [state.type for state in self.states].count(RunState.RUNNING)
        last = self.state
        return RunView(
            self.id, str(self.id), last.type, last.name, last.at, self.pid, began, self.task_run, self.parent is None, self.misses
        )


class PrefectSide:
    """Flow runs of a Prefect server; ``meanwhile`` is called before each look at a run and each proposal."""

    def __init__(self, installation: UUID, clock: Callable[[], datetime]) -> None:
        self.runs: dict[UUID, Run] = {}
        self.proposals: list[Proposal] = []
        self.meanwhile: Callable[[UUID], None] = lambda _: None
        self._installation = installation
        self._clock = clock

    # What the world does

    def add(self, run: Run) -> None:
        self.runs[run.id] = run
        self.become(run.id, RunState.SCHEDULED)

    def become(self, run_id: UUID, state: RunState, name: str | None = None) -> None:
        """Change a state as an engine or a user does, by the world's own will; of a run that was deleted, nothing."""
        if run_id in self.runs:
            self.runs[run_id].states.append(StateView(state, name or state.title(), self._clock()))

    # What the flows under test ask

    async def installation(self) -> UUID:
        return self._installation

    async def under_way(self, work_pool: str | None) -> list[RunView]:
        containers = (run for run in self.runs.values() if run.parent is None)
        return [run.view for run in containers if run.state.type in UNDER_WAY]

    async def job_flows(self) -> list[RunView]:
        return [run.view for run in self.runs.values() if run.parent is not None and run.state.type in UNDER_WAY]

    async def by_ids(self, ids: Collection[UUID]) -> dict[UUID, RunView]:
        for run_id in ids:
            self.meanwhile(run_id)
        return {run_id: self.runs[run_id].view for run_id in ids if run_id in self.runs}

    async def parents(self, runs: Collection[RunView]) -> dict[UUID, RunView]:
        above = {run.id: self.runs[run.id].parent for run in runs if run.id in self.runs}
        return {child: self.runs[parent].view for child, parent in above.items() if parent in self.runs}

    async def of_submissions(self, submissions: Collection[UUID]) -> list[RunView]:
        return [run.view for run in self.runs.values() if run.task_run in submissions]

    async def states(self, run_id: UUID) -> Sequence[StateView]:
        return list(self.runs[run_id].states) if run_id in self.runs else []

    async def propose(self, run_id: UUID, state: RunState, name: str | None, message: str) -> Answer:
        self.meanwhile(run_id)
        run = self.runs.get(run_id)
        if run is None:
            return Answer(accepted=False, said="Prefect does not know the flow run any more")
        before = run.state
        accepted = not (before.type in FINAL and state in _KEPT_FROM)
        self.proposals.append(Proposal(self._clock(), run_id, before.type, state, accepted, before.at, message))
        if accepted:
            run.states.append(StateView(state, name or state.title(), self._clock(), message))
        return Answer(accepted, "the run is over")

    async def restore(self, run_id: UUID, state: StateView) -> Answer:
        self.runs[run_id].states.append(StateView(state.type, state.name, self._clock(), state.message))
        return Answer(accepted=True, said="")

    async def count_misses(self, run_id: UUID, misses: Misses) -> None:
        if run_id in self.runs:
            self.runs[run_id].misses = misses

    async def record_pid(self, run_id: UUID, pid: str) -> None:
        if run_id in self.runs:
            self.runs[run_id].pid = pid
