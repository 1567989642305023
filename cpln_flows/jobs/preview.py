"""What a run of a job would create and use on the platform, looked up without changing anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cpln_flows.api import objects, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.errors import CplnError
from cpln_flows.jobs import access, grants
from cpln_flows.jobs.plan import JobPlan
from cpln_flows.manifest.difference import Difference, differences
from cpln_flows.model.identifiers import SPEC_HASH

_SUFFIX = "-"


@dataclass(frozen=True)
class RunPreview:
    """What a run would create and use.

    Attributes:
        workload: Name of the workload that the job would run on.
        exists: Whether it exists; ``None`` if that could not be read.
        shared: Whether jobs of the same specification run on it too.
        manifest: The manifest of the workload.
        overrides: What the command would override, one object for each container.
        spec_hash: What jobs with interchangeable workloads share.
        identity: Link of the identity that the job runs as.
        makes_identity: Whether the run would create that identity, and a policy that lets it
            reveal the secrets.
        secrets: Whether each secret that the job uses exists, by name; ``None`` if that could not
            be read.
        volumesets: The same for the volumesets that the job mounts.
        unrevealed: The secrets that the identity named in the manifest may not reveal, as far as
            is known.
        notes: What has no effect, and what was filled in.
        compared: Name of the live workload with which this one is compared.
        differences: The fields in which the two differ.
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
    volumesets: Mapping[str, bool | None]
    notes: tuple[str, ...]
    unrevealed: frozenset[str] = frozenset()
    compared: str | None = None
    differences: tuple[Difference, ...] = field(default=(), repr=False)

    @property
    def is_complete(self) -> bool:
        """Whether everything that the job uses exists and may be used, as far as is known."""
        return (
            False not in {*self.secrets.values(), *self.volumesets.values()} and not self.unrevealed
        )


def offline(plan: JobPlan) -> RunPreview:
    """Return what is known of a run without asking the platform.

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
        volumesets=dict.fromkeys(sorted(plan.manifest.volumesets)),
        notes=tuple(map(str, plan.manifest.notes)),
    )


async def looked_up(client: CplnClient, plan: JobPlan) -> RunPreview:
    """Return what a run would create and use, compared with what is live.

    A shared workload that does not exist yet is compared with the newest one of its name: the
    differences are why the hash has changed.

    Args:
        client: An open client.
        plan: The job.

    Raises:
        ManifestError: A secret whose keys the job needs does not exist.
        ApiError, TransportError: The platform refused, or could not be asked.
    """
    found = await access.present(client, f"/org/{plan.gvc.org}/secret", plan.manifest.secrets)
    volumesets = await access.present(
        client, f"{plan.gvc.path}/volumeset", plan.manifest.volumesets
    )
    lacking = await grants.unrevealed(client, plan)
    if not lacking and plan.manifest.needs and all(found[name] for name in plan.manifest.needs):
        plan = await grants.with_keys(client, plan)
    seen = replace(offline(plan), unrevealed=lacking)
    live = await objects.find(client, plan.gvc.workload(seen.workload).path)
    seen = replace(seen, secrets=found, volumesets=volumesets, exists=live is not None)
    if live is None and seen.shared:
        live = await _predecessor(client, plan, seen)
    return seen if live is None else _compared(seen, live)


def _compared(seen: RunPreview, live: Mapping[str, Any]) -> RunPreview:
    name = live.get("name")
    return replace(
        seen,
        compared=str(name),
        differences=tuple(differences({**seen.manifest, "name": name}, live)),
    )


async def _predecessor(
    client: CplnClient, plan: JobPlan, seen: RunPreview
) -> dict[str, Any] | None:
    """Return the newest workload made by Prefect whose name differs in the hash alone."""
    base = seen.workload.rpartition(_SUFFIX)[0]
    try:
        ours = [workload async for workload in workloads.ours(client, plan.gvc.org, plan.gvc.gvc)]
    except CplnError:
        return None  # the comparison is a convenience, so the preview does without it
    alike = [
        workload
        for workload in ours
        if workload.ref.name.rpartition(_SUFFIX)[0] == base
        and workload.tags.get(SPEC_HASH) != seen.spec_hash
    ]
    newest = max(
        alike, key=lambda workload: workload.last_modified or workload.created, default=None
    )
    return None if newest is None else await objects.find(client, newest.ref.path)
