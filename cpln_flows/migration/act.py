"""Carry out a plan on a Prefect server.

Each action checks what exists before it creates anything, so that it can be repeated.
"""

from __future__ import annotations

import copy
from typing import Any, assert_never
from uuid import UUID

from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import (
    BlockDocumentCreate,
    BlockDocumentUpdate,
    WorkPoolCreate,
    WorkPoolUpdate,
)
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.states import Cancelled

from cpln_flows.blocks.published_pool import POOL_TYPE
from cpln_flows.errors import ConfigurationError
from cpln_flows.migration.blocks import CLASSES
from cpln_flows.migration.plan import (
    CancelRuns,
    CreatePool,
    CreateQueue,
    DocumentRef,
    PausePool,
    SaveBlock,
    ServerAction,
    UpdateDeployment,
    UpdatePool,
)

_WHY_CANCELLED = (
    "No agent of Prefect 2 will start this run; its deployment has moved to a work pool of type"
    " cpln"
)


async def act(client: PrefectClient, action: ServerAction) -> None:
    """Carry out one action.

    Args:
        client: An open client of Prefect's API.
        action: The action; carrying it out twice has the effect of carrying it out once.

    Raises:
        ConfigurationError: Something that the action needs does not exist.
        prefect.exceptions.PrefectHTTPStatusError: The server refused.
    """
    match action:
        case SaveBlock():
            await _save_block(client, action)
        case CreatePool():
            await _create_pool(client, action)
        case UpdatePool():
            await client.update_work_pool(
                action.name, WorkPoolUpdate(base_job_template=dict(action.template))
            )
        case CreateQueue():
            await _create_queue(client, action)
        case UpdateDeployment():
            await client.request(
                "PATCH",
                "/deployments/{id}",
                path_params={"id": action.id},
                json=dict(action.fields),
            )
        case CancelRuns():
            for run_id in action.ids:
                await client.set_flow_run_state(run_id, Cancelled(message=_WHY_CANCELLED))
        case PausePool():
            await client.update_work_pool(action.name, WorkPoolUpdate(is_paused=True))
        case _:
            assert_never(action)


async def _save_block(client: PrefectClient, action: SaveBlock) -> None:
    block_class = CLASSES[action.ref.slug]
    schema_id = await _schema_of(client, block_class)
    data = {**action.data}
    for name, reference in action.references.items():
        data[name] = {"$ref": {"block_document_id": str(await _id_of(client, reference))}}
    existing = await _find(client, action.ref)
    if existing is not None:
        update = BlockDocumentUpdate(
            block_schema_id=schema_id, data=data, merge_existing_data=False
        )
        await client.update_block_document(existing, update)
        return
    block_type = await client.read_block_type_by_slug(action.ref.slug)
    await client.create_block_document(
        BlockDocumentCreate(
            name=action.ref.name, data=data, block_schema_id=schema_id, block_type_id=block_type.id
        )
    )


async def _schema_of(client: PrefectClient, block_class: type[Block]) -> UUID:
    register: Any = block_class.register_type_and_schema
    await register(client=client)
    schema_id = block_class._block_schema_id  # noqa: SLF001 - Prefect has no other way
    if schema_id is None:
        raise ConfigurationError(
            f"Prefect's server has not registered the block type of {block_class.__name__}"
        )
    return schema_id


async def _id_of(client: PrefectClient, ref: DocumentRef) -> UUID:
    found = await _find(client, ref)
    if found is None:
        raise ConfigurationError(
            f"{ref.slug}/{ref.name}: the server has no such block, and others refer to it;"
            " save it first"
        )
    return found


async def _find(client: PrefectClient, ref: DocumentRef) -> UUID | None:
    """Find a document on this server by its id if it was read here, else by its name."""
    if ref.id is not None:
        try:
            return (await client.read_block_document(ref.id, include_secrets=False)).id
        except ObjectNotFound:
            pass
    try:
        return (
            await client.read_block_document_by_name(ref.name, ref.slug, include_secrets=False)
        ).id
    except ObjectNotFound:
        return None


async def _create_pool(client: PrefectClient, action: CreatePool) -> None:
    template: dict[str, Any] = copy.deepcopy(dict(action.template))
    if action.config is not None:
        document_id = await _id_of(client, action.config)
        template["variables"]["properties"]["config"]["default"] = {
            "$ref": {"block_document_id": str(document_id)}
        }
    made = WorkPoolCreate(
        name=action.name,
        type=POOL_TYPE,
        base_job_template=template,
        description=action.description,
        concurrency_limit=action.concurrency_limit,
    )
    try:
        await client.create_work_pool(made)
    except ObjectAlreadyExists:
        found = await client.read_work_pool(action.name)
        if found.type != POOL_TYPE or found.description != action.description:
            raise ConfigurationError(
                f"the work pool {action.name!r} was created by somebody else in the meantime;"
                " migrate again"
            ) from None


async def _create_queue(client: PrefectClient, action: CreateQueue) -> None:
    try:
        await client.create_work_queue(
            action.name,
            is_paused=action.is_paused,
            concurrency_limit=action.concurrency_limit,
            priority=action.priority,
            work_pool_name=action.pool,
        )
    except ObjectAlreadyExists:
        return
