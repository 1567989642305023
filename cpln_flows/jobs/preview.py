"""What a run of a job would make and use on the platform, looked up without changing anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cpln_flows.api import secrets, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.errors import CplnError, ForbiddenError, NotFoundError
from cpln_flows.jobs import grants
from cpln_flows.jobs.plan import JobPlan
from cpln_flows.manifest.difference import Difference, differences
from cpln_flows.model.identifiers import SPEC_HASH
from cpln_flows.model.links import GvcRef

_SUFFIX = "-"


@dataclass(frozen=True)
class RunPreview:
    """What a run would make and use.

    Attributes:
        workload: Name of the workload that the job would run on.
        exists: Whether it is there; unknown if that could not be read.
        shared: Whether jobs of the same specification run on it too.
        manifest: The manifest of the workload.
        overrides: What the command would bring along, one object for each container.
        spec_hash: What jobs with interchangeable workloads share.
        identity: Link of the identity that the job runs as.
        makes_identity: Whether it, and a policy that lets it reveal the secrets, would be made.
        secrets: Whether each secret that the job uses is there, by its name; unknown if that could not be read.
        notes: What has no effect, and what was filled in.
        compared: Name of the workload that is live, with which this one is compared.
        differences: The fields that it has otherwise.
    """

    workload: str
    exists: bool | None
    shared: bool
    manifest: Mapping[str, Any] = field(repr=False)
    overrides: list[dict[str, Any]] = field(repr=False)
    spec_hash: str
    identity: str | None
    makes_identity: bool
    secrets: Mapping[str, bool | None]
    notes: tuple[str, ...]
    compared: str | None = None
    differences: tuple[Difference, ...] = field(default=(), repr=False)


def offline(plan: JobPlan) -> RunPreview:
    """Return what can be told of a run without asking the platform.

    Args:
        plan: The job.
    """
    workload = plan.workload_of(plan.submission.attempt)
    return RunPreview(
        workload=workload.name,
        exists=None,
        shared=not plan.private,
        manifest=plan.workload_body(workload),
        overrides=plan.manifest.overrides(),
        spec_hash=plan.spec_hash,
        identity=plan.granted.identity,
        makes_identity=plan.grant is not None,
        secrets=dict.fromkeys(sorted(plan.manifest.secrets)),
        notes=tuple(map(str, plan.manifest.notes)),
    )


async def looked_up(client: CplnClient, plan: JobPlan) -> RunPreview:
    """Return what a run would make and use, compared with what is live.

    A shared workload that is not there yet is compared with the newest one of its name: what differs is why the hash has changed.

    Args:
        client: An open client.
        plan: The job.

    Raises:
        ManifestError: A secret whose keys the job needs does not exist.
        ApiError, TransportError: The platform refused, or could not be asked.
    """
    found = {name: await _is_there(client, plan.gvc, name) for name in sorted(plan.manifest.secrets)}
    if plan.manifest.needs and all(found[name] for name in plan.manifest.needs):
        plan = await grants.resolved(client, plan)
    seen = offline(plan)
    live = await _live(client, plan, seen.workload)
    if live is None:
        other = None if plan.private else await _predecessor(client, plan, seen)
        return _with(seen, found, exists=False, live=other)
    return _with(seen, found, exists=True, live=live)


def _with(seen: RunPreview, found: Mapping[str, bool | None], *, exists: bool, live: Mapping[str, Any] | None) -> RunPreview:
    compared = {**seen.manifest, "name": live.get("name")} if live is not None else {}
    return RunPreview(
        **{
            **seen.__dict__,
            "exists": exists,
            "secrets": found,
            "compared": str(live.get("name")) if live is not None else None,
            "differences": tuple(differences(compared, live)) if live is not None else (),
        }
    )


async def _is_there(client: CplnClient, gvc: GvcRef, name: str) -> bool | None:
    try:
        await secrets.exists(client, gvc.org, name)
    except NotFoundError:
        return False
    except ForbiddenError:
        return None
    return True


async def _live(client: CplnClient, plan: JobPlan, name: str) -> dict[str, Any] | None:
    try:
        found = await client.get(plan.gvc.workload(name).path)
    except NotFoundError:
        return None
    return dict(found) if isinstance(found, Mapping) else None


async def _predecessor(client: CplnClient, plan: JobPlan, seen: RunPreview) -> dict[str, Any] | None:
    """Return the newest workload of ours that has the same name but for the hash."""
    base = seen.workload.rpartition(_SUFFIX)[0]
    try:
        ours = [one async for one in workloads.ours(client, plan.gvc.org, plan.gvc.gvc)]
    except CplnError:
        return None  # what it was compared with before is a help, and no more
    alike = [one for one in ours if one.ref.name.rpartition(_SUFFIX)[0] == base and one.tags.get(SPEC_HASH) != seen.spec_hash]
    newest = max(alike, key=lambda one: one.last_modified or one.created, default=None)
    return await _live(client, plan, newest.ref.name) if newest is not None else None
