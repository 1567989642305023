"""Decide what becomes of agents' deployments, the pools they polled, and waiting runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cpln_flows.blocks.pool_template import is_outdated
from cpln_flows.blocks.published_pool import POOL_TYPE
from cpln_flows.migration import blocks, pools
from cpln_flows.migration.plan import (
    CancelRuns,
    CreateQueue,
    Item,
    PausePool,
    UpdateDeployment,
    refused,
)
from cpln_flows.migration.saved import Deployment, Document, Pool, Queue, Saved

KIND = "deployment"
_DEFAULT_QUEUE = "default"
# Prefect 3 has these, but no other block type from which Prefect 2 could load code by itself.
_STORAGES = frozenset({"local-file-system", "remote-file-system", "smb"})


def decide(deployment: Deployment, saved: Saved) -> Item | None:
    """Return what becomes of a deployment; ``None`` if it does not run on Control Plane."""
    document = saved.document(deployment.infrastructure_id)
    if document is not None and document.slug == blocks.INFRASTRUCTURE:
        return _moved(deployment, document, saved)
    pool = saved.pool(deployment.pool)
    if pool is None or pool.type != POOL_TYPE:
        return None
    variables, changes = _variables(deployment.job_variables)
    by_hand = tuple(_storage(deployment, saved))
    actions = (UpdateDeployment(deployment.id, {"job_variables": variables}),) if changes else ()
    becomes = "put right" if changes else "unchanged"
    return Item(KIND, deployment.title, becomes, changes, by_hand=by_hand, actions=actions)


def _moved(deployment: Deployment, document: Document, saved: Saved) -> Item:
    target = pools.name_of(document, saved)
    if (made := pools.published(document, saved)).refused:
        return refused(
            KIND,
            deployment.title,
            [f"the work pool {target!r} cannot be used: {reason}" for reason in made.refused],
        )
    if not saved.is_live:
        line = (
            "read the server itself: an export does not show where to move it;"
            f" its pool will be {target!r}"
        )
        return Item(KIND, deployment.title, f"moved to {target}", by_hand=(line,))
    variables, changes = _variables(deployment.job_variables)
    if unknown := sorted(variables.keys() - _known(made.actions, saved.pool(target))):
        source = blocks.title(document)
        reason = (
            f"infra_overrides: {', '.join(unknown)}: the work pool has no such variable; put what"
            f" they change into a copy of the block {source}, or remove them from the deployment,"
            " and migrate again"
        )
        return refused(KIND, deployment.title, [reason])
    place = (
        f"from {deployment.pool!r} to the work pool {target!r}"
        if deployment.pool
        else f"to the work pool {target!r}"
    )
    return Item(
        KIND,
        deployment.title,
        f"moved to {target}",
        (f"moves {place} with its schedules, parameters and path", *changes),
        by_hand=tuple(_storage(deployment, saved)),
        actions=tuple(_steps(deployment, target, variables, saved.pool(deployment.pool))),
    )


def _steps(
    deployment: Deployment, target: str, variables: Mapping[str, Any], old: Pool | None
) -> Iterator[CreateQueue | UpdateDeployment]:
    fields: dict[str, Any] = {"work_pool_name": target, "infrastructure_document_id": None}
    if variables != dict(deployment.job_variables):
        fields["job_variables"] = variables
    if queue := _own_queue(deployment, old):
        fields["work_queue_name"] = queue.name
        yield CreateQueue(
            target, queue.name, queue.priority, queue.concurrency_limit, queue.is_paused
        )
    yield UpdateDeployment(deployment.id, fields)


def agents(pool: Pool, saved: Saved, moving: frozenset[str]) -> Item:
    """Return what becomes of a pool that was polled by agents.

    Args:
        pool: The pool.
        saved: Everything that was read.
        moving: Titles of the deployments that leave their pool.
    """
    if not saved.is_live:
        return Item(pools.KIND, pool.name)
    left = [
        found.title
        for found in saved.deployments
        if found.pool == pool.name and found.title not in moving
    ]
    gone = {
        found.id for found in saved.deployments if found.title in moving or found.pool != pool.name
    }
    waiting = [run for run in saved.waiting if run.pool == pool.name and run.deployment_id in gone]
    scheduled = tuple(run.id for run in waiting if run.auto_scheduled)
    changes, by_hand = [], []
    actions: list[CancelRuns | PausePool] = []
    if scheduled:
        changes.append(
            f"{_runs(len(scheduled))} made by schedules, which no agent will start, are cancelled"
        )
        actions.append(CancelRuns(scheduled))
    if asked := len(waiting) - len(scheduled):
        by_hand.append(
            f"{_runs(asked)} that somebody asked for wait in it: start them again with `prefect"
            " deployment run`, then cancel these with `prefect flow-run cancel`"
        )
    if left:
        changes.append(f"not paused: {', '.join(left)} would run elsewhere than on Control Plane")
    elif not pool.is_paused:
        changes.append("is paused: Prefect 3 has no agents, and no deployment is left in it")
        actions.append(PausePool(pool.name))
    becomes = "paused" if any(isinstance(action, PausePool) for action in actions) else "unchanged"
    return Item(
        pools.KIND,
        pool.name,
        becomes,
        tuple(changes),
        by_hand=tuple(by_hand),
        actions=tuple(actions),
    )


def limit_of_agents(document: Document, saved: Saved) -> int | None:
    """Return the concurrency limit of an infrastructure block's deployments, if there was one."""
    users = [
        saved.pool(found.pool)
        for found in saved.deployments
        if found.infrastructure_id == document.id
    ]
    limits = [
        pool.concurrency_limit
        for pool in users
        if pool is not None and pool.concurrency_limit is not None
    ]
    return min(limits, default=None)


def _variables(found: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return job variables in the form of Prefect 3: nested, and without an image of Prefect 2."""
    made: dict[str, Any] = {}
    for name, value in found.items():
        first, dot, rest = name.partition(".")
        inner = made.get(first)
        if dot and isinstance(inner, dict | None):
            made[first] = {**(inner or {}), rest: value}
        else:
            made[name] = value
    changes = []
    if made != dict(found):
        changes.append("job_variables: names with dots become objects")
    if is_outdated(made.get("image")):
        changes.append(
            f"job_variables: the image {made.pop('image')} is one of Prefect 2; its runs get that"
            " of the pool"
        )
    return made, tuple(changes)


def _known(actions: object, existing: Pool | None) -> set[str]:
    template: Any = existing.template if existing is not None else None
    for action in actions if isinstance(actions, tuple) else ():
        template = getattr(action, "template", template)
    return set(((template or {}).get("variables") or {}).get("properties") or {})


def _own_queue(deployment: Deployment, pool: Pool | None) -> Queue | None:
    """Return the queue of a deployment, unless it is the default queue of its pool."""
    if deployment.queue in (None, _DEFAULT_QUEUE):
        return None
    queues = pool.queues if pool is not None else ()
    return next(
        (queue for queue in queues if queue.name == deployment.queue), Queue(name=deployment.queue)
    )


def _storage(deployment: Deployment, saved: Saved) -> Iterator[str]:
    if deployment.storage_id is None:
        return
    slug = saved.storages.get(deployment.storage_id, "block that is gone")
    if slug not in _STORAGES:
        yield (
            f"its code comes from a {slug}, which Prefect 3 does not have: give it a pull step,"
            " such as git_clone, or deploy it again with flow.from_source"
        )


def _runs(count: int) -> str:
    return f"{count} runs" if count > 1 else "1 run"
