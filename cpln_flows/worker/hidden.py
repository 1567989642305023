"""Prefect's API key, and what else opens Prefect's API, in a secret of the platform, so that no job carries it in clear."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

from cpln_flows.api import secrets
from cpln_flows.api.client import CplnClient
from cpln_flows.jobs.plan import JobPlan
from cpln_flows.model import links
from cpln_flows.worker.environment import holds_credential

_REFERENCE = "cpln://"
# The name of a secret can be read by many who may not reveal it: guessing values by it has to be slow.
_ROUNDS = 100_000
_PURPOSE = "Access of cpln_flows' jobs to Prefect's API"


@dataclass(frozen=True)
class HiddenVariables:
    """The variables of a job that are to be hidden, and where.

    Other values go into another secret, so that no job's are replaced by those of another deployment.

    >>> found = HiddenVariables.of({"PREFECT_API_KEY": "pnu_1", "A": "b"}, UUID(int=1))
    >>> found.references["PREFECT_API_KEY"]
    'cpln://secret/prefect-api-000000000000-f48e9da0.PREFECT_API_KEY'
    """

    secret: str
    values: dict[str, str] = field(repr=False)

    @classmethod
    def of(cls, env: Mapping[str, str], installation: UUID) -> HiddenVariables:
        """Return what of a job's variables is to be hidden, and where; takes some 50 ms."""
        found = to_hide(env)
        digest = hashlib.pbkdf2_hmac("sha256", repr(sorted(found.items())).encode(), installation.bytes, _ROUNDS)
        return cls(secrets.name_of_keys(installation, digest.hex()), found)

    @property
    def references(self) -> dict[str, str]:
        """The variables as the job shall have them."""
        return {name: f"{_REFERENCE}secret/{self.secret}.{name}" for name in self.values}


def to_hide(env: Mapping[str, str]) -> dict[str, str]:
    """Return those of a job's variables that are to be hidden, unless they refer to a secret already."""
    return {
        name: value for name, value in env.items() if holds_credential(name, value) and value and not value.startswith(_REFERENCE)
    }


async def hide(client: CplnClient, plan: JobPlan, hidden: HiddenVariables) -> JobPlan:
    """Put the values into the secret, and let the job's identity read it; return the job with an identity.

    Args:
        client: An open client.
        plan: The job, with references in place of the values.
        hidden: The values.

    Raises:
        ForbiddenError: The token may not create secrets, identities or policies.
    """
    await secrets.put_dictionary(client, plan.gvc.org, hidden.secret, hidden.values, description=_PURPOSE)
    identity = plan.manifest.identity
    if identity is None and _uses_others(plan, hidden):
        return plan  # it gets an identity for all of them when it is started
    if identity is None:
        identity = await secrets.put_identity(client, plan.gvc, hidden.secret, description=_PURPOSE)
    principal = links.absolute(identity, plan.gvc.org)
    policy = f"{hidden.secret}-{hashlib.sha256(principal.encode()).hexdigest()[:8]}"
    await secrets.put_reveal_policy(
        client, plan.gvc.org, policy, secrets=[hidden.secret], principal=principal, description=_PURPOSE
    )
    return with_identity(plan, hidden)


def with_identity(plan: JobPlan, hidden: HiddenVariables) -> JobPlan:
    """Return the job with the identity that reads the secret, unless it has one of its own or gets one for other secrets too."""
    if plan.manifest.identity is None and _uses_others(plan, hidden):
        return plan
    identity = plan.manifest.identity or f"{plan.gvc.path}/identity/{hidden.secret}"
    return replace(plan, manifest=replace(plan.manifest, identity=identity))


def _uses_others(plan: JobPlan, hidden: HiddenVariables) -> bool:
    return bool(plan.manifest.secrets - {hidden.secret})
