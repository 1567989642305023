"""What a maintenance flow keeps in Prefect variables: what it reported, and its last cycle."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate

from cpln_flows.model.identifiers import Area
from cpln_flows.reconcile.snapshot import Scope

_MOST = 550  # of nine characters each: a Prefect variable holds 5,000
_DIRECTIONS = {Area.SYNC_TO_PREFECT: "cpln_to_prefect", Area.SYNC_TO_CPLN: "prefect_to_cpln"}
_KEY = re.compile(r"[a-z][0-9a-f]{7}")


@dataclass(frozen=True)
class ReportedKeys:
    """Keys of what was reported, in a Prefect variable that flows with the same scope share.

    What does not fit is reported again by the next process, as is what two processes store at the
    same time. Nothing else is lost.
    """

    client: PrefectClient
    name: str

    @classmethod
    def of(cls, client: PrefectClient, scope: Scope, areas: Iterable[Area]) -> ReportedKeys:
        """Return the keys of the flows that look at a scope, in some directions."""
        return cls(client, f"cpln_sync_reported_{_hash(scope, sorted(map(str, areas)))[:12]}")

    async def read(self) -> tuple[str, ...]:
        """Return the keys of earlier reports, oldest first."""
        found = await self.client.read_variable_by_name(self.name)
        return tuple(_KEY.findall(str(found.value))) if found else ()

    async def keep(self, keys: Collection[str]) -> None:
        """Store the newest of these keys."""
        await _write(self.client, self.name, " ".join(list(keys)[-_MOST:]))


@dataclass
class LastCycle:
    """When a sync last looked and what it saw, in a Prefect variable that each cycle overwrites."""

    client: PrefectClient
    name: str
    _exists: bool = False

    @classmethod
    def of(cls, client: PrefectClient, scope: Scope, areas: Collection[Area]) -> LastCycle:
        """Return the variable of the flows that look at a scope, in some directions.

        >>> LastCycle.of(None, Scope("my-org"), [Area.SYNC_TO_CPLN]).name
        'cpln_sync_my_org_prefect_to_cpln'
        """
        parts = ["cpln_sync", re.sub(r"[^a-z0-9]+", "_", scope.org.lower())]
        parts += [_DIRECTIONS[area] for area in areas] if len(set(areas)) == 1 else []
        parts += [_hash(scope)[:8]] if scope != Scope(scope.org) else []
        return cls(client, "_".join(parts))

    async def keep(self, seen: Mapping[str, Any]) -> None:
        """Store what the newest cycle saw."""
        if self._exists:
            await self.client.update_variable(VariableUpdate(name=self.name, value=dict(seen)))
        else:
            await _write(self.client, self.name, dict(seen))
            self._exists = True


async def _write(client: PrefectClient, name: str, value: Any) -> None:
    if await client.read_variable_by_name(name) is None:
        await client.create_variable(VariableCreate(name=name, value=value))
    else:
        await client.update_variable(VariableUpdate(name=name, value=value))


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
