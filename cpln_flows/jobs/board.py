"""The last known state of every followed job of one workload; whoever needs news first asks for all of them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from cpln_flows.api import commands, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.api.retry import Repeat
from cpln_flows.errors import CplnError, NotFoundError
from cpln_flows.model.links import WorkloadRef
from cpln_flows.model.resources import Command, WorkloadDeployment

T = TypeVar("T")

_CLOCK_SKEW = timedelta(minutes=10)
_YOUNG = timedelta(hours=1)
_MOST_SINGLE_READS = 20


@dataclass
class Watched:
    """What is known of one job. A failed look changes nothing but ``error``: unknown is not gone."""

    command_id: str
    created: datetime
    location: str
    has_sidecars: bool
    wake: Callable[[], None]
    command: Command | None = None
    deployment: WorkloadDeployment | None = None
    misses: int = 0
    error: CplnError | None = None


@dataclass
class StatusBoard:
    """Polls for all followers together: one request for each look, however many jobs the workload has."""

    client: CplnClient
    workload: WorkloadRef
    watched: list[Watched] = field(default_factory=list)
    last_look: float = field(default_factory=time.monotonic)
    looking: bool = False

    def watch(self, command_id: str, *, location: str, has_sidecars: bool, wake: Callable[[], None]) -> Watched:
        """Put a job on the board; ``wake`` is called after each look."""
        entry = Watched(command_id, self.client.now() - _CLOCK_SKEW, location, has_sidecars, wake)
        self.watched.append(entry)
        return entry

    def forget(self, entry: Watched) -> None:
        """Take a job off the board."""
        self.watched = [other for other in self.watched if other is not entry]

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
            for entry in self.watched:
                entry.wake()

    async def _look(self) -> None:
        asked = list(self.watched)
        missing: dict[str, list[Watched]] = {}
        for entry in asked:
            missing.setdefault(entry.command_id, []).append(entry)
        # The first query shows the young jobs, ended or not; the second the old ones, without all that ended since they began.
        since = max(self.client.now() - _YOUNG, min((entry.created for entry in asked), default=self.client.now()))
        queries = (
            lambda: commands.since(self.client, self.workload, since),
            lambda: commands.active(self.client, self.workload),
        )
        for query in queries:
            if len(missing) > 1:
                found = await self._attempt(asked, query)
                if found is None:
                    return
                for command in found:
                    _note(missing.pop(command.id, []), command)
        # A query may be stale, so what it does not show is asked for by id before it counts as missing.
        for command_id, entries in list(missing.items())[:_MOST_SINGLE_READS]:
            await self._read_one(command_id, entries)
        await self._read_deployments([entry for entry in asked if entry.has_sidecars])

    async def _read_one(self, command_id: str, entries: list[Watched]) -> None:
        ref = self.workload.command(command_id)
        try:
            command = await commands.read(self.client, ref, repeat=Repeat.NEVER)
        except NotFoundError as error:
            for entry in entries:
                entry.misses, entry.error = entry.misses + 1, error
        except CplnError as error:
            for entry in entries:
                entry.error = error
        else:
            _note(entries, command)

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
            return None


def _note(entries: list[Watched], command: Command) -> None:
    for entry in entries:
        entry.command = command
        entry.created = command.created
        entry.misses = 0
        entry.error = None
