"""Publish an infrastructure block as a work pool: build its template, and save it in Prefect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import WorkPool
from prefect.exceptions import ObjectNotFound
from prefect.workers.base import BaseWorker

from cpln_flows.blocks.pool_template import (
    COMMAND,
    base_job_template,
    chosen_start_seconds,
    flow_run_command,
    lifted,
)
from cpln_flows.errors import ConfigurationError
from cpln_flows.manifest import customization

if TYPE_CHECKING:
    from cpln_flows.blocks.infrastructure import CplnInfrastructure, CplnInfrastructureConfig

POOL_TYPE = "cpln"


async def publish(block: CplnInfrastructure, name: str, *, overwrite: bool) -> None:
    """Create the work pool of a block, unless it exists.

    Args:
        block: The block.
        name: Name of the pool.
        overwrite: Whether to replace the template of a pool that differs.

    Raises:
        ConfigurationError: A pool with this name exists, and has another type or differs.
    """
    async with get_client() as client:
        found = await _pool(client, name)
        if found is not None and found.type != POOL_TYPE:
            raise ConfigurationError(
                f"the work pool {name!r} exists and its type is {found.type!r}, not {POOL_TYPE!r};"
                " choose another name"
            )
        made = template(block, await _reference(block.config, name))
        if found is None:
            source = block._block_document_name  # noqa: SLF001 - Prefect has no other way
            said = description(source) if source else None
            await client.create_work_pool(
                WorkPoolCreate(name=name, type=POOL_TYPE, base_job_template=made, description=said)
            )
        elif found.base_job_template != made:
            if not overwrite:
                raise ConfigurationError(
                    f"the work pool {name!r} exists and differs from this block; choose another"
                    " name, or pass overwrite=True"
                )
            await client.update_work_pool(name, WorkPoolUpdate(base_job_template=made))


def description(source: str) -> str:
    """Return the description of a pool, which names the saved block from which it was made."""
    return f"Made of the infrastructure block {source}."


def template(block: CplnInfrastructure, config: dict[str, Any] | None) -> dict[str, Any]:
    """Return the base job template of the pool that a block becomes.

    Args:
        block: The block.
        config: Reference to the saved configuration, if the pool gets its token from one.

    Raises:
        ManifestError: The patch of the block cannot be applied.
    """
    shortcuts = block.shortcuts([COMMAND])
    manifest, values = lifted(
        customization.customized(block.job, shortcuts, block.customizations), shortcuts
    )
    defaults = values | {
        "command": flow_run_command(block.command),
        "config": config,
        "org": block.org,
        "namespace": block.namespace,
        "location": block.location,
        "job_watch_timeout_seconds": block.job_watch_timeout_seconds,
        "pod_watch_timeout_seconds": chosen_start_seconds(block.pod_watch_timeout_seconds),
        "stream_output": block.stream_output,
    }
    return base_job_template(default_template(), manifest, defaults)


def default_template() -> dict[str, Any]:
    """Return the base job template of a new pool, as the worker of this type has it."""
    worker = BaseWorker.get_worker_class_from_type(POOL_TYPE)
    if worker is None:
        raise ConfigurationError(
            f"Prefect knows no worker of type {POOL_TYPE!r}; install cpln-flows where this runs"
        )
    return worker.get_default_base_job_template()


async def _pool(client: PrefectClient, name: str) -> WorkPool | None:
    try:
        return await client.read_work_pool(name)
    except ObjectNotFound:
        return None


async def _reference(config: CplnInfrastructureConfig | None, name: str) -> dict[str, Any] | None:
    """Return a reference to a configuration, which is saved under a name if it was not before."""
    if config is None:
        return None
    document_id = config._block_document_id  # noqa: SLF001 - Prefect has no other way
    if document_id is None:
        document_id = await _saved(config, name)
    return {"$ref": {"block_document_id": str(document_id)}}


async def _saved(config: CplnInfrastructureConfig, name: str) -> UUID | None:
    load: Any = type(config).aload
    try:
        found: CplnInfrastructureConfig = await load(name)
    except ValueError:  # what Prefect raises for a document that does not exist
        return await config.asave(name)
    if found.token != config.token:
        raise ConfigurationError(
            f"config: it was not saved, and a configuration {name!r} with another token exists;"
            " save this one under a name of its own"
        )
    return found._block_document_id  # noqa: SLF001
