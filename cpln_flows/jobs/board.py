"""The last known state of every followed job of one workload; whoever needs news first asks for all of them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from cpln_flows.api import commands, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.api.retry import Repeat
from cpln_flows.errors import CplnError, NotFoundError
from cpln_flows.model.links import WorkloadRef
from cpln_flows.model.resources import Command, WorkloadDeployment

T = TypeVar("T")

_CLOCK_SKEW = timedelta(minutes=10)
_MOST_SINGLE_READS = 20


@dataclass
class Watched:
    """What is known of one job. A failed look changes nothing but ``error``: unknown is not gone."""

    created: datetime
    location: str
    has_sidecars: bool
    wake: Callable[[], None]
    command: Command | None = None
    deployment: WorkloadDeployment | None = None
    misses: int = 0
    error: CplnError | None = None
    looks: int = 0


@dataclass
class StatusBoard:
    """Polls for all followers together: one request for each look, however many jobs the workload has."""

    client: CplnClient
    workload: WorkloadRef
    watched: dict[str, Watched] = field(default_factory=dict)
    last_look: float = field(default_factory=time.monotonic)
    looking: bool = False

    def watch(self, command_id: str, *, location: str, has_sidecars: bool, wake: Callable[[], None]) -> Watched:
        """Put a job on the board; ``wake`` is called after each look."""
        self.watched[command_id] = Watched(datetime.now(UTC) - _CLOCK_SKEW, location, has_sidecars, wake)
        return self.watched[command_id]

    def forget(self, command_id: str) -> None:
        """Take a job off the board."""
        self.watched.pop(command_id, None)

    async def look(self) -> None:
        """Ask the platform once for all jobs on the board; while another follower is asking, leave it to that one."""
        if self.looking:
            return
        self.looking = True
        try:
            await self._look()
        finally:
            # Also when this follower is cancelled: the others must not wait for it.
            self.looking = False
            self.last_look = time.monotonic()
            for entry in self.watched.values():
                entry.wake()

    async def _look(self) -> None:
        asked = dict(self.watched)
        missing = dict(asked)
        if len(asked) > 1:
            oldest = min(entry.created for entry in asked.values())
            found = await self._attempt(list(asked.values()), lambda: commands.since(self.client, self.workload, oldest))
            for command in found or []:
                if entry := missing.pop(command.id, None):
                    _note(entry, command)
            if found is None:
                return
        # A query may be stale, so what it does not show is asked for by id before it counts as missing.
        for command_id, entry in list(missing.items())[:_MOST_SINGLE_READS]:
            await self._read_one(command_id, entry)
        await self._read_deployments([entry for entry in asked.values() if entry.has_sidecars])

    async def _read_one(self, command_id: str, entry: Watched) -> None:
        ref = self.workload.command(command_id)
        try:
            command = await commands.read(self.client, ref, repeat=Repeat.NEVER)
        except NotFoundError as error:
            entry.misses, entry.error = entry.misses + 1, error
        except CplnError as error:
            entry.error = error
        else:
            _note(entry, command)
        entry.looks += 1

    async def _read_deployments(self, entries: list[Watched]) -> None:
        for location in {entry.location for entry in entries}:
            here = [entry for entry in entries if entry.location == location]

            def read(location: str = location) -> Awaitable[WorkloadDeployment]:
                return workloads.deployment(self.client, self.workload, location)

            found = await self._attempt(here, read)
            for entry in here if found else []:
                entry.deployment = found

    async def _attempt(self, entries: list[Watched], request: Callable[[], Awaitable[T]]) -> T | None:
        try:
            return await request()
        except CplnError as error:
            for entry in entries:
                entry.error = error
                entry.looks += 1
            return None


def _note(entry: Watched, command: Command) -> None:
    entry.command = command
    entry.created = command.created
    entry.misses = 0
    entry.error = None
    entry.looks += 1
