"""Check token, organization, GVC, location and volumesets before anything depends on them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from cpln_flows.api import objects, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.concurrency import each
from cpln_flows.errors import (
    ApiError,
    ConfigurationError,
    CplnError,
    Fault,
    ForbiddenError,
    ManifestError,
    NotFoundError,
)
from cpln_flows.model.links import GvcRef

_LINK = re.compile(r"/org/[^/\s]+(?:/[^/\s]+/[^/\s]+)*")
_KIND = re.compile(
    r"\b(organi[sz]ation|org|gvc|workload|identity|secret|location|image|volumeset)\b",
    re.IGNORECASE,
)


def missing_kind(message: str) -> str | None:
    """Return which kind of object a 404 names, if it names one.

    >>> missing_kind("org 'acme' was not found")
    'org'
    >>> missing_kind("/org/acme/gvc/dev/identity/etl was not found")
    'identity'
    >>> missing_kind("no") is None
    True
    """
    if link := _LINK.search(message):
        return link[0].split("/")[-2]
    word = _KIND.search(message)
    return None if word is None else "org" if word[0].lower().startswith("org") else word[0].lower()


def not_found(error: NotFoundError, gvc: GvcRef) -> CplnError:
    """Return the error for a 404 to a request in a GVC.

    It names what is missing: the organization, the GVC, or whatever else the platform names.

    Args:
        error: The platform's answer.
        gvc: Where the request went.
    """
    match missing_kind(error.message):
        case "org":
            return _no_org(error, gvc)
        case "gvc":
            return _no_gvc(error, gvc)
        case None:
            return ConfigurationError(
                f"org or namespace: there is no GVC {gvc.gvc!r} in the organization {gvc.org!r},"
                f" or the token may not see it ({error.summary}); check org and namespace of the"
                " job or work pool, or CPLN_ORG and CPLN_GVC"
            )
        case kind:
            hint = f"check the {kind} that the manifest refers to, and that the token may see it"
            return NotFoundError(
                status=error.status,
                method=error.method,
                path=error.path,
                message=error.message,
                hint=hint,
            )


def unknown_location(gvc: GvcRef, location: str, known: Iterable[str]) -> ConfigurationError:
    """Return the error for a location that a GVC does not have."""
    return ConfigurationError(
        f"location: {location!r} is not a location of the GVC {gvc.gvc}, which has"
        f" {', '.join(sorted(known))}; check the location of the job or work pool, or CPLN_LOCATION"
    )


async def present(
    client: CplnClient, collection: str, names: Iterable[str]
) -> dict[str, bool | None]:
    """Return which objects of a collection exist, by name and in order of names.

    The value is ``None`` for an object that the token may not see.

    Args:
        client: An open client.
        collection: Path of the collection, such as ``/org/acme/secret``.
        names: Names of the objects.
    """
    wanted = sorted(names)
    there = await each(lambda name: objects.is_there(client, f"{collection}/{name}"), wanted)
    return dict(zip(wanted, there, strict=True))


async def check_volumesets(client: CplnClient, gvc: GvcRef, names: Iterable[str]) -> None:
    """Check that volumesets exist, because a workload without them would never become ready.

    Args:
        client: An open client.
        gvc: Where they should be.
        names: Their names.

    Raises:
        ManifestError: One does not exist. One that the token may not see counts as existing.
    """
    there = await present(client, f"{gvc.path}/volumeset", names)
    if missing := [name for name, is_there in there.items() if is_there is False]:
        raise ManifestError([Fault("", _no_volumeset(gvc, name)) for name in missing])


async def validate(client: CplnClient, gvc: GvcRef, location: str | None) -> str:
    """Check that jobs can run in a GVC; return what was found, in words.

    Args:
        client: An open client.
        gvc: Organization and GVC.
        location: The location, if one was requested.

    Raises:
        ConfigurationError: The organization, the GVC or the location does not exist, or the token
            may not see it.
        ApiError, TransportError: The platform refuses the token, or does not answer.
    """
    try:
        await client.get(f"/org/{gvc.org}")
    except (NotFoundError, ForbiddenError) as error:
        raise _no_org(error, gvc) from error
    try:
        locations = await workloads.locations(client, gvc)
    except (NotFoundError, ForbiddenError) as error:
        raise _no_gvc(error, gvc) from error
    if location and locations and location not in locations:
        raise unknown_location(gvc, location, locations)
    where = location or (locations[0] if locations else "none")
    return (
        f"token, organization {gvc.org} and GVC {gvc.gvc} are valid, location {where},"
        f" at {client.settings.endpoint}"
    )


def _no_volumeset(gvc: GvcRef, name: str) -> str:
    spec = {"fileSystemType": "shared", "performanceClass": "shared", "initialCapacity": 10}
    document = json.dumps({"kind": "volumeset", "name": name, "spec": spec})
    return (
        f"there is no volumeset {name!r} in the GVC {gvc.gvc}, or the token may not see it;"
        f" save a manifest such as {document}, with a capacity in GB, as volumeset.json and apply"
        f" it with `cpln apply --file volumeset.json --gvc {gvc.gvc}`"
    )


def _no_org(error: ApiError, gvc: GvcRef) -> ConfigurationError:
    return ConfigurationError(
        f"org: there is no organization {gvc.org!r}, or the token may not see it ({error.summary});"
        " check the org of the job or work pool, or CPLN_ORG, and that the token is a key of this"
        " organization"
    )


def _no_gvc(error: ApiError, gvc: GvcRef) -> ConfigurationError:
    return ConfigurationError(
        f"namespace: there is no GVC {gvc.gvc!r} in the organization {gvc.org!r}, or the token may"
        f" not see it ({error.summary}); check the namespace of the job or work pool, or CPLN_GVC"
    )
