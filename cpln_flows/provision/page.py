"""The page of the documentation that lists every permission, written from the table. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from cpln_flows.provision import grants, permissions, report
from cpln_flows.provision.grants import Names
from cpln_flows.provision.permissions import STANDARD, SUMMARIES, Feature, Need

_WIDTH = 130
_EXAMPLE = Names("ORG", "GVC")
_STANDARD = ", ".join(f"`{feature}`" for feature in STANDARD)
_INTRODUCTION = f"""\
Which permissions each part of this package needs on Control Plane, and for which call.
`poe permissions` makes this page from the table in `cpln_flows/provision/permissions.py`. A test
runs every feature with exactly these, and once more without each of them.

`cpln-flows policy` shows the same for your organization, and `cpln-flows policy --format yaml`
prints the identities, service accounts and policies for `cpln apply`. Without the name of a feature
it takes what a worker and the deployments of `prefect.yaml` use: {_STANDARD}.

The service account is the worker's, `{grants.WORKER}`. Sync and clean-up have an identity each,
`{grants.SYNC}` and `{grants.CLEANUP}`, because the token of their container is enough; with
`--one-key` they use the worker's key. What provisions has a service account of its own,
`{grants.PROVISIONER}`."""
_LIMITS = f"""\
{report.LOGS}

{report.POLICIES}

{report.NARROW.format(gvc="GVC")}

What belongs to a GVC is limited by a query for the GVC. Policies and secrets belong to the
organization; those that this package has made carry a tag and are limited by it. Creating them
cannot be limited: what does not exist has no tag.

The platform does not document whether it judges `create` by a query. If it refuses to create what a
query for the GVC covers, give that one permission to all objects of the kind."""


def as_markdown() -> str:
    """Return the page."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield from ("# Permissions", "")
    for paragraph in _INTRODUCTION.split("\n\n"):
        yield from (_filled(paragraph), "")
    for feature in Feature:
        yield from _section(feature)
    yield from ("## The key", "", _filled(report.INJECTED), "", "```bash")
    yield from report.commands(permissions.of(*STANDARD), _EXAMPLE)
    identity = _EXAMPLE.principal(permissions.Holder.WORKER)
    given = report.IN_THE_PLATFORM.format(identity=identity, secret=_EXAMPLE.key_secret)
    yield from ("```", "", _filled(given), "", "## Limits", "")
    yield from (_filled(f"- {limit}", "  ") for limit in _LIMITS.split("\n\n"))
    yield ""


def _section(feature: Feature) -> Iterator[str]:
    base = [one for one in permissions.with_prerequisites([feature]) if one is not feature]
    includes = f" Includes {', '.join(f'`{one}`' for one in base)}." if base else ""
    yield from (f"## `{feature}`", "", _filled(f"To {SUMMARIES[feature]}.{includes}"), "")
    yield "| holder | permission | on | call | what for |"
    yield "| --- | --- | --- | --- | --- |"
    yield from (_row(need) for need in permissions.NEEDS if need.feature is feature)
    yield ""


def _row(need: Need) -> str:
    calls = ", ".join(f"`{call}`" for call in need.call.split(", "))
    permission = f"{need.kind} `{need.permission}`"
    return f"| {need.holder} | {permission} | {need.target} | {calls} | {need.why} |"


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
