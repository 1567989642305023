"""What was reported once and is not reported again: keys, kept from one process of a maintenance flow to the next."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate

from cpln_flows.model.identifiers import Area
from cpln_flows.reconcile.snapshot import Scope

_MOST = 550  # of nine characters each: a Prefect variable holds 5,000
_KEY = re.compile(r"[a-z][0-9a-f]{7}")


@dataclass(frozen=True)
class ReportedKeys:
    """Keys of what was reported, in a Prefect variable of the flows that look at the same.

    What does not fit is reported again by the next process, and so is what two processes keep at once: nothing else is lost.
    """

    client: PrefectClient
    name: str

    @classmethod
    def of(cls, client: PrefectClient, scope: Scope, areas: Iterable[Area]) -> ReportedKeys:
        """Return the keys of the flows that look at a scope, in some directions."""
        looked_at = hashlib.sha256(repr((scope, sorted(map(str, areas)))).encode()).hexdigest()[:12]
        return cls(client, f"cpln_sync_reported_{looked_at}")

    async def read(self) -> tuple[str, ...]:
        """Return the keys of what was reported before, oldest first."""
        found = await self.client.read_variable_by_name(self.name)
        return tuple(_KEY.findall(str(found.value))) if found else ()

    async def keep(self, keys: Collection[str]) -> None:
        """Keep the newest of these keys."""
        value = " ".join(list(keys)[-_MOST:])
        if await self.client.read_variable_by_name(self.name) is None:
            await self.client.create_variable(VariableCreate(name=self.name, value=value))
        else:
            await self.client.update_variable(VariableUpdate(name=self.name, value=value))
