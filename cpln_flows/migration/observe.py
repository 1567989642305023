"""Read a Prefect server: everything that a migration considers, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.orchestration.routes import ServerRoutes
from prefect.exceptions import ObjectNotFound

from cpln_flows.migration.blocks import CLASSES
from cpln_flows.migration.saved import (
    AGENT,
    Deployment,
    Document,
    Pool,
    Queue,
    Record,
    Saved,
    WaitingRun,
)

_PAGE = 200

R = TypeVar("R", bound=Record)


async def observe(client: PrefectClient) -> Saved:
    """Read a server.

    Args:
        client: An open client of its API.

    Raises:
        prefect.exceptions.PrefectHTTPStatusError: The server refused.
    """
    pools = await _pools(client)
    found = await _all(client, "/deployments/filter", {})
    flows = await _flow_names(client, {entry["flow_id"] for entry in found})
    deployments = _parsed(
        Deployment, ({**entry, "flow_name": flows.get(entry["flow_id"], "")} for entry in found)
    )
    return Saved(
        documents=await _documents(client),
        pools=pools,
        deployments=deployments,
        waiting=await _waiting(client, [pool.name for pool in pools if pool.type == AGENT]),
        storages=await _storages(client, deployments),
        is_live=True,
    )


async def _documents(client: PrefectClient) -> tuple[Document, ...]:
    wanted = {"block_types": {"slug": {"any_": list(CLASSES)}}, "include_secrets": True}
    found = [
        entry
        for is_anonymous in (False, True)
        for entry in await _all(
            client,
            "/block_documents/filter",
            wanted | {"block_documents": {"is_anonymous": {"eq_": is_anonymous}}},
        )
    ]
    return _parsed(Document, found)


async def _pools(client: PrefectClient) -> tuple[Pool, ...]:
    pools = []
    for entry in await _all(client, "/work_pools/filter", {}):
        queues: tuple[Queue, ...] = ()
        if entry["type"] == AGENT:
            path: ServerRoutes = "/work_pools/{work_pool_name}/queues/filter"
            queues = _parsed(Queue, await _all(client, path, {}, work_pool_name=entry["name"]))
        pools.append(Pool.model_validate({**entry, "queues": queues}))
    return tuple(pools)


async def _flow_names(client: PrefectClient, ids: Iterable[str]) -> dict[str, str]:
    wanted = {"flows": {"id": {"any_": sorted(ids)}}}
    return {entry["id"]: entry["name"] for entry in await _all(client, "/flows/filter", wanted)}


async def _waiting(client: PrefectClient, pools: list[str]) -> tuple[WaitingRun, ...]:
    if not pools:
        return ()
    wanted = {
        "work_pools": {"name": {"any_": pools}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    return _parsed(WaitingRun, await _all(client, "/flow_runs/filter", wanted))


async def _storages(client: PrefectClient, deployments: Iterable[Deployment]) -> dict[UUID, str]:
    found = {}
    for document_id in {
        deployment.storage_id for deployment in deployments if deployment.storage_id is not None
    }:
        try:
            document = await client.read_block_document(document_id, include_secrets=False)
        except ObjectNotFound:
            continue
        if document.block_type is not None:
            found[document_id] = document.block_type.slug
    return found


async def _all(
    client: PrefectClient, path: ServerRoutes, wanted: dict[str, Any], **path_params: str
) -> list[dict[str, Any]]:
    """Return everything that a filter finds, page by page."""
    found: list[dict[str, Any]] = []
    while True:
        body = {**wanted, "limit": _PAGE, "offset": len(found)}
        page: list[dict[str, Any]] = (
            await client.request("POST", path, path_params=path_params, json=body)
        ).json()
        found += page
        if len(page) < _PAGE:
            return found


def _parsed(kind: type[R], entries: Iterable[dict[str, Any]]) -> tuple[R, ...]:
    return tuple(kind.model_validate(entry) for entry in entries)
