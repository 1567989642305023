"""Workloads and their deployments: create, find, read, delete."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cpln_flows.api.client import CplnClient
from cpln_flows.api.retry import Repeat
from cpln_flows.errors import ConflictError, NotFoundError
from cpln_flows.model import links
from cpln_flows.model.identifiers import CREATED_BY_PREFECT
from cpln_flows.model.links import CommandRef, GvcRef, WorkloadRef
from cpln_flows.model.resources import Gvc, JobExecution, Workload, WorkloadDeployment


async def create(client: CplnClient, gvc: GvcRef, body: Mapping[str, Any]) -> bool:
    """Create a workload unless one of this name exists; return whether this call surely made it.

    Sending it twice is harmless, because the name is taken then. After a lost answer, the result
    may therefore be false for a workload that this very call created.
    """
    try:
        await client.post(f"{gvc.path}/workload", body, repeat=Repeat.ALWAYS)
    except ConflictError:
        return False
    return True


async def read(client: CplnClient, ref: WorkloadRef, *, repeat: Repeat = Repeat.ALWAYS) -> Workload:
    """Read one workload."""
    return await client.read(ref.path, Workload, repeat=repeat)


async def ours(client: CplnClient, org: str, gvc: str | None = None) -> AsyncIterator[Workload]:
    """Yield every workload made for Prefect, in one GVC or in the whole organization.

    The request is never repeated.
    """
    terms: list[dict[str, str]] = [{"op": "=", "tag": CREATED_BY_PREFECT, "value": "true"}]
    terms += [{"op": "=", "rel": "gvc", "value": gvc}] if gvc else []
    path = f"/org/{org}/workload/-query"
    body = {"kind": "workload", "spec": {"match": "all", "terms": terms}}
    async for page in client.pages(path, body, form=Workload, repeat=Repeat.NEVER):
        for workload in page:
            yield workload


@dataclass(frozen=True)
class Users:
    """Links of the workloads that use an identity, by its link, and a secret, by its name."""

    of_identities: dict[str, set[str]] = field(default_factory=dict)
    of_secrets: dict[str, set[str]] = field(default_factory=dict)


async def users(client: CplnClient, org: str) -> Users:
    """Return which workloads of the organization use which identity and which secret.

    The request is never repeated.
    """
    path, found = f"/org/{org}/workload", Users()
    async for page in client.pages(path, form=Workload, repeat=Repeat.NEVER):
        for workload in page:
            if workload.identity:
                found.of_identities.setdefault(workload.identity, set()).add(workload.link)
            for secret in workload.secrets:
                found.of_secrets.setdefault(secret, set()).add(workload.link)
    return found


async def delete(client: CplnClient, ref: WorkloadRef) -> bool:
    """Request the deletion of a workload; return whether it existed."""
    try:
        await client.delete(ref.path)
    except NotFoundError:
        return False
    return True


async def deployments(client: CplnClient, ref: WorkloadRef) -> list[WorkloadDeployment]:
    """Read the state of a workload at each of its locations; a new one may have none yet."""
    path = f"{ref.path}/deployment"
    return [found async for page in client.pages(path, form=WorkloadDeployment) for found in page]


async def deployment(
    client: CplnClient, ref: WorkloadRef, location: str, *, repeat: Repeat = Repeat.ALWAYS
) -> WorkloadDeployment:
    """Read the state of a workload at one location."""
    path = f"{ref.path}/deployment/{location}"
    return await client.read(path, WorkloadDeployment, repeat=repeat)


async def executions(client: CplnClient, ref: WorkloadRef) -> list[tuple[str, JobExecution]]:
    """Return the executions of a workload that the platform lists, each with its location.

    A workload that does not exist has none.
    """
    try:
        found = await deployments(client, ref)
    except NotFoundError:
        return []
    return [(here.name, execution) for here in found for execution in here.status.job_executions]


async def execution_of(client: CplnClient, ref: CommandRef) -> tuple[str, JobExecution] | None:
    """Return the execution of one job with its location, wherever the platform lists it."""
    for location, execution in await executions(client, ref.workload_ref):
        if execution.is_of(ref.command_id):
            return location, execution
    return None


async def locations(client: CplnClient, gvc: GvcRef) -> list[str]:
    """Return the names of a GVC's locations, in its order; none if a query places it."""
    answer = await client.read(gvc.path, Gvc)
    return [links.last_segment(link) for link in answer.spec.static_placement.location_links]


async def first_location(client: CplnClient, gvc: GvcRef) -> str | None:
    """Return the name of the first location of a GVC."""
    found = await locations(client, gvc)
    return found[0] if found else None
