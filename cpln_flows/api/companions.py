"""Identities and policies that were made for Prefect: find them, delete them."""

from __future__ import annotations

from typing import Any

from cpln_flows.api.client import CplnClient
from cpln_flows.api.retry import Repeat
from cpln_flows.errors import NotFoundError
from cpln_flows.model.identifiers import CREATED_BY_PREFECT
from cpln_flows.model.resources import Identity, PlatformPolicy


async def identities(client: CplnClient, org: str) -> list[Identity]:
    """Return every identity of the organization that was made for Prefect; asked once, never repeated."""
    return [Identity.parse(item, source="identities") for item in await _ours(client, org, "identity")]


async def policies(client: CplnClient, org: str) -> list[PlatformPolicy]:
    """Return every policy of the organization that was made for Prefect; asked once, never repeated."""
    return [PlatformPolicy.parse(item, source="policies") for item in await _ours(client, org, "policy")]


async def delete(client: CplnClient, link: str) -> bool:
    """Ask for the deletion of an object; return whether there was one."""
    try:
        await client.delete(link)
    except NotFoundError:
        return False
    return True


async def _ours(client: CplnClient, org: str, kind: str) -> list[Any]:
    terms = [{"op": "=", "tag": CREATED_BY_PREFECT, "value": "true"}]
    body = {"kind": kind, "spec": {"match": "all", "terms": terms}}
    pages = client.pages(f"/org/{org}/{kind}/-query", body, repeat=Repeat.NEVER)
    return [item async for page in pages for item in page]
