"""Turn what is saved into the plan of a migration. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cpln_flows.blocks.published_pool import POOL_TYPE
from cpln_flows.migration import blocks, deployments, pools
from cpln_flows.migration.plan import Item, Plan, refused
from cpln_flows.migration.saved import AGENT, Saved

_ORDER = {slug: index for index, slug in enumerate(blocks.CLASSES)}


def decide(saved: Saved) -> Plan:
    """Return the plan of a migration.

    Blocks come first, then pools, then the deployments that move into them, and finally the pools
    that those deployments leave.

    Args:
        saved: Everything that was read.
    """
    return Plan(tuple(_items(saved)))


def _items(saved: Saved) -> Iterator[Item]:
    yield from (refused("document", where, [why]) for where, why in saved.wrong)
    documents = sorted(saved.documents, key=lambda document: (_ORDER[document.slug], document.name))
    yield from (blocks.decide(document) for document in documents if not document.is_anonymous)
    used = {deployment.infrastructure_id for deployment in saved.deployments}
    for document in documents:
        if document.slug == blocks.INFRASTRUCTURE and (
            not document.is_anonymous or document.id in used
        ):
            yield pools.published(document, saved, deployments.limit_of_agents(document, saved))
    made = {
        pools.name_of(found, saved) for found in documents if found.slug == blocks.INFRASTRUCTURE
    }
    yield from (
        pools.decide(pool)
        for pool in saved.pools
        if pool.type == POOL_TYPE and pool.name not in made
    )
    moves = [
        found
        for deployment in saved.deployments
        if (found := deployments.decide(deployment, saved)) is not None
    ]
    yield from moves
    moving = frozenset(
        item.name for item in moves if item.becomes.startswith("moved") and item.actions
    )
    yield from (
        deployments.agents(pool, saved, moving) for pool in saved.pools if pool.type == AGENT
    )
