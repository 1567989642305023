"""Tasks for workloads, with the names, arguments and results of prefect-cpln."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpln_flows.api import objects
from cpln_flows.blocks.credentials import CplnCredentials
from cpln_flows.model.identifiers import Area
from cpln_flows.model.links import GvcRef
from cpln_flows.tasks.connection import Manifest, checked_name, client_of, gvc_of, list_objects
from cpln_flows.tasks.reporting import reporting


@reporting(Area.WORKLOAD)
async def create_workload(
    cpln_credentials: CplnCredentials, org: str, gvc: str, body: Mapping[str, Any]
) -> Manifest:
    """Create a workload, or replace the one of this name.

    Args:
        cpln_credentials: The credentials to authenticate with.
        org: Organization, as a name or a link.
        gvc: GVC, as a name or a link.
        body: The manifest of the workload.

    Returns:
        The workload as the platform stores it afterward.

    Raises:
        ConfigurationError: The organization, the GVC or the name is invalid.
        ApiError: The platform refused it.

    Example:
        ```python
        from cpln_flows import CplnCredentials, create_workload

        container = {"name": "main", "image": "busybox", "command": "date"}
        spec = {
            "type": "cron",
            "containers": [container],
            "job": {"schedule": "* * * * *"},
            "defaultOptions": {"suspend": True},
        }
        body = {"kind": "workload", "name": "nightly", "spec": spec}
        create_workload(CplnCredentials(), "my-org", "my-gvc", body)
        ```
    """
    return await _put(cpln_credentials, gvc_of(org, gvc), body)


@reporting(Area.WORKLOAD)
async def replace_workload(
    cpln_credentials: CplnCredentials, org: str, gvc: str, body: Mapping[str, Any]
) -> Manifest:
    """Replace the manifest of a workload, or create the workload.

    Args:
        cpln_credentials: The credentials to authenticate with.
        org: Organization, as a name or a link.
        gvc: GVC, as a name or a link.
        body: The manifest of the workload.

    Returns:
        The workload as the platform stores it afterward.

    Raises:
        ConfigurationError: The organization, the GVC or the name is invalid.
        ApiError: The platform refused it.
    """
    return await _put(cpln_credentials, gvc_of(org, gvc), body)


@reporting(Area.WORKLOAD)
async def read_workload(
    cpln_credentials: CplnCredentials, org: str, gvc: str, name: str
) -> Manifest:
    """Read a workload.

    Args:
        cpln_credentials: The credentials to authenticate with.
        org: Organization, as a name or a link.
        gvc: GVC, as a name or a link.
        name: Name of the workload.

    Returns:
        The workload as the platform stores it.

    Raises:
        ConfigurationError: The organization, the GVC or the name is invalid.
        NotFoundError: There is no such workload.
    """
    path = _path(gvc_of(org, gvc), name)
    async with client_of(cpln_credentials) as client:
        return await objects.read(client, path)


@reporting(Area.WORKLOAD)
async def patch_workload(
    cpln_credentials: CplnCredentials, org: str, gvc: str, name: str, body: Mapping[str, Any]
) -> Manifest:
    """Change some fields of a workload.

    Args:
        cpln_credentials: The credentials to authenticate with.
        org: Organization, as a name or a link.
        gvc: GVC, as a name or a link.
        name: Name of the workload.
        body: The fields to change; the others stay.

    Returns:
        The workload as the platform stores it afterward.

    Raises:
        ConfigurationError: The organization, the GVC or the name is invalid.
        NotFoundError: There is no such workload.
    """
    path = _path(gvc_of(org, gvc), name)
    async with client_of(cpln_credentials) as client:
        await client.patch(path, body)
        return await objects.read(client, path)


@reporting(Area.WORKLOAD)
async def delete_workload(cpln_credentials: CplnCredentials, org: str, gvc: str, name: str) -> None:
    """Request the deletion of a workload, which the platform carries out soon after.

    Args:
        cpln_credentials: The credentials to authenticate with.
        org: Organization, as a name or a link.
        gvc: GVC, as a name or a link.
        name: Name of the workload.

    Raises:
        ConfigurationError: The organization, the GVC or the name is invalid.
        NotFoundError: There is no such workload.
    """
    path = _path(gvc_of(org, gvc), name)
    async with client_of(cpln_credentials) as client:
        await client.delete(path)


@reporting(Area.WORKLOAD)
async def list_workloads(cpln_credentials: CplnCredentials, org: str, gvc: str) -> Manifest:
    """List all workloads of a GVC, however many pages there are.

    Args:
        cpln_credentials: The credentials to authenticate with.
        org: Organization, as a name or a link.
        gvc: GVC, as a name or a link.

    Returns:
        A list as the platform returns it, with the workloads of all pages as its ``items``.

    Raises:
        ConfigurationError: The organization or the GVC is invalid.
        NotFoundError: There is no such organization or GVC.

    Example:
        ```python
        from cpln_flows import CplnCredentials, list_workloads

        for workload in list_workloads(CplnCredentials(), "my-org", "my-gvc")["items"]:
            print(workload["name"])
        ```
    """
    path = f"{gvc_of(org, gvc).path}/workload"
    async with client_of(cpln_credentials) as client:
        return await list_objects(client, path, "workload")


async def _put(credentials: CplnCredentials, gvc: GvcRef, body: Mapping[str, Any]) -> Manifest:
    path = _path(gvc, body.get("name"))
    async with client_of(credentials) as client:
        await client.put(f"{gvc.path}/workload", body)
        return await objects.read(client, path)


def _path(gvc: GvcRef, name: object) -> str:
    return gvc.workload(checked_name(name, "workload")).path
