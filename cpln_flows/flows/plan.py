"""What `cpln-flows plan` shows: what a run would create and use, for people and programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anyio

from cpln_flows.blocks.job import CplnJob
from cpln_flows.errors import ConfigurationError
from cpln_flows.jobs import preview, session
from cpln_flows.jobs.plan import JobPlan
from cpln_flows.jobs.preview import RunPreview
from cpln_flows.manifest.difference import Difference
from cpln_flows.model.identifiers import SPEC_HASH
from cpln_flows.orchestration import JobIdentity
from cpln_flows.reconcile import masking
from cpln_flows.reconcile.results import table
from cpln_flows.settings import CplnSettings

_HASH_LENGTH = 12
_NOT_WRITTEN = f"tags.{SPEC_HASH}"


def plan(job: CplnJob, *, offline: bool = False) -> RunPreview:
    """Preview what a run of a job would create and use, without changing anything.

    Args:
        job: The job.
        offline: Whether to show only what is known without asking the platform.

    Raises:
        ManifestError: The platform cannot run the manifest.
        ConfigurationError: There is no token.
        ApiError, TransportError: The platform refused, or could not be reached.

    Example:
        >>> from cpln_flows import CplnJob
        >>> container = {"name": "main", "image": "busybox", "cpu": "100m", "memory": "128Mi"}
        >>> manifest = {"kind": "workload", "spec": {"type": "cron", "containers": [container]}}
        >>> job = CplnJob(org="acme", namespace="dev", v1_job=manifest)
        >>> plan(job, offline=True).shared
        False
    """
    made = job.plan(JobIdentity.anonymous(), job.location or "")
    return preview.offline(made) if offline else anyio.run(_looked_up, job, made)


async def _looked_up(job: CplnJob, made: JobPlan) -> RunPreview:
    async with session.shared(job.credentials.api_settings(CplnSettings.load())) as shared:
        return await preview.looked_up(shared.client, made)


def as_json(found: RunPreview) -> str:
    """Return a preview as JSON for programs; possible secrets are masked."""
    document = {
        "workload": found.workload,
        "exists": found.exists,
        "shared": found.shared,
        "spec_hash": found.spec_hash,
        "identity": found.identity,
        "makes_identity": found.makes_identity,
        "secrets": dict(found.secrets),
        "volumesets": dict(found.volumesets),
        "unrevealed": sorted(found.unrevealed),
        "notes": list(found.notes),
        "compared": found.compared,
        "differences": [_row(difference) for difference in _shown(found)],
        "manifest": masking.shown(found.manifest),
        "overrides": [masking.shown(override) for override in found.overrides],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_text(found: RunPreview) -> str:
    """Return a preview as text for people."""
    parts = [table(_objects(found))]
    if rows := [_row(difference) for difference in _shown(found)]:
        what = (
            "this workload as it is"
            if found.exists
            else f"{found.compared}, the newest of its name"
        )
        parts.append(f"Different from {what}:\n{table(rows)}")
    elif found.exists:
        parts.append("No difference from the workload as it is.")
    if found.notes:
        parts.append("Notes:\n" + "\n".join(f"  - {note}" for note in found.notes))
    return "\n\n".join(parts)


def _objects(found: RunPreview) -> list[dict[str, str]]:
    kept = "stays, for jobs of this specification" if found.shared else "is deleted after the job"
    state = {True: "exists", False: "is made", None: "not looked up"}
    rows = [_line("workload", found.workload, f"{state[found.exists]}; {kept}")]
    if found.identity is not None:
        what = (
            "is made, with a policy for these secrets"
            if found.makes_identity
            else "named by the manifest"
        )
        rows.append(_line("identity", found.identity.rpartition("/")[2], what))
    said = {True: "exists", False: "does NOT exist: create it", None: "not looked up"}
    refused = dict.fromkeys(
        found.unrevealed, "; the identity may NOT reveal it: let a policy allow that"
    )
    rows += [
        _line("secret", name, said[there] + refused.get(name, ""))
        for name, there in found.secrets.items()
    ]
    rows += [_line("volumeset", name, said[there]) for name, there in found.volumesets.items()]
    rows.append(
        _line(
            "hash",
            found.spec_hash[:_HASH_LENGTH],
            "of what jobs with interchangeable workloads share",
        )
    )
    return rows


def _line(kind: str, name: str, state: str) -> dict[str, str]:
    return {"object": kind, "name": name, "state": state}


def _shown(found: RunPreview) -> list[Difference]:
    return [difference for difference in found.differences if difference.path != _NOT_WRITTEN]


def _row(one: Difference) -> dict[str, str]:
    return {
        "field": one.path,
        "live": _value(one.path, one.live),
        "written": _value(one.path, one.written),
    }


def _value(path: str, value: Any) -> str:
    """Return a value in a form that may be shown, masked according to the name of its field."""
    if value is None:
        return "-"
    name = path.rpartition(".")[2].split("[", maxsplit=1)[0]
    shown: Mapping[str, Any] = masking.shown({name: value})
    text = shown.get(name)
    return text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)


def checked(job: CplnJob) -> CplnJob:
    """Return the job if it has everything that a request to the platform needs.

    Raises:
        ConfigurationError: The token is missing.
    """
    try:
        job.credentials.api_settings(CplnSettings.load())
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; or look at the manifest alone with --offline") from None
    return job
