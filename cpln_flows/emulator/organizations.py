"""Several organizations at one address: a platform for each, behind one application.

A request belongs to the platform that accepts its token, even if the path names another
organization: that platform then answers, as for any organization that it does not show. So ``/org``
lists the organization of the token, and ``/_control/`` reaches the platform whose own token is
sent. If several platforms accept a token, or none does, the organization in the path decides, and
the first platform takes what names none.

The platforms may share a clock and an executor. The bounds of connections, and their count, are
those of the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from starlette.types import Receive, Scope, Send

from cpln_flows.emulator.app import Platform
from cpln_flows.emulator.checks import NAME, NAME_LIMIT
from cpln_flows.emulator.head import Head


class Organizations:
    """The ASGI application for several platforms.

    Args:
        platforms: A platform for each organization; the first comes first.

    Raises:
        ValueError: Two platforms have the same organization.
    """

    def __init__(self, platforms: Sequence[Platform]) -> None:
        refuse_doubles(platform.config.org for platform in platforms)
        self._platforms = tuple(platforms)
        self._by_name = {platform.config.org: platform for platform in platforms}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have one of the platforms serve a request."""
        is_request = scope["type"] in ("http", "websocket")
        platform = self._chosen(Head.of(scope)) if is_request else self._platforms[0]
        await platform.app(scope, receive, send)

    def _chosen(self, head: Head) -> Platform:
        named = self._by_name.get(org_in(head.path) or "", self._platforms[0])
        token = head.header(b"authorization")
        accepting = [platform for platform in self._platforms if platform.accepts(token)]
        return accepting[0] if accepting and named not in accepting else named


def org_in(path: str) -> str | None:
    """Return the organization that a path names, if it names one."""
    match path.strip("/").split("/"):
        case ["org", org, *_] | ["logs", "org", org, *_]:
            return org
        case ["location", _, "replicas", "org", org, *_]:
            return org
    return None


def check_names(orgs: Sequence[str]) -> None:
    """Check the names of organizations, which are also names of folders.

    Raises:
        ValueError: A name is not valid, or is there twice.
    """
    for org in orgs:
        if len(org) > NAME_LIMIT or not NAME.fullmatch(org):
            raise ValueError(
                f"{org[:NAME_LIMIT]!r} cannot name an organization: use 3 to {NAME_LIMIT} lowercase"
                " letters, digits and dashes, with a letter first and no dash last"
            )
    refuse_doubles(orgs)


def refuse_doubles(orgs: Iterable[str]) -> None:
    """Refuse two organizations of the same name.

    Raises:
        ValueError: A name is there twice.
    """
    seen: set[str] = set()
    for org in orgs:
        if org in seen:
            raise ValueError(f"organization {org!r} is given twice")
        seen.add(org)
