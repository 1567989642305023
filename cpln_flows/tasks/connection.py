"""What the tasks that call the platform share: a client, and names that are valid in a path."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cpln_flows.api.client import CplnClient
from cpln_flows.blocks.credentials import CplnCredentials
from cpln_flows.errors import ConfigurationError
from cpln_flows.jobs import session
from cpln_flows.model import links
from cpln_flows.model.links import GvcRef
from cpln_flows.settings import CplnSettings

Manifest = dict[str, Any]
"""An object of the platform, as its API represents it."""


@asynccontextmanager
async def client_of(credentials: CplnCredentials) -> AsyncIterator[CplnClient]:
    """Open a client, or share the one that is already open for the same credentials."""
    async with session.shared(
        credentials.api_settings(CplnSettings.load()), credentials.present_token
    ) as shared:
        yield shared.client


async def list_objects(client: CplnClient, path: str, kind: str) -> Manifest:
    """Return a list as the platform returns it, with the items of all pages."""
    items = [item async for page in client.pages(path) for item in page]
    return {
        "kind": "list",
        "itemKind": kind,
        "items": items,
        "links": [{"rel": "self", "href": path}],
    }


def organization_of(org: str) -> str:
    """Return the name of an organization.

    Raises:
        ConfigurationError: ``org`` is neither a name nor a link.
    """
    try:
        return links.organization(org)
    except ValueError as error:
        raise ConfigurationError(f"org: {error}") from None


def place(org: str | None, gvc: str | None, settings: CplnSettings) -> tuple[str, str | None]:
    """Return the names of the organization and the GVC that a flow works on.

    Args:
        org: Organization, as a name or a link. Default: the one that the environment names.
        gvc: GVC, as a name or a link. Default: none.
        settings: The settings that the environment gives.

    Raises:
        ConfigurationError: ``org`` or ``gvc`` is neither a name nor a link, the two do not agree,
            or neither the caller nor the environment names an organization.
    """
    try:
        named = links.organization(org) if org else settings.org
        found = links.gvc_of(named, gvc) if gvc else None
    except ValueError as error:
        raise ConfigurationError(f"org and gvc: {error}") from None
    named = found.org if found else named
    if not named:
        raise ConfigurationError(
            "org: not given, and CPLN_ORG is not set: give org=... or set CPLN_ORG"
        )
    return named, found.name if found else None


def gvc_of(org: str, gvc: str) -> GvcRef:
    """Return the GVC of a workload.

    Raises:
        ConfigurationError: The organization or the GVC is neither a name nor a link, or the two do
            not agree.
    """
    try:
        organization = links.organization(org)
        return GvcRef(organization, links.gvc_of(organization, gvc).name)
    except ValueError as error:
        raise ConfigurationError(f"org and gvc: {error}") from None


def checked_name(name: object, kind: str) -> str:
    """Return a name after checking that it can be part of a path.

    Raises:
        ConfigurationError: It cannot be.
    """
    if not isinstance(name, str) or not links.is_name(name):
        raise ConfigurationError(f"name: expected the name of a {kind}, found {name!r:.60}")
    return name
