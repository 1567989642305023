"""Variables whose values no job carries in clear text.

They are stored in a secret of the platform, and the job refers to it. These are the secrets that a
deployment or a run gives (see ``block_secrets``), and the credentials for Prefect's API, such as
its key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

from pydantic import SecretStr

from cpln_flows.api import secrets
from cpln_flows.api.client import CplnClient
from cpln_flows.jobs.plan import JobPlan
from cpln_flows.manifest.manifest import JobManifest
from cpln_flows.model import links
from cpln_flows.worker.block_secrets import revealed
from cpln_flows.worker.environment import holds_credential

_REFERENCE = "cpln://"
# Many people who may not reveal a secret can read its name: guessing values by it has to be slow.
_ROUNDS = 100_000
_PURPOSE = "Access of cpln_flows' jobs to Prefect's API, and secrets of their variables"


@dataclass(frozen=True)
class SecretVariables:
    """The variables of a job that get their values from a secret.

    Attributes:
        values: The values, by their keys in the secret.
        places: The keys, by the index of the container and the name of the variable.
        given: Names of the variables whose values were given as secrets. The others hold
            credentials for Prefect's API.
    """

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    places: Mapping[tuple[int, str], str] = field(default_factory=dict)
    given: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, manifest: JobManifest, marked: Mapping[str, SecretStr], *, credentials: bool
    ) -> SecretVariables:
        """Return the variables of a job that get their values from a secret.

        Args:
            manifest: The job, with marks in place of the secrets that were given.
            marked: The secrets, by their marks.
            credentials: Whether the credentials for Prefect's API are stored in the secret too.
        """
        values, places, given = {}, {}, set()
        # A dot in a key would collide with the one that separates it from the secret's name.
        for index, container in enumerate(manifest.containers):
            for name, text in container.env.items():
                value, key = revealed(text, marked), name if index == 0 else f"{index}-{name}"
                if value != text:
                    given.add(name)
                elif not (credentials and is_credential(name, value)):
                    continue
                values[key], places[index, name] = value, key
        return cls(values, places, frozenset(given))

    def referred_to(self, manifest: JobManifest, secret: str) -> JobManifest:
        """Return the job with references to a secret in place of the values."""
        return _with_values(
            manifest,
            {place: f"{_REFERENCE}secret/{secret}.{key}" for place, key in self.places.items()},
        )

    def secret_of(self, installation: UUID) -> str:
        """Return the name of the secret; this takes about 50 ms.

        Different values go into a different secret, so that no deployment replaces the values of
        another one's jobs.

        >>> found = SecretVariables({"PREFECT_API_KEY": "pnu_1"})
        >>> found.secret_of(UUID(int=1))
        'prefect-api-000000000000-f48e9da0'
        """
        text = repr(sorted(self.values.items()))
        digest = hashlib.pbkdf2_hmac("sha256", text.encode(), installation.bytes, _ROUNDS)
        return secrets.name_of_keys(installation, digest.hex())


def is_credential(name: str, value: str) -> bool:
    """Whether a variable holds a credential for Prefect's API; a reference to a secret does not."""
    return bool(value) and holds_credential(name, value) and not value.startswith(_REFERENCE)


async def store(client: CplnClient, plan: JobPlan, secret: str, values: Mapping[str, str]) -> None:
    """Store values in a secret, and let the job's identity reveal it.

    Args:
        client: An open client.
        plan: The job, with references to the secret.
        secret: Name of the secret.
        values: Its keys and values.

    Raises:
        ForbiddenError: The token may not create secrets, identities or policies.
    """
    await secrets.put_dictionary(client, plan.gvc.org, secret, values, description=_PURPOSE)
    identity = plan.manifest.identity
    if identity is None and _uses_others(plan, secret):
        return  # the start of the job gives it an identity for all of them
    if identity is None:
        identity = await secrets.put_identity(client, plan.gvc, secret, description=_PURPOSE)
    principal = links.absolute(identity, plan.gvc.org)
    policy = f"{secret}-{hashlib.sha256(principal.encode()).hexdigest()[:8]}"
    await secrets.put_reveal_policy(
        client, plan.gvc.org, policy, secrets=[secret], principal=principal, description=_PURPOSE
    )


def with_identity(plan: JobPlan, secret: str) -> JobPlan:
    """Return the job with the identity that reveals the secret.

    A job that has an identity, or gets one for other secrets too, is returned as it is.
    """
    if plan.manifest.identity is None and _uses_others(plan, secret):
        return plan
    identity = plan.manifest.identity or f"{plan.gvc.path}/identity/{secret}"
    return replace(plan, manifest=replace(plan.manifest, identity=identity))


def _uses_others(plan: JobPlan, secret: str) -> bool:
    return bool(plan.manifest.secrets - {secret})


def _with_values(manifest: JobManifest, values: Mapping[tuple[int, str], str]) -> JobManifest:
    containers = tuple(
        replace(
            container,
            env={name: values.get((index, name), text) for name, text in container.env.items()},
        )
        for index, container in enumerate(manifest.containers)
    )
    return replace(manifest, containers=containers)
