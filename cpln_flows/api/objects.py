"""Objects of any kind, in the form that the platform has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpln_flows.api.client import CplnClient
from cpln_flows.errors import ForbiddenError, NotFoundError


async def read(client: CplnClient, path: str) -> dict[str, Any]:
    """Return an object.

    Raises:
        NotFoundError: There is no such object.
    """
    found = await client.get(path)
    return dict(found) if isinstance(found, Mapping) else {}


async def find(client: CplnClient, path: str) -> dict[str, Any] | None:
    """Return an object, or ``None`` if there is none."""
    try:
        return await read(client, path)
    except NotFoundError:
        return None


async def is_there(client: CplnClient, path: str) -> bool | None:
    """Return whether an object exists, or ``None`` if the token may not see it."""
    try:
        await client.get(path)
    except NotFoundError:
        return False
    except ForbiddenError:
        return None
    return True
