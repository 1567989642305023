"""What a job needs to read a secret: the secret, an identity, and the policy that connects them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from uuid import UUID

from pydantic import SecretStr

from cpln_flows.api import objects
from cpln_flows.api.client import CplnClient
from cpln_flows.errors import UnexpectedResponseError
from cpln_flows.model.identifiers import CREATED_BY_PREFECT
from cpln_flows.model.links import GvcRef

_USED = "cpln-flows/put"
_OF_KEYS = re.compile(r"prefect-api-[0-9a-f]{12}-[0-9a-f]{8}")


def name_of_keys(installation: UUID, digest: str) -> str:
    """Return the name of the secret with an installation's access to Prefect's API.

    A different set of values has a different name.
    """
    return f"prefect-api-{installation.hex[:12]}-{digest[:8]}"


def is_of_keys(name: str) -> bool:
    """Whether a secret's name is that of one with access to Prefect's API."""
    return _OF_KEYS.fullmatch(name) is not None


async def put_dictionary(
    client: CplnClient, org: str, name: str, data: Mapping[str, str], *, description: str
) -> None:
    """Create or replace a secret of names and values."""
    body = {
        "kind": "secret",
        "name": name,
        "description": description,
        "type": "dictionary",
        "data": dict(data),
        "tags": _tags(),
    }
    await client.put(f"/org/{org}/secret", body)


async def put_identity(client: CplnClient, gvc: GvcRef, name: str, *, description: str) -> str:
    """Create an identity, or mark an existing one as used once more; return its link."""
    await client.put(
        f"{gvc.path}/identity",
        {"kind": "identity", "name": name, "description": description, "tags": _tags()},
    )
    return f"{gvc.path}/identity/{name}"


async def reveal(client: CplnClient, org: str, name: str) -> Mapping[str, SecretStr]:
    """Return the values of a secret by their keys, such as the names of a dictionary.

    Raises:
        NotFoundError: There is no secret of this name.
        ForbiddenError: The token may not reveal it.
    """
    path = f"/org/{org}/secret/{name}/-reveal"
    data = (await objects.read(client, path)).get("data")
    if not isinstance(data, Mapping):
        raise UnexpectedResponseError(
            f"{path}: expected an object with the names and values of `data`"
        )
    return {str(key): SecretStr(str(value)) for key, value in data.items()}


async def put_reveal_policy(
    client: CplnClient,
    org: str,
    name: str,
    *,
    secrets: Iterable[str],
    principal: str,
    description: str,
) -> None:
    """Let a principal reveal secrets.

    Args:
        client: An open client.
        org: The organization.
        name: Name of the policy; an existing one of this name is replaced.
        secrets: Names of the secrets.
        principal: Link of the identity.
        description: What it is for.
    """
    body = {
        "kind": "policy",
        "name": name,
        "description": description,
        "tags": _tags(),
        "targetKind": "secret",
        "targetLinks": [f"/org/{org}/secret/{secret}" for secret in secrets],
        "bindings": [{"permissions": ["reveal"], "principalLinks": [principal]}],
    }
    await client.put(f"/org/{org}/policy", body)


def _tags() -> dict[str, str]:
    """Return the tags by which the clean-up finds an object.

    They change with every use, because the clean-up spares what was changed lately.
    """
    return {CREATED_BY_PREFECT: "true", _USED: datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")}
