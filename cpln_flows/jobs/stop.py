"""Stopping a job: ask, look whether it is over, say so when it is not."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import anyio

from cpln_flows.api import commands, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.api.retry import Repeat
from cpln_flows.errors import ConflictError, CplnError, NotFoundError
from cpln_flows.jobs.journal import Journal
from cpln_flows.model.identifiers import Area
from cpln_flows.model.links import CommandRef, WorkloadRef
from cpln_flows.model.resources import Command

_FIRST_LOOK_SECONDS = 0.1
_LONGEST_LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Stopped:
    """What came of a stop.

    Attributes:
        verified: Whether the job was seen to be over, or gone.
        evidence: What was seen, in words.
        ended_by_itself: The job, if it was over before it was told to stop.
    """

    verified: bool
    evidence: str
    ended_by_itself: Command | None = None


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

    Until a container exists there is nothing that could be stopped; the stop is sent as soon as there is one, to each further
    one that takes its place, and once more after half of the grace.

    Args:
        client: An open client.
        ref: The job.
        location: Where it runs.
        reason: Why, for the log.
        grace_seconds: How long the job may take to end.
        journal: What to tell the user.
        known: The job as it was seen last: it is stopped also while it cannot be read.
        after_seconds: How long it is looked first whether the job ends by itself.
    """
    begun, wait, trouble = time.monotonic() + after_seconds, _FIRST_LOOK_SECONDS, ""
    stopping = _Stopping(client, ref, location, reason, journal)
    while True:
        try:
            known, trouble = await commands.read(client, ref, repeat=Repeat.NEVER), ""
        except NotFoundError:
            return Stopped(True, "the platform does not know the job any more")
        except CplnError as error:
            trouble = str(error)
        age = time.monotonic() - begun
        if known is not None and known.is_terminal:
            if stopping.tried:
                journal.info(Area.KILL, f"terminated successfully after {age:.1f} s, the job is {known.lifecycle_stage}")
            return Stopped(True, f"the platform says {known.lifecycle_stage}", None if stopping.tried else known)
        try:
            if known is not None and age >= 0:
                await stopping.ask(known, again=age >= grace_seconds / 2)
        except CplnError as error:
            trouble = str(error)
        if time.monotonic() - begun >= grace_seconds:
            return Stopped(False, _unverified(stopping.tried, grace_seconds, trouble))
        await anyio.sleep(wait)
        wait = min(wait * 1.5, _LONGEST_LOOK_SECONDS)


async def delete_workload(client: CplnClient, workload: WorkloadRef, *, journal: Journal) -> None:
    """Delete the workload of a job, and with it whatever still runs on it."""
    if await workloads.delete(client, workload):
        journal.debug(Area.WORKLOAD, "Deleted the workload of this job")


@dataclass
class _Stopping:
    """Asks for the stop of each container of one job, and once more of one that does not end."""

    client: CplnClient
    ref: CommandRef
    location: str
    reason: str
    journal: Journal
    tried: bool = False
    asked: Counter[str] = field(default_factory=Counter)

    async def ask(self, command: Command, *, again: bool) -> None:
        replica = command.status.replica
        if not replica or self.asked[replica] >= (2 if again else 1):
            return
        self.tried = True  # should the answer be lost, it may have been this stop that ended the job
        if self.asked[replica]:
            self.journal.warning(Area.KILL, "The job does not end, sending stopReplica again")
        else:
            self.journal.info(Area.KILL, f"Sending stopReplica: {self.reason}")
        where = command.spec.location or self.location
        with suppress(ConflictError):  # a stop is under way already
            await commands.stop(self.client, self.ref.workload_ref, location=where, replica=replica)
        self.asked[replica] += 1


def _unverified(sent: bool, grace_seconds: float, trouble: str) -> str:
    what = "the stop was sent, but the job still runs" if sent else "no container of the job was found that could be stopped"
    return f"{what} after {grace_seconds:g} s" + (f" ({trouble})" if trouble else "")
