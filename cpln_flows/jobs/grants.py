"""What a job that uses secrets needs before it can be started: the secrets themselves, and an identity that may reveal them.

On the platform a workload gets the values of secrets only through an identity that a policy lets reveal them; without, it never
becomes ready (control-plane-api.md, F195). A job that names an identity keeps it. One that names none gets an identity of its own
with a policy for exactly the secrets it uses: named after its workload if that is private, and deleted with it; of the set of
secrets if the workload is shared, and deleted by the clean-up flow once nobody uses it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cpln_flows.api import companions, secrets
from cpln_flows.api.client import CplnClient
from cpln_flows.concurrency import each
from cpln_flows.errors import ConfigurationError, Fault, ForbiddenError, ManifestError, NotFoundError
from cpln_flows.jobs.plan import Grant, JobPlan
from cpln_flows.model.links import GvcRef, WorkloadRef

_PURPOSE = "Lets jobs that Prefect starts reveal the secrets they use."


async def resolved(client: CplnClient, plan: JobPlan) -> JobPlan:
    """Return the job with a variable for each key of the secrets it takes variables from.

    Raises:
        ManifestError: A secret that the job uses does not exist.
        ConfigurationError: The token may not reveal a secret whose keys must be known.
    """
    needs = plan.manifest.needs
    others = sorted(name for name in plan.manifest.secrets - needs if not secrets.is_of_keys(name))
    there = await each(lambda name: secrets.is_there(client, plan.gvc.org, name), others)
    if missing := [name for name, is_there in zip(others, there, strict=True) if is_there is False]:
        raise ManifestError([Fault("", _missing(name, plan.gvc)) for name in missing])
    if not needs:
        return plan
    found = await each(lambda name: _keys(client, plan.gvc, name), sorted(needs))
    keys = {name: known for name, known in zip(sorted(needs), found, strict=True) if known is not None}
    return replace(plan, manifest=plan.manifest.resolved(keys))


async def make(client: CplnClient, plan: JobPlan, grant: Grant) -> None:
    """Make the identity and its policy, or say that they are used once more.

    Raises:
        ConfigurationError: The token may not.
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
            f"the job uses {_listed(grant.secrets)} and names no identity, and the token may not make one ({error.summary}); set"
            " serviceAccountName of the manifest, or service_account_name of the work pool, to an identity of the GVC that may"
            " reveal them, or let the token create identities and policies"
        ) from error


async def withdraw(client: CplnClient, workload: WorkloadRef) -> None:
    """Delete the policy and the identity that were made for a private workload.

    Raises:
        ApiError, TransportError: They may be there still; the clean-up flow finds them.
    """
    await companions.delete(client, f"/org/{workload.org}/policy/{workload.name}")
    await companions.delete(client, f"/org/{workload.org}/gvc/{workload.gvc}/identity/{workload.name}")


async def _keys(client: CplnClient, gvc: GvcRef, name: str) -> frozenset[str] | None:
    """Return the keys of a secret, whose values are forgotten; nothing if there is no such secret."""
    try:
        return frozenset(await secrets.reveal(client, gvc.org, name))
    except NotFoundError:
        return None
    except ForbiddenError as error:
        raise ConfigurationError(
            f"the job takes all keys of the secret {name!r} as variables, and the token may not read them ({error.summary}); let"
            f" the token reveal this secret, or write the variables out, each with the value cpln://secret/{name}.KEY"
        ) from error


def _missing(name: str, gvc: GvcRef) -> str:
    return (
        f"there is no secret {name!r} in the organization {gvc.org}, or the token may not see it; create it, for example with"
        f" `cpln secret create-dictionary --name {name} --entry KEY=VALUE`"
    )


def _listed(names: Iterable[str]) -> str:
    return "the secrets " + ", ".join(sorted(names))
