"""What was said once and shall not be said again, kept from one process of a maintenance flow to the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate

from cpln_flows.model.identifiers import Area
from cpln_flows.reconcile.snapshot import Scope

_MOST = 300  # a Prefect variable holds 5,000 characters


@dataclass(frozen=True)
class Notes:
    """Keys of what was said, in a Prefect variable of the flows that look at the same.

    What does not fit is said again by the next process, and so is what two processes note at once: nothing else is lost.
    """

    client: PrefectClient
    name: str

    @classmethod
    def of(cls, client: PrefectClient, scope: Scope, areas: Iterable[Area]) -> Notes:
        """Return the notes of the flows that look at a scope, in some directions."""
        looked_at = hashlib.sha256(repr((scope, sorted(map(str, areas)))).encode()).hexdigest()[:12]
        return cls(client, f"cpln_sync_said_{looked_at}")

    async def read(self) -> frozenset[str]:
        """Return what was said before."""
        found = await self.client.read_variable_by_name(self.name)
        try:
            return frozenset(json.loads(str(found.value))) if found else frozenset()
        except ValueError:
            return frozenset()

    async def keep(self, keys: Collection[str]) -> None:
        """Keep what was said."""
        value = json.dumps(sorted(keys)[:_MOST], separators=(",", ":"))
        if await self.client.read_variable_by_name(self.name) is None:
            await self.client.create_variable(VariableCreate(name=self.name, value=value))
        else:
            await self.client.update_variable(VariableUpdate(name=self.name, value=value))
