"""The last known state of every followed job of one workload.

The first follower that needs fresh states polls for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from cpln_flows.api import commands, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.api.retry import Repeat
from cpln_flows.errors import CplnError, ForbiddenError, NotFoundError, UnauthorizedError
from cpln_flows.model.links import WorkloadRef
from cpln_flows.model.presence import Absence, Sighting
from cpln_flows.model.resources import Command, WorkloadDeployment

T = TypeVar("T")

_CLOCK_SKEW = timedelta(minutes=10)
_YOUNG = timedelta(hours=1)
_MOST_SINGLE_READS = 20


def _no_line() -> float | None:
    return None


@dataclass
class Watched:
    """What is known of one job.

    A failed look changes nothing but ``error``: unknown does not mean gone.
    """

    command_id: str
    created: datetime
    location: str
    has_sidecars: bool
    wake: Callable[[], None]
    last_line: Callable[[], float | None] = _no_line
    command: Command | None = None
    deployment: WorkloadDeployment | None = None
    command_sighting: Sighting = Sighting.UNREAD
    deployment_sighting: Sighting = Sighting.UNREAD
    absence: Absence = field(default_factory=Absence)
    error: CplnError | None = None
    refused_since: float | None = None

    def begin_look(self) -> None:
        """Forget what the previous look saw; keep what is known of the job."""
        self.command_sighting = self.deployment_sighting = Sighting.UNREAD
        if not self.has_sidecars:
            self.deployment = None

    def note_command(self, command: Command) -> None:
        """Record an answer that shows the command."""
        self.command, self.created, self.error = command, command.created, None
        self.command_sighting = Sighting.SHOWN

    def note_deployment(self, found: WorkloadDeployment) -> None:
        """Record the state of the workload at the job's location."""
        self.deployment = found
        execution = found.execution_of(self.command_id)
        is_shown = execution is not None and execution.status != "removed"
        self.deployment_sighting = Sighting.SHOWN if is_shown else Sighting.ABSENT

    @property
    def is_missing(self) -> bool:
        """Whether the current look did not find the command."""
        return self.command_sighting is Sighting.ABSENT

    def end_look(self, now: float) -> None:
        """Continue or end the series of looks that saw no job, or whose token was refused."""
        if isinstance(self.error, UnauthorizedError | ForbiddenError):
            self.refused_since = now if self.refused_since is None else self.refused_since
        elif self.error is None or isinstance(self.error, NotFoundError):
            self.refused_since = None  # other errors reveal nothing about the token
        self.absence = self.absence.after(
            command=self.command_sighting,
            execution=self.deployment_sighting,
            last_line=self.last_line(),
            now=now,
        )


@dataclass
class StatusBoard:
    """Poll for all followers at once: one request per look, however many jobs the workload has."""

    client: CplnClient
    workload: WorkloadRef
    watched: list[Watched] = field(default_factory=list)
    last_look: float = field(default_factory=time.monotonic)
    looking: bool = False

    def watch(
        self,
        command_id: str,
        *,
        location: str,
        has_sidecars: bool,
        wake: Callable[[], None],
        last_line: Callable[[], float | None] = _no_line,
    ) -> Watched:
        """Put a job on the board.

        Args:
            command_id: The job.
            location: Where it runs.
            has_sidecars: Whether each look reads the containers too.
            wake: Called after each look.
            last_line: Returns when the last line of the job's log arrived, in seconds of the
                monotonic clock.
        """
        entry = Watched(
            command_id, self.client.now() - _CLOCK_SKEW, location, has_sidecars, wake, last_line
        )
        self.watched.append(entry)
        return entry

    def forget(self, entry: Watched) -> None:
        """Take a job off the board."""
        self.watched = [other for other in self.watched if other is not entry]

    async def look(self) -> None:
        """Ask the platform once for all jobs on the board, unless another follower is asking."""
        if self.looking:
            return
        self.looking = True
        asked = list(self.watched)
        try:
            await self._look(asked)
            for entry in asked:
                entry.end_look(time.monotonic())
        finally:
            # Also when this follower is cancelled: the others must not wait for it.
            self.looking = False
            self.last_look = time.monotonic()
            for entry in self.watched:
                entry.wake()

    async def _look(self, asked: list[Watched]) -> None:
        missing: dict[str, list[Watched]] = {}
        for entry in asked:
            entry.begin_look()
            missing.setdefault(entry.command_id, []).append(entry)
        # The first query shows the young jobs, ended or not. The second shows the old ones,
        # without all the jobs that have ended since those began.
        since = max(
            self.client.now() - _YOUNG,
            min((entry.created for entry in asked), default=self.client.now()),
        )
        queries = (
            lambda: commands.since(self.client, self.workload, since),
            lambda: commands.active(self.client, self.workload),
        )
        for query in queries:
            if len(missing) > 1:
                try:
                    found = await self._attempt(asked, query)
                except NotFoundError:
                    # The workload is gone, or hidden for a moment: read each job by its id.
                    break
                if found is None:
                    return
                for command in found:
                    _note(missing.pop(command.id, []), command)
        # A query may be stale: a job that it does not show is missing only if a read by id does
        # not find it either.
        for command_id, entries in list(missing.items())[:_MOST_SINGLE_READS]:
            await self._read_one(command_id, entries)
        await self._read_deployments(
            [entry for entry in asked if entry.has_sidecars or entry.is_missing]
        )

    async def _read_one(self, command_id: str, entries: list[Watched]) -> None:
        ref = self.workload.command(command_id)
        try:
            command = await commands.read(self.client, ref, repeat=Repeat.NEVER)
        except NotFoundError as error:
            for entry in entries:
                entry.command_sighting, entry.error = Sighting.ABSENT, error
        except CplnError as error:
            for entry in entries:
                entry.error = error
        else:
            _note(entries, command)

    async def _read_deployments(self, entries: list[Watched]) -> None:
        for location in {entry.location for entry in entries}:
            here = [entry for entry in entries if entry.location == location]

            def read(location: str = location) -> Awaitable[WorkloadDeployment]:
                return workloads.deployment(
                    self.client, self.workload, location, repeat=Repeat.NEVER
                )

            try:
                found = await self._attempt(here, read)
            except NotFoundError:
                for entry in here:
                    entry.deployment_sighting = Sighting.ABSENT
                continue
            if found is not None:
                for entry in here:
                    entry.note_deployment(found)

    async def _attempt(
        self, entries: list[Watched], request: Callable[[], Awaitable[T]]
    ) -> T | None:
        """Make a request and record a failure; raise only a 404, which is an answer."""
        try:
            return await request()
        except NotFoundError:
            raise
        except CplnError as error:
            for entry in entries:
                entry.error = error
            return None


def _note(entries: list[Watched], command: Command) -> None:
    for entry in entries:
        entry.note_command(command)
