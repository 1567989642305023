"""Stop a job: ask for it, verify that the job is over, and report it when it is not."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import anyio

from cpln_flows.api import commands, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.api.retry import Repeat
from cpln_flows.errors import ConflictError, CplnError, JobError, NotFoundError
from cpln_flows.logger import Journal
from cpln_flows.model.identifiers import Area
from cpln_flows.model.links import CommandRef, WorkloadRef
from cpln_flows.model.resources import Command

_FIRST_LOOK_SECONDS = 0.1
_LONGEST_LOOK_SECONDS = 2.0
_LEAST_ABSENCES = 2  # a single 404 for a running job is nothing unusual


@dataclass(frozen=True)
class Stopped:
    """What came of a stop.

    Attributes:
        verified: Whether the job was seen to be over, or gone.
        evidence: What was seen, in words.
        ended_by_itself: The job, if it was over before a stop was sent.
        was_sent: Whether a stop was sent, and may have ended the job.
    """

    verified: bool
    evidence: str
    ended_by_itself: Command | None = None
    was_sent: bool = False


async def stop(
    client: CplnClient,
    ref: CommandRef,
    *,
    location: str,
    reason: str,
    grace_seconds: float,
    journal: Journal,
    known: Command | None = None,
    after_seconds: float = 0,
) -> Stopped:
    """Stop a job and make sure that it is over.

    Until a container exists, there is nothing to stop. The stop is sent as soon as there is a
    container, to each container that replaces it, and once more after half of the grace period.

    Args:
        client: An open client.
        ref: The job.
        location: Where it runs.
        reason: Why, for the log.
        grace_seconds: How long the job may take to end.
        journal: Where to log for the user.
        known: The job as it was last seen, so that it can be stopped while it cannot be read.
        after_seconds: How long to wait for the job to end by itself before stopping it, in
            seconds.
    """
    begun, wait = time.monotonic() + after_seconds, _FIRST_LOOK_SECONDS
    stopping = _Stopping(client, ref, location, reason, journal, known)
    while True:
        age = time.monotonic() - begun
        if (over := await stopping.look()) is not None:
            if stopping.tried:
                journal.info(
                    Area.KILL, f"terminated successfully after {age:.1f} s, {over.evidence}"
                )
            return over
        if age >= 0:
            await stopping.ask(again=age >= grace_seconds / 2)
        if time.monotonic() - begun >= grace_seconds:
            return Stopped(
                False,
                _unverified(stopping.tried, grace_seconds, stopping.trouble),
                was_sent=stopping.tried,
            )
        await anyio.sleep(wait)
        wait = min(wait * 1.5, _LONGEST_LOOK_SECONDS)


async def delete_workload(
    client: CplnClient, workload: WorkloadRef, *, journal: Journal, only_idle: bool = False
) -> None:
    """Delete the workload of a job, and with it whatever is still running on it.

    Args:
        client: An open client.
        workload: The workload.
        journal: Where to log for the user.
        only_idle: Whether to leave the workload alone if something is running on it.

    Raises:
        CplnError: The workload was not deleted.
    """
    if only_idle:
        running = [
            execution.name
            for _, execution in await workloads.executions(client, workload)
            if execution.is_active
        ]
        if running:
            raise JobError(f"{', '.join(running)} still runs on it")
    if await workloads.delete(client, workload):
        journal.debug(Area.WORKLOAD, "Deleted the workload of this job")


@dataclass
class _Stopping:
    """Poll one job and stop each of its containers, a second time if a container does not end."""

    client: CplnClient
    ref: CommandRef
    location: str
    reason: str
    journal: Journal
    known: Command | None
    trouble: str = ""
    tried: bool = False
    absences: int = 0
    replica: str | None = None
    asked: Counter[str] = field(default_factory=Counter)

    async def look(self) -> Stopped | None:
        """Return how the job ended; ``None`` while it is active, or cannot be read."""
        try:
            try:
                self.known, self.absences = (
                    await commands.read(self.client, self.ref, repeat=Repeat.NEVER),
                    0,
                )
            except NotFoundError:
                self.known, self.absences = None, self.absences + 1
                if self.absences >= _LEAST_ABSENCES and not await self._is_listed():
                    return Stopped(
                        True, "the platform no longer knows the job", was_sent=self.tried
                    )
            self.trouble = ""
        except CplnError as error:
            self.trouble = str(error)
        if self.known is None:
            return None
        self.location, self.replica = (
            self.known.spec.location or self.location,
            self.known.status.replica,
        )
        if not self.known.is_terminal:
            return None
        return Stopped(
            True,
            f"the job is {self.known.lifecycle_stage}",
            None if self.tried else self.known,
            self.tried,
        )

    async def _is_listed(self) -> bool:
        """Whether an execution of the job is active although the platform hides its command."""
        found = await workloads.execution_of(self.client, self.ref)
        if found is None or not found[1].is_active:
            return False
        self.location, self.replica = found[0], found[1].replica
        return True

    async def ask(self, *, again: bool) -> None:
        """Send the stop to the container, if there is one."""
        replica = self.replica
        if not replica or self.asked[replica] >= (2 if again else 1):
            return
        self.tried = True  # if the answer is lost, this stop may still have ended the job
        if self.asked[replica]:
            self.journal.warning(Area.KILL, "The job does not end, sending stopReplica again")
        else:
            self.journal.info(Area.KILL, f"Sending stopReplica: {self.reason}")
        try:
            with suppress(ConflictError):  # a stop is under way already
                await commands.stop(
                    self.client, self.ref.workload_ref, location=self.location, replica=replica
                )
        except CplnError as error:
            self.trouble = str(error)
        else:
            self.asked[replica] += 1


def _unverified(sent: bool, grace_seconds: float, trouble: str) -> str:
    what = (
        "the stop was sent, but the job is still running"
        if sent
        else "no container of the job was found that could be stopped"
    )
    return f"{what} after {grace_seconds:g} s" + (f" ({trouble})" if trouble else "")
