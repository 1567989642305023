"""The steps of the maintenance flows that Prefect's UI shows: those that change something."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from cpln_flows.reconcile.act import Outcome
from cpln_flows.reconcile.cycles import Reconciler
from cpln_flows.reconcile.inventory import Deleted, Storekeeper
from cpln_flows.reconcile.orphans import Sweep
from cpln_flows.reconcile.plan import Plan
from cpln_flows.reconcile.snapshot import Snapshot


async def act(reconciler: Reconciler, snapshot: Snapshot, plan: Plan) -> tuple[Outcome, ...]:
    """Carry out a plan: as a task when there is something to do, so that the hours of idle cycles leave no trace."""

    # The plan comes from outside of the task's parameters: Prefect would walk through thousands of values in search of futures.
    @task(name="act", cache_policy=NO_CACHE, persist_result=False)
    async def step() -> tuple[Outcome, ...]:
        return await reconciler.act(snapshot, plan)

    return await (step() if plan.actions else reconciler.act(snapshot, plan))


async def delete(keeper: Storekeeper, sweep: Sweep) -> tuple[Deleted, ...]:
    """Delete what a sweep says, as a task when there is something to delete."""

    @task(name="delete", cache_policy=NO_CACHE, persist_result=False)
    async def step() -> tuple[Deleted, ...]:
        return await keeper.delete(sweep)

    return await step() if sweep.deletions else ()
