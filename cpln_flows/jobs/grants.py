"""What a job that uses secrets needs before it starts: the secrets, and an identity to reveal them.

On the platform, a workload gets the values of secrets only through an identity that a policy
allows to reveal them. Without one, it never becomes ready (control-plane-api.md, F195). A job that
names an identity keeps it. A job that names none gets an identity of its own, with a policy for
exactly the secrets it uses. If the workload is private, the identity is named after it and deleted
with it. If the workload is shared, the identity is named after the set of secrets, and the
clean-up flow deletes it once nobody uses it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from cpln_flows.api import companions, objects, secrets
from cpln_flows.api.client import CplnClient
from cpln_flows.concurrency import each
from cpln_flows.errors import (
    ConfigurationError,
    Fault,
    ForbiddenError,
    ManifestError,
    NotFoundError,
)
from cpln_flows.jobs import access
from cpln_flows.jobs.plan import Grant, JobPlan
from cpln_flows.model import links
from cpln_flows.model.links import GvcRef, WorkloadRef
from cpln_flows.model.resources import PlatformPolicy

_PURPOSE = "Lets jobs that Prefect starts reveal the secrets they use."


async def resolved(client: CplnClient, plan: JobPlan) -> JobPlan:
    """Return the job with a variable for each key of the secrets it takes variables from.

    Raises:
        ManifestError: A secret that the job uses does not exist.
        ConfigurationError: The token may not reveal a secret whose keys must be known, or the
            identity that the job names may not reveal a secret that the job uses.
    """
    others = [
        name for name in plan.manifest.secrets - plan.manifest.needs if not secrets.is_of_keys(name)
    ]
    there = await access.present(client, f"/org/{plan.gvc.org}/secret", others)
    if missing := [name for name, is_there in there.items() if is_there is False]:
        raise ManifestError([Fault("", _missing(name, plan.gvc)) for name in missing])
    if lacking := await unrevealed(client, plan):
        raise await _lacking(client, plan, lacking)
    return await with_keys(client, plan)


async def with_keys(client: CplnClient, plan: JobPlan) -> JobPlan:
    """Return the job with a variable for each key of the secrets it takes variables from.

    Check nothing else.

    Raises:
        ManifestError: One of these secrets does not exist.
        ConfigurationError: The token may not reveal one of them.
    """
    needs = plan.manifest.needs
    if not needs:
        return plan
    found = await each(lambda name: _keys(client, plan.gvc, name), sorted(needs))
    keys = {
        name: known for name, known in zip(sorted(needs), found, strict=True) if known is not None
    }
    return replace(plan, manifest=plan.manifest.resolved(keys))


async def unrevealed(client: CplnClient, plan: JobPlan) -> frozenset[str]:
    """Return the secrets of a job that the identity it names may not reveal, as far as is known.

    The secret with Prefect's API key is left out: the worker itself lets the identity reveal it.
    """
    used = frozenset(name for name in plan.manifest.secrets if not secrets.is_of_keys(name))
    if not used or plan.manifest.identity is None:
        return frozenset()
    try:
        policies = await companions.all_policies(client, plan.gvc.org)
    except ForbiddenError:
        return frozenset()
    return not_revealed(
        policies, links.absolute(plan.manifest.identity, plan.gvc.org), plan.gvc.org, used
    )


def not_revealed(
    policies: Iterable[PlatformPolicy], identity: str, org: str, used: frozenset[str]
) -> frozenset[str]:
    """Return which of some secrets no policy lets an identity reveal; none if that is unknown.

    Args:
        policies: The policies of the organization.
        identity: The identity's full link.
        org: The organization.
        used: Names of the secrets.
    """
    granting = [policy for policy in policies if policy.lets_reveal(identity, org)]
    # Only the platform knows which secrets a query matches.
    if any(policy.target == "all" or policy.target_query is not None for policy in granting):
        return frozenset()
    return used.difference(*(policy.secrets for policy in granting))


async def make(client: CplnClient, plan: JobPlan, grant: Grant) -> None:
    """Create the identity and its policy, or mark existing ones as used once more.

    Raises:
        ConfigurationError: The token may not do so.
    """
    try:
        await secrets.put_identity(client, plan.gvc, grant.name, description=_PURPOSE)
        await secrets.put_reveal_policy(
            client,
            plan.gvc.org,
            grant.name,
            secrets=sorted(grant.secrets),
            principal=grant.identity,
            description=_PURPOSE,
        )
    except ForbiddenError as error:
        raise ConfigurationError(
            f"the job uses {_listed(grant.secrets)} and names no identity, and the token may not"
            f" create one ({error.summary}); set serviceAccountName of the manifest, or"
            " service_account_name of the work pool, to an identity of the GVC that may reveal"
            " them, or let the token create identities and policies"
        ) from error


async def withdraw(client: CplnClient, workload: WorkloadRef) -> None:
    """Delete the policy and the identity that were created for a private workload.

    Raises:
        ApiError, TransportError: They may still exist; the clean-up flow finds them.
    """
    await companions.delete(client, f"/org/{workload.org}/policy/{workload.name}")
    await companions.delete(
        client, f"/org/{workload.org}/gvc/{workload.gvc}/identity/{workload.name}"
    )


async def _lacking(
    client: CplnClient, plan: JobPlan, lacking: frozenset[str]
) -> ConfigurationError:
    """Return the error for an identity that lacks its job's secrets, with the policy it needs."""
    identity, org = str(plan.manifest.identity), plan.gvc.org
    link = links.absolute(identity, org)
    if await objects.find(client, link) is None:
        return ConfigurationError(
            f"identity: there is no identity {link}, or the token may not see it; check"
            " serviceAccountName of the manifest, or service_account_name of the work pool"
        )
    policy = {
        "kind": "policy",
        "name": f"{links.last_segment(identity)}-reveals",
        "targetKind": "secret",
        "targetLinks": [f"//secret/{name}" for name in sorted(lacking)],
        "bindings": [{"permissions": ["reveal"], "principalLinks": [identity]}],
    }
    return ConfigurationError(
        f"the job uses {_listed(lacking)}, which its identity {link} may not reveal, so its"
        " workload would never become ready; save this policy as policy.json and apply it with"
        " `cpln apply --file policy.json`, or name no identity and the job gets one of its own:"
        f" {json.dumps(policy)}"
    )


async def _keys(client: CplnClient, gvc: GvcRef, name: str) -> frozenset[str] | None:
    """Return the keys of a secret and discard its values; ``None`` if there is no such secret."""
    try:
        return frozenset(await secrets.reveal(client, gvc.org, name))
    except NotFoundError:
        return None
    except ForbiddenError as error:
        raise ConfigurationError(
            f"the job takes all keys of the secret {name!r} as variables, and the token may not"
            f" read them ({error.summary}); let the token reveal this secret, or write the"
            f" variables out, each with the value cpln://secret/{name}.KEY"
        ) from error


def _missing(name: str, gvc: GvcRef) -> str:
    return (
        f"there is no secret {name!r} in the organization {gvc.org}, or the token may not see it;"
        " create it, for example with"
        f" `cpln secret create-dictionary --name {name} --entry KEY=VALUE`"
    )


def _listed(names: Iterable[str]) -> str:
    return "the secrets " + ", ".join(sorted(names))
