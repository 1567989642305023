"""The steps of the maintenance flows that change something, as Prefect's UI shows them."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.client.schemas.objects import State

from cpln_flows import failure_states
from cpln_flows.cleanup.decide import Sweep
from cpln_flows.cleanup.delete import Deleted, Deleter
from cpln_flows.errors import CplnError
from cpln_flows.reconcile.act import Outcome
from cpln_flows.reconcile.cycles import Reconciler
from cpln_flows.reconcile.plan import Plan
from cpln_flows.reconcile.snapshot import Snapshot
from cpln_flows.sync_compat import value_of


async def act(reconciler: Reconciler, snapshot: Snapshot, plan: Plan) -> tuple[Outcome, ...]:
    """Carry out a plan.

    It is a task only if there is something to do, so that hours of idle cycles leave no trace.
    """

    # The plan is no parameter of the task: Prefect would search thousands of values in it for
    # futures.
    @task(name="act", **failure_states.STEP)
    async def step() -> tuple[Outcome, ...] | State[Any]:
        try:
            return await reconciler.act(snapshot, plan)
        except CplnError as error:
            return failure_states.of_task(error)

    done: tuple[Outcome, ...] = await (
        value_of(step()) if plan.actions else reconciler.act(snapshot, plan)
    )
    return done


async def delete(deleter: Deleter, sweep: Sweep) -> tuple[Deleted, ...]:
    """Delete what a sweep lists, as a task if there is something to delete."""

    @task(name="delete", **failure_states.STEP)
    async def step() -> tuple[Deleted, ...] | State[Any]:
        try:
            return await deleter.delete(sweep)
        except CplnError as error:
            return failure_states.of_task(error)

    deleted: tuple[Deleted, ...] = await value_of(step()) if sweep.deletions else ()
    return deleted
