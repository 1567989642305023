"""Tasks for the secrets and images of an organization."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from cpln_flows.api import objects, secrets
from cpln_flows.blocks.credentials import CplnCredentials
from cpln_flows.model.identifiers import Area
from cpln_flows.tasks.connection import (
    Manifest,
    checked_name,
    client_of,
    list_objects,
    organization_of,
)
from cpln_flows.tasks.reporting import reporting


@reporting(Area.WORKLOAD)
async def upsert_secret(
    cpln_credentials: CplnCredentials, org: str, name: str, data: Mapping[str, SecretStr | str]
) -> Manifest:
    """Create a dictionary secret, or replace the one of this name.

    Args:
        cpln_credentials: The credentials to authenticate with.
        org: Organization, as a name or a link.
        name: Name of the secret.
        data: The values by name. Give them as ``SecretStr`` to keep them out of all logs.

    Returns:
        The secret as the platform stores it, without its values.

    Raises:
        ConfigurationError: A name is invalid.
        ForbiddenError: The token may not store it.
    """
    path = f"/org/{organization_of(org)}/secret"
    values = {
        key: value.get_secret_value() if isinstance(value, SecretStr) else value
        for key, value in data.items()
    }
    body = {
        "kind": "secret",
        "name": checked_name(name, "secret"),
        "type": "dictionary",
        "data": values,
    }
    async with client_of(cpln_credentials) as client:
        await client.put(path, body)
        return await objects.read(client, f"{path}/{name}")


@reporting(Area.WORKLOAD)
async def reveal_secret(
    cpln_credentials: CplnCredentials, org: str, name: str
) -> dict[str, SecretStr]:
    """Return the values of a secret by name.

    Args:
        cpln_credentials: The credentials to authenticate with.
        org: Organization, as a name or a link.
        name: Name of the secret.

    Raises:
        ConfigurationError: A name is invalid.
        ForbiddenError: The token may not reveal it.
        NotFoundError: There is no such secret.
    """
    organization, name = organization_of(org), checked_name(name, "secret")
    async with client_of(cpln_credentials) as client:
        return dict(await secrets.reveal(client, organization, name))


@reporting(Area.WORKLOAD)
async def list_images(cpln_credentials: CplnCredentials, org: str) -> Manifest:
    """List all images in the registry of an organization, from all pages.

    Args:
        cpln_credentials: The credentials to authenticate with.
        org: Organization, as a name or a link.

    Returns:
        A list as the platform returns it, with the images as its ``items``.

    Raises:
        ConfigurationError: The organization is neither a name nor a link.
        NotFoundError: There is no such organization.
    """
    path = f"/org/{organization_of(org)}/image"
    async with client_of(cpln_credentials) as client:
        return await list_objects(client, path, "image")
