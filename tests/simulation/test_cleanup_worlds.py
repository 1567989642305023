"""The clean-up in many worlds: all that nobody uses is deleted, and nothing that is used.

What was planned is what is deleted.

More of them: ``pytest tests/simulation -n 0 --worlds 10000 -k cleanup``; one again: ``--world 17``.
"""

import asyncio
from datetime import datetime, timedelta

import pytest

from cpln_flows.api import commands, workloads
from cpln_flows.cleanup import decide as orphans
from cpln_flows.cleanup.delete import Deleter
from cpln_flows.cleanup.observe import Observer
from cpln_flows.emulator import Exit, Fault, Script
from cpln_flows.model.identifiers import workload_tags
from cpln_flows.model.policy import Limits
from tests.simulation.world import GVC, World, opened

HOUR = 3600.0
DAY = timedelta(hours=24)
LONGEST = 90 * HOUR
CLEAN_UPS = 5
LIMITS = Limits(most=1000, share=1)
BROKEN = [
    Fault(method="POST", path="workload/-query", status=503, times=1),
    Fault(method="POST", path="-command/-query", status=502, probability=0.3, times=None),
    Fault(method="GET", path="/deployment", status=500, probability=0.5, times=None),
    Fault(path="/identity", status=403, times=None),
    Fault(method="DELETE", status=500, probability=0.5, times=None),
]


class Yard:
    """Workloads that come, are used for a while, and are left behind."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = world.chance
        self.kept: set[str] = set()  # not ours, or on a schedule of their own
        self.made: set[str] = set()

    def plan(self) -> None:
        for number in range(self.chance.randint(3, 8)):
            self._life(f"w-{number}", self.chance.uniform(0, LONGEST - HOUR))

    def _life(self, name: str, born: float) -> None:
        chance = self.chance
        ours, scheduled = chance.random() < 0.85, chance.random() < 0.1
        if not ours or scheduled:
            self.kept.add(name)
        with_identity = chance.random() < 0.4
        self.world.at(
            born,
            lambda: self._make(name, ours=ours, scheduled=scheduled, with_identity=with_identity),
        )
        for _ in range(chance.choice([0, 1, 1, 2, 4])):
            length = chance.choice([10.0, HOUR, 30 * HOUR])
            self.world.at(
                born + chance.uniform(1, 60 * HOUR), lambda seconds=length: self._job(name, seconds)
            )

    async def _make(self, name: str, *, ours: bool, scheduled: bool, with_identity: bool) -> None:
        tags = workload_tags(spec_hash="0", job_type="standard") if ours else {}
        spec = {
            "type": "cron",
            "containers": [{"name": "main", "image": "python"}],
            "job": {"schedule": "0 0 1 1 *"},
            "defaultOptions": {"suspend": not scheduled},
        }
        if with_identity:
            link = f"{GVC.path}/identity/{name}"
            await self.world.client.put(
                f"{GVC.path}/identity", {"kind": "identity", "name": name, "tags": tags}
            )
            bindings = [{"permissions": ["reveal"], "principalLinks": [link]}]
            policy = {
                "kind": "policy",
                "name": name,
                "targetKind": "secret",
                "target": "all",
                "bindings": bindings,
            }
            await self.world.client.put("/org/local/policy", {**policy, "tags": tags})
            spec["identityLink"] = link
        await workloads.create(
            self.world.client, GVC, {"kind": "workload", "name": name, "tags": tags, "spec": spec}
        )
        self.made.add(name)

    async def _job(self, name: str, seconds: float) -> None:
        script = Script((Exit(seconds, code=self.chance.choice([0, 1])),))
        key = str(self.world.id())
        self.world.scripts[key] = script
        await commands.start(
            self.world.client,
            GVC.workload(name),
            location="local-1",
            overrides=[],
            tags={"script": key},
        )

    # What is true

    def there(self) -> dict[str, dict]:
        return {one["name"]: one for one in self.world.platform.workloads()}

    def is_used(self, workload: dict) -> bool:
        """Whether something ran on a workload within a day, or runs."""
        moments = [workload["created"]]
        for job in self.world.platform.commands(workload["name"]):
            if job["lifecycleStage"] not in ("completed", "failed", "cancelled"):
                return True
            moments.append(job["lastModified"])
        return self.world.clock.now() - max(map(datetime.fromisoformat, moments)) <= DAY

    def orphans(self) -> set[str]:
        return {
            name
            for name, one in self.there().items()
            if name not in self.kept and not self.is_used(one)
        }


async def clean_up(yard: Yard, *, broken: bool) -> None:
    world = yard.world
    observer = Observer(world.client, "local", None, DAY, world.clock.now)
    before, expected = set(yard.there()), yard.orphans()
    if broken:
        world.platform.faults.add(world.chance.choice(BROKEN))
    sweep = orphans.sweep(await observer.inventory(), LIMITS)
    deleted = await Deleter(observer).delete(sweep)
    world.platform.faults.clear()
    world.clock.advance(1)
    gone = before - set(yard.there())
    assert gone <= expected, f"{gone - expected} were in use"
    if not broken:
        planned = {one.link for one in sweep.deletions if one.workload}
        assert gone == expected
        assert planned == {f"{GVC.path}/workload/{name}" for name in gone}
        assert all(one.done for one in deleted)
        assert identities_of_the_living(yard) == set()


def identities_of_the_living(yard: Yard) -> set[str]:
    """Return the workloads that name an identity which is gone."""
    identities = {one["name"] for one in yard.world.platform.objects("identity")}
    return {
        name
        for name, one in yard.there().items()
        if "identityLink" in one["spec"] and name not in identities
    }


async def simulate(seed: int) -> int:
    async with opened(seed) as world:
        yard = Yard(world)
        yard.plan()
        moments = sorted(
            world.chance.uniform(DAY.total_seconds(), LONGEST + 50 * HOUR) for _ in range(CLEAN_UPS)
        )
        try:
            for moment in moments:
                await world.run_until(moment)
                await clean_up(yard, broken=world.chance.random() < 0.25)
        except AssertionError as error:
            error.add_note(f"pytest tests/simulation -n 0 -k cleanup --world {seed}")
            raise
        return len(yard.made) - len(yard.there())


@pytest.mark.timeout(0)  # as long as the option --worlds says
def test_only_orphans_go_in_every_world(cleanup_worlds) -> None:
    deleted = sum(asyncio.run(simulate(seed)) for seed in cleanup_worlds)
    assert deleted > len(cleanup_worlds)
