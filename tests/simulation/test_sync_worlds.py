"""Thousands of worlds in which everything happens that can: the sync is right in all of them.

More of them: ``pytest tests/simulation -n 0 -s -k sync --worlds 2000``.
One again, by the seed that a failure names: ``pytest tests/simulation -n 0 --world 17``.
"""

import asyncio

import pytest

from cpln_flows.emulator import Fault
from cpln_flows.model.policy import Limits, Policy
from cpln_flows.model.run_states import UNDER_WAY, RunState
from cpln_flows.reconcile import act, decide
from cpln_flows.reconcile.act import Actor
from cpln_flows.reconcile.observe import Observer
from cpln_flows.reconcile.snapshot import Memory, Scope
from tests.simulation.checks import INTERVAL, Judge
from tests.simulation.world import World, opened

RUNS, CYCLES = 40, 50
POLICY = Policy(limits=Limits(share=1))
BROKEN = [
    Fault(method="POST", path="workload/-query", status=503, times=1),
    Fault(method="POST", path="-command/-query", status=502, times=2),
    Fault(method="POST", path="-command/-query", status=429, probability=0.5, times=None),
    Fault(method="GET", path="-command/", status=500, probability=0.5, times=None),
    Fault(method="GET", path="-query", status=503, times=None),  # every page but the first
    Fault(status=401, times=None),
]


async def populated(world: World) -> None:
    refs = [await world.workload(f"w-{number}") for number in range(world.chance.randint(2, 5))]
    for _ in range(RUNS):
        world.live(world.chance.choice(refs), world.chance.choice(refs))
    for ref in refs[1:]:
        if world.chance.random() < 0.2:
            world.delete_later(ref, world.chance.uniform(60, 1800))
    await world.stranger(refs[0], installation=world.id())
    await world.stranger(refs[0], installation=None)


class Syncs:
    """The sync, one cycle after the other, by processes that come and go."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.observer = Observer(world.client, world.prefect, Scope("local"), POLICY)
        self.memory = Memory()

    async def cycle(self) -> None:
        chance = self.world.chance
        if chance.random() < 0.2:
            self.memory = Memory(reported=self.memory.reported)
        others = (
            [self._once(Memory(reported=self.memory.reported))] if chance.random() < 0.1 else []
        )
        results = await asyncio.gather(self._once(self.memory), *others)
        self.memory = results[0]

    async def _once(self, memory: Memory) -> Memory:
        snapshot = await self.observer.snapshot(self.world.clocks(), memory)
        plan = decide.decide(snapshot, self.observer.scope, POLICY)
        outcomes = await Actor(self.observer, self.world.clocks).act(
            act.news(plan, memory), memory.reported
        )
        failed = [outcome.said for outcome in outcomes if outcome.failed and not self.broken]
        assert not failed
        return act.forget(act.remember(snapshot, outcomes, memory), plan, snapshot, outcomes)

    broken = False


def reports_at_the_same_moment(world: World):
    """A worker or an engine that is just reporting, while a look or a proposal is under way."""

    def report(run_id) -> None:
        truth = world.truths.get(run_id)
        if truth and truth.run.state.type in UNDER_WAY and world.chance.random() < 0.03:
            world.end(
                truth,
                world.chance.choice(
                    [RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED, RunState.CRASHED]
                ),
            )

    return report


async def simulate(seed: int) -> Judge:
    async with opened(seed) as world:
        await populated(world)
        world.prefect.meanwhile = reports_at_the_same_moment(world)
        syncs, judge = Syncs(world), Judge(world)
        for number in range(1, CYCLES + 1):
            await world.run_until(number * INTERVAL)
            owed = judge.before()
            syncs.broken = world.chance.random() < 0.15
            if syncs.broken:
                world.platform.faults.add(world.chance.choice(BROKEN))
            await syncs.cycle()
            world.platform.faults.clear()
            judge.after(owed, all_read=not syncs.broken)
            assert not judge.wrong, (
                f"pytest tests/simulation -n 0 --world {seed} (cycle {number}): {judge.wrong}"
            )
        return judge


@pytest.mark.timeout(0)  # as long as the option --worlds says
def test_the_sync_is_right_in_every_world(sync_worlds) -> None:
    divergences = sum(asyncio.run(simulate(seed)).divergences for seed in sync_worlds)
    print(f"{len(sync_worlds)} worlds, {divergences} divergences")  # noqa: T201 - for whoever asked for more worlds
    assert divergences > 10 * len(sync_worlds)
