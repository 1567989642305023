"""Looking at thousands of runs leaves the event loop to others: a flow that shares it goes on."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from cpln_flows.model.identifiers import Owner, Role, Submission
from cpln_flows.model.links import GvcRef
from cpln_flows.model.policy import Policy
from cpln_flows.model.resources import Command, Workload
from cpln_flows.model.run_states import RunState
from cpln_flows.reconcile import decide, observe
from cpln_flows.reconcile.observe import Observer
from cpln_flows.reconcile.snapshot import Clocks, Memory, RunView, Scope
from tests.simulation.prefect_side import PrefectSide

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 10, tzinfo=UTC)
GVC = GvcRef("local", "quickstart")
WORKLOADS = 20
CALLS_OF_A_RUN = 60  # about 37 when this was written


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
    body = {
        "id": str(uuid4()),
        "type": "runCronWorkload",
        "lifecycleStage": "running",
        "created": NOW.isoformat(),
        "tags": tags,
    }
    return Command.parse(body, source="test")


def _cycle_over(count: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Awaitable[None]]:
    """Return a cycle of the sync over so many runs, each of which has its job."""
    refs = [GVC.workload(f"w-{number}") for number in range(WORKLOADS)]
    run_ids = [uuid4() for _ in range(count)]
    commands = {
        ref.path: [_command(run_id) for run_id in run_ids[number::WORKLOADS]]
        for number, ref in enumerate(refs)
    }
    views = [
        RunView(
            UUID(command.tags["prefect.io/flow-run-id"]),
            "r",
            RunState.RUNNING,
            "Running",
            NOW,
            ref.command(command.id).pid,
            1,
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
        assert (plan.judged, plan.actions, plan.unread) == (count, (), ())

    return cycle


async def test_a_cycle_holds_the_loop_for_a_bounded_time_a_run(monkeypatch) -> None:
    few = await longest_turn(_cycle_over(200, monkeypatch))
    many = await longest_turn(_cycle_over(1000, monkeypatch))
    assert few < 200 * CALLS_OF_A_RUN
    assert many < 6 * few, "work that grows with the square of the runs"


async def longest_turn(function: Callable[[], Awaitable[None]]) -> int:
    """Return the most calls that were made before another task of the loop had its turn.

    It uses no clock, so a slow machine does not matter.
    """
    turns = [0]

    def count(_frame: object, event: str, _argument: object) -> None:
        turns[-1] += event in ("call", "c_call")

    async def heartbeat() -> None:
        while True:
            await asyncio.sleep(0)
            turns.append(0)

    beating = asyncio.ensure_future(heartbeat())
    await asyncio.sleep(0)
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        await function()
    finally:
        sys.setprofile(before)
        beating.cancel()
    return max(turns)
