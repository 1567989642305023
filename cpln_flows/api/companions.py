"""Find and delete the identities, policies and secrets that were made for Prefect."""

from __future__ import annotations

import re
from typing import TypeVar

from cpln_flows.api import secrets
from cpln_flows.api.client import CplnClient
from cpln_flows.api.retry import Repeat
from cpln_flows.errors import NotFoundError, UnexpectedResponseError
from cpln_flows.model.identifiers import CREATED_BY_PREFECT
from cpln_flows.model.resources import Identity, Named, PlatformPolicy, Secret

T = TypeVar("T", bound=Named)


async def identities(client: CplnClient, org: str) -> list[Identity]:
    """Return every identity of the organization made for Prefect; never repeat the request."""
    return await _ours(client, org, "identity", Identity)


async def policies(client: CplnClient, org: str) -> list[PlatformPolicy]:
    """Return every policy of the organization made for Prefect; never repeat the request."""
    return await _ours(client, org, "policy", PlatformPolicy)


async def all_policies(client: CplnClient, org: str) -> list[PlatformPolicy]:
    """Return every policy of the organization that the token may see."""
    return [
        policy
        async for page in client.pages(f"/org/{org}/policy", form=PlatformPolicy)
        for policy in page
    ]


async def secrets_of_keys(client: CplnClient, org: str) -> list[Secret]:
    """Return every secret of the organization that grants access to Prefect's API.

    The request is never repeated.
    """
    return [
        secret
        for secret in await _ours(client, org, "secret", Secret)
        if secrets.is_of_keys(secret.name)
    ]


async def delete(client: CplnClient, link: str) -> bool:
    """Request the deletion of an object; return whether it existed."""
    try:
        await client.delete(link)
    except NotFoundError:
        return False
    return True


async def _ours(client: CplnClient, org: str, kind: str, form: type[T]) -> list[T]:
    terms = [{"op": "=", "tag": CREATED_BY_PREFECT, "value": "true"}]
    body = {"kind": kind, "spec": {"match": "all", "terms": terms}}
    path = f"/org/{org}/{kind}/-query"
    found = [
        item
        async for page in client.pages(path, body, form=form, repeat=Repeat.NEVER)
        for item in page
    ]
    own = re.compile(rf"/org/{re.escape(org)}(?:/gvc/[^/\s?#]+)?/{kind}/[^/\s?#]+")
    for item in found:
        if not own.fullmatch(item.link):  # this link is what will be deleted
            raise UnexpectedResponseError(
                f"{path}: expected objects with links of this kind, found {item.link[:60]!r}"
            )
    return found
