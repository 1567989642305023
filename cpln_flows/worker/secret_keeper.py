"""Keep secret values out of a worker's jobs.

The worker stores them as secrets of the platform, where its token may do so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from pydantic import SecretStr

from cpln_flows.api.client import CplnClient
from cpln_flows.errors import ConfigurationError, ForbiddenError
from cpln_flows.jobs.plan import JobPlan
from cpln_flows.logger import Journal
from cpln_flows.model.identifiers import Area
from cpln_flows.model.links import GvcRef
from cpln_flows.worker.secret_variables import SecretVariables, store, with_identity

# What was created may have been deleted since then, by users or by a clean-up, and a token may have
# been granted more rights.
_VALID_SECONDS = 3600.0
_SETTING = "PREFECT_CPLN_WORKER_STORE_PREFECT_API_IN_SECRET"


class SecretKeeper:
    """Stores the secrets of a worker's jobs; remembers for an hour what was stored or refused.

    Args:
        is_wanted: Whether to store the credentials for Prefect's API: yes, no, or (``None``) where
            the token may do so.
        journal: The worker's own log.
    """

    def __init__(self, is_wanted: bool | None, journal: Journal) -> None:
        self._is_wanted = is_wanted
        self._journal = journal
        self._names: dict[tuple[tuple[str, str], ...], str] = {}
        self._stored: dict[tuple[GvcRef, str | None, str], float] = {}
        self._refused: dict[GvcRef, float] = {}
        self._told: set[str] = set()

    async def kept(
        self, client: CplnClient, plan: JobPlan, marked: Mapping[str, SecretStr], installation: UUID
    ) -> JobPlan:
        """Return a job that carries no secret in clear text.

        Args:
            client: An open client.
            plan: The job, with marks in place of the secrets that were given.
            marked: These secrets, by their marks.
            installation: The id of this installation of Prefect.

        Raises:
            ConfigurationError: The token may not store secrets that were given as such.
            ForbiddenError: It may not store the credentials for Prefect's API, although the setting
                requires that.
        """
        found = SecretVariables.of(plan.manifest, marked, credentials=self._is_wanted is not False)
        if not found.values:
            return plan
        if not found.given and self._is_valid(self._refused.get(plan.gvc)):
            return plan
        secret = self._name(found, installation)
        referring = replace(plan, manifest=found.referred_to(plan.manifest, secret))
        made = with_identity(referring, secret)
        key = (plan.gvc, made.manifest.identity, secret)
        if self._is_valid(self._stored.get(key)):
            return made
        try:
            await store(client, referring, secret, found.values)
        except ForbiddenError as error:
            return self._in_clear(plan, found, error)
        self._stored[key] = time.monotonic()
        if not found.given:
            self._tell(f"Jobs get the credentials for Prefect's API from the secret {secret}")
        return made

    def _in_clear(self, plan: JobPlan, found: SecretVariables, error: ForbiddenError) -> JobPlan:
        if found.given:
            raise ConfigurationError(
                f"env: the values of {', '.join(sorted(found.given))} are secrets, and the worker's"
                f" token may not store them as secrets of the platform ({error.summary}); let it"
                " create secrets, identities and policies, or refer to a secret that exists, with"
                " the value cpln://secret/NAME.KEY"
            ) from error
        if self._is_wanted:
            raise error
        self._refused[plan.gvc] = time.monotonic()
        names = ", ".join(sorted({name for _, name in found.places}))
        self._tell(
            f"Jobs get {names} in clear text, visible to anyone who can view commands: the worker's"
            f" token may not store it as a secret ({error.summary}); let it create secrets,"
            f" identities and policies, or accept this with {_SETTING}=false",
            is_warning=True,
        )
        return plan

    def _name(self, found: SecretVariables, installation: UUID) -> str:
        key = tuple(sorted(found.values.items()))
        if key not in self._names:
            self._names[key] = found.secret_of(installation)
        return self._names[key]

    def _tell(self, text: str, *, is_warning: bool = False) -> None:
        if text not in self._told:
            self._told.add(text)
            (self._journal.warning if is_warning else self._journal.info)(Area.INIT, text)

    @staticmethod
    def _is_valid(since: float | None) -> bool:
        return since is not None and time.monotonic() - since < _VALID_SECONDS
