"""Looking at thousands of runs leaves the event loop to others: a flow that shares it goes on."""

import asyncio
import time
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from cpln_flows.model.identifiers import Owner, Role, Submission
from cpln_flows.model.links import GvcRef
from cpln_flows.model.resources import Command, Workload
from cpln_flows.reconcile import decide, observe
from cpln_flows.reconcile.decide import Policy
from cpln_flows.reconcile.observe import Observer
from cpln_flows.reconcile.snapshot import Clocks, Memory, RunState, RunView, Scope
from tests.simulation.prefect_side import PrefectSide

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 10, tzinfo=UTC)
GVC = GvcRef("local", "quickstart")
RUNS, WORKLOADS, LONGEST_SECONDS = 5000, 20, 0.2


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Running(PrefectSide):
    """Flow runs that all run."""

    def __init__(self, views: list[RunView]) -> None:
        super().__init__(UUID(int=1), lambda: NOW)
        self._views = views

    async def under_way(self, work_pool):
        return self._views


def _command(run_id: UUID) -> Command:
    owner = Owner(run_id, "etl", installation=UUID(int=1), agent="w")
    tags = owner.tags(Role.CONTAINER) | Submission(run_id, 0).tags
    body = {"id": str(uuid4()), "type": "runCronWorkload", "lifecycleStage": "running", "created": NOW.isoformat(), "tags": tags}
    return Command.parse(body, source="test")


async def test_a_cycle_over_thousands_of_runs_holds_the_loop_at_most_a_moment(monkeypatch) -> None:
    refs = [GVC.workload(f"w-{number}") for number in range(WORKLOADS)]
    run_ids = [uuid4() for _ in range(RUNS)]
    commands = {ref.path: [_command(run_id) for run_id in run_ids[number::WORKLOADS]] for number, ref in enumerate(refs)}
    views = [
        RunView(
            UUID(command.tags["prefect.io/flow-run-id"]), "r", RunState.RUNNING, "Running", NOW, ref.command(command.id).pid, 1
        )
        for ref in refs
        for command in commands[ref.path]
    ]

    async def ours(*_):
        for ref in refs:
            link = {"rel": "self", "href": ref.path}
            yield Workload.parse({"name": ref.name, "links": [link]}, source="test")

    async def active(_, ref):
        await asyncio.sleep(0)
        return commands[ref.path]

    monkeypatch.setattr(observe.workloads, "ours", ours)
    monkeypatch.setattr(observe.commands, "active", active)
    observer = Observer(None, Running(views), Scope("local"), Policy())

    async def cycle() -> None:
        snapshot = await observer.snapshot(Clocks.alike(NOW), Memory(first_cycle=False))
        plan = decide.decide(snapshot, observer.scope, observer.policy)
        assert (plan.judged, plan.actions, plan.unread) == (RUNS, (), ())

    # The machine itself may halt one of them, hardly three.
    assert min([await longest_gap(cycle) for _ in range(3)]) < LONGEST_SECONDS


async def longest_gap(function) -> float:
    """How long another task of the loop had to wait at most while this one ran."""
    gaps: list[float] = []

    async def heartbeat() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            gaps.append(time.perf_counter() - last)
            last += gaps[-1]

    beating = asyncio.ensure_future(heartbeat())
    await asyncio.sleep(0)
    await function()
    await asyncio.sleep(0)
    beating.cancel()
    return max(gaps)
