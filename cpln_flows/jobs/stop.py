"""Stopping a job: ask, look whether it is over, say so when it is not."""

from __future__ import annotations

import time
from dataclasses import dataclass

import anyio

from cpln_flows.api import commands, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.errors import ConflictError, CplnError, NotFoundError
from cpln_flows.jobs.journal import Journal
from cpln_flows.model.identifiers import Area
from cpln_flows.model.links import CommandRef, WorkloadRef
from cpln_flows.model.resources import Command

_FIRST_LOOK_SECONDS = 0.1
_LONGEST_LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Stopped:
    """What came of a stop. ``verified`` is true only when the job was seen to be over, or gone."""

    verified: bool
    evidence: str


async def stop(
    client: CplnClient, ref: CommandRef, *, location: str, reason: str, grace_seconds: float, journal: Journal
) -> Stopped:
    """Stop a job and make sure that it is over.

    Until a container exists there is nothing that could be stopped; the stop is sent as soon as there is one.

    Args:
        client: An open client.
        ref: The job.
        location: Where it runs.
        reason: Why, for the log.
        grace_seconds: How long the job may take to end.
        journal: What to tell the user.
    """
    begun, wait, sent, trouble = time.monotonic(), _FIRST_LOOK_SECONDS, False, ""
    while True:
        try:
            command = await commands.read(client, ref)
            if command.is_terminal:
                took = time.monotonic() - begun
                journal.info(Area.KILL, f"terminated successfully after {took:.1f} s, the job is {command.lifecycle_stage}")
                return Stopped(True, f"the platform says {command.lifecycle_stage}")
            if not sent and command.status.replica:
                journal.info(Area.KILL, f"Sending stopReplica: {reason}")
                await _send(client, ref, command, location)
                sent = True
            trouble = ""
        except NotFoundError:
            return Stopped(True, "the platform does not know the job any more")
        except CplnError as error:
            trouble = str(error)
        if time.monotonic() - begun >= grace_seconds:
            return Stopped(False, _unverified(sent, grace_seconds, trouble))
        await anyio.sleep(wait)
        wait = min(wait * 1.5, _LONGEST_LOOK_SECONDS)


async def delete_workload(client: CplnClient, workload: WorkloadRef, *, journal: Journal) -> None:
    """Delete the workload of a job, and with it whatever still runs on it."""
    if await workloads.delete(client, workload):
        journal.debug(Area.WORKLOAD, "Deleted the workload of this job")


async def _send(client: CplnClient, ref: CommandRef, command: Command, location: str) -> None:
    replica = command.status.replica or ""
    try:
        await commands.stop(client, ref.workload_ref, location=command.spec.location or location, replica=replica)
    except ConflictError:
        return  # a stop is under way already


def _unverified(sent: bool, grace_seconds: float, trouble: str) -> str:
    what = "the stop was sent, but the job still runs" if sent else "no container of the job was found that could be stopped"
    return f"{what} after {grace_seconds:g} s" + (f" ({trouble})" if trouble else "")
