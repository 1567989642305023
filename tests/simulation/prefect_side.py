"""Prefect's side of a simulated world: flow runs in memory that follow Prefect's server's rules."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus, StateAcceptDetails
from prefect.exceptions import ObjectNotFound

from cpln_flows import orchestration
from cpln_flows.model.run_states import FINAL, UNDER_WAY, RunState
from cpln_flows.orchestration import Proposed
from cpln_flows.reconcile.snapshot import Misses, RunView, StateView

# As seen on 3.8.8 and 3.9.1: the states that cannot replace a final one. Any other state replaces
# it, PENDING and RUNNING too.
_KEPT_FROM = frozenset({RunState.CRASHED, RunState.CANCELLING, RunState.PAUSED})


def is_kept(before: RunState, proposed: RunState) -> bool:
    """Whether the server keeps a run's state from one that is proposed without force."""
    if before is RunState.CANCELLED and proposed is RunState.PENDING:
        return True
    return before in FINAL and proposed in _KEPT_FROM


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
    lost_its_pool: bool = False

    @property
    def state(self) -> StateView:
        return self.states[-1]

    @property
    def view(self) -> RunView:
        """What Prefect's API tells in a list."""
        began = [state.type for state in self.states].count(RunState.RUNNING)
        last = self.state
        is_container = self.parent is None
        return RunView(
            self.id,
            str(self.id),
            last.type,
            last.name,
            last.at,
            self.pid,
            began,
            self.task_run,
            is_container,
            self.misses,
            in_pool=is_container and not self.lost_its_pool,
            is_of_worker=is_container,
        )


class PrefectSide:
    """Flow runs of a Prefect server; ``meanwhile`` is called before each read and each proposal."""

    def __init__(self, installation: UUID, clock: Callable[[], datetime]) -> None:
        self.runs: dict[UUID, Run] = {}
        self.proposals: list[Proposal] = []
        self.meanwhile: Callable[[UUID], None] = lambda _: None
        self._installation = installation
        self.clock = clock

    # What the world does

    def add(self, run: Run) -> None:
        self.runs[run.id] = run
        self.become(run.id, RunState.SCHEDULED)

    def become(self, run_id: UUID, state: RunState, name: str | None = None) -> None:
        """Change a state as an engine or a user does; do nothing to a run that was deleted."""
        if run_id in self.runs:
            self.runs[run_id].states.append(StateView(state, name or state.title(), self.clock()))

    # What the flows under test ask

    async def installation(self) -> UUID:
        return self._installation

    async def under_way(self, work_pool: str | None) -> list[RunView]:
        return [view for view in self._views() if view.in_pool]

    async def without_pool(self) -> list[RunView]:
        return [view for view in self._views() if not view.in_pool]

    def _views(self) -> list[RunView]:
        return [run.view for run in self.runs.values() if run.state.type in UNDER_WAY]

    async def job_flows(self) -> list[RunView]:
        return [
            run.view
            for run in self.runs.values()
            if run.parent is not None and run.state.type in UNDER_WAY
        ]

    async def by_ids(self, ids: Collection[UUID]) -> dict[UUID, RunView]:
        for run_id in ids:
            self.meanwhile(run_id)
        return {run_id: self.runs[run_id].view for run_id in ids if run_id in self.runs}

    async def flow_names(self, flow_ids: Collection[UUID]) -> dict[UUID, str]:
        assert not flow_ids, "no run here has a flow"
        return {}

    async def parents(self, runs: Collection[RunView]) -> dict[UUID, RunView]:
        above = {run.id: self.runs[run.id].parent for run in runs if run.id in self.runs}
        return {
            child: self.runs[parent].view for child, parent in above.items() if parent in self.runs
        }

    async def of_submissions(self, submissions: Collection[UUID]) -> list[RunView]:
        return [run.view for run in self.runs.values() if run.task_run in submissions]

    async def states(self, run_id: UUID) -> Sequence[StateView]:
        return list(self.runs[run_id].states) if run_id in self.runs else []

    async def propose(
        self, run_id: UUID, state: RunState, name: str | None, message: str
    ) -> Proposed:
        proposed: State = State(type=StateType(state.value), name=name, message=message)
        return await orchestration.propose_giving_way(
            cast("PrefectClient", _Server(self)), run_id, proposed
        )

    async def end_below(self, ended: Mapping[UUID, RunState]) -> None:
        """Nothing: no run here has task runs."""

    async def count_misses(self, run_id: UUID, misses: Misses) -> None:
        if run_id in self.runs:
            self.runs[run_id].misses = misses

    async def record_pid(self, run_id: UUID, pid: str) -> None:
        if run_id in self.runs:
            self.runs[run_id].pid = pid


@dataclass
class _Server:
    """What a proposal asks of Prefect's client."""

    side: PrefectSide

    async def set_flow_run_state(self, run_id: UUID, state: State) -> OrchestrationResult:
        self.side.meanwhile(run_id)
        run = self.side.runs.get(run_id)
        if run is None:
            raise ObjectNotFound(http_exc=ValueError(run_id))
        after, before = RunState(state.type.value), run.state
        accepted = not is_kept(before.type, after)
        proposal = Proposal(
            self.side.clock(), run_id, before.type, after, accepted, before.at, state.message or ""
        )
        self.side.proposals.append(proposal)
        if accepted:
            run.states.append(StateView(after, state.name or "", proposal.at, state.message))
        status = SetStateStatus.ACCEPT if accepted else SetStateStatus.ABORT
        return OrchestrationResult(state=None, status=status, details=StateAcceptDetails())

    async def request(
        self, _method: str, _path: str, *, path_params: dict[str, Any], json: dict[str, Any]
    ) -> None:
        """Give a final state back."""
        run, state = self.side.runs[path_params["id"]], json["state"]
        after = RunState(state["type"])
        if json["force"] or not is_kept(run.state.type, after):
            run.states.append(StateView(after, state["name"], self.side.clock(), state["message"]))

    async def read_flow_run_states(self, run_id: UUID) -> list[State]:
        return [
            State(
                type=StateType(view.type.value),
                name=view.name,
                message=view.message,
                timestamp=view.at,
            )
            for view in self.side.runs[run_id].states
        ]
