"""Whether token, organization, GVC and location are what they should be, asked before anything depends on them."""

from __future__ import annotations

from cpln_flows.api import workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.errors import ConfigurationError, ForbiddenError, NotFoundError
from cpln_flows.model.links import GvcRef


def unknown(gvc: GvcRef) -> ConfigurationError:
    """Return the error for a job whose organization or GVC the platform does not know."""
    return ConfigurationError(
        f"org or namespace: there is no GVC {gvc.gvc!r} in the organization {gvc.org!r}, or the token may not see it; check the"
        " fields org and namespace of the job, or CPLN_ORG and CPLN_GVC"
    )


async def validate(client: CplnClient, gvc: GvcRef, location: str | None) -> str:
    """Look whether jobs can be run somewhere; return what was found, in words.

    Args:
        client: An open client.
        gvc: Organization and GVC.
        location: The location, if one was asked for.

    Raises:
        ConfigurationError: The organization, the GVC or the location is not there, or may not be seen.
        ApiError, TransportError: The token is refused, or the platform does not answer.
    """
    try:
        await client.get(f"/org/{gvc.org}")
    except (NotFoundError, ForbiddenError) as error:
        raise ConfigurationError(
            f"org: there is no organization {gvc.org!r}, or the token may not see it ({error}); check the org of the work pool"
            " or CPLN_ORG, and that the token is a key of this organization"
        ) from error
    try:
        locations = await workloads.locations(client, gvc)
    except (NotFoundError, ForbiddenError) as error:
        raise ConfigurationError(
            f"namespace: there is no GVC {gvc.gvc!r} in the organization {gvc.org!r}, or the token may not see it ({error});"
            " check the namespace of the work pool or CPLN_GVC"
        ) from error
    if location and locations and location not in locations:
        raise ConfigurationError(
            f"location: {location!r} is not a location of the GVC {gvc.gvc}, which has {', '.join(sorted(locations))}; check the"
            " location of the work pool or CPLN_LOCATION"
        )
    where = location or (locations[0] if locations else "none")
    return f"token, organization {gvc.org} and GVC {gvc.gvc} are valid, location {where}, at {client.settings.endpoint}"
