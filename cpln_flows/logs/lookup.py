"""Find a job by its id alone, even if its log is all that the platform has left of it."""

from __future__ import annotations

from dataclasses import dataclass

from cpln_flows.api import commands, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.api.logs import LogSource
from cpln_flows.errors import NotFoundError
from cpln_flows.model import log_lines
from cpln_flows.model.links import CommandRef, GvcRef
from cpln_flows.model.resources import Command


@dataclass(frozen=True)
class Located:
    """What is known of a job.

    Attributes:
        selector: Selector of its streams in the log.
        ref: The job, if its workload is known.
        command: The platform's state of it, if the platform still knows it.
        main: Name of its first container, if its workload still exists.
    """

    selector: str
    ref: CommandRef | None = None
    command: Command | None = None
    main: str | None = None


async def locate(client: CplnClient, ref: CommandRef) -> Located:
    """Return what is known of a job whose pid is known."""
    try:
        command = await commands.read(client, ref)
    except NotFoundError:
        return Located(log_lines.selector(ref), ref)
    try:
        containers = (await workloads.read(client, ref.workload_ref)).spec.get("containers") or [{}]
    except NotFoundError:
        containers = [{}]
    return Located(log_lines.selector(ref), ref, command, containers[0].get("name"))


async def locate_by_id(
    client: CplnClient, gvc: GvcRef, command_id: str, *, since_ns: int, until_ns: int
) -> Located:
    """Find a job of which only the id is known: its log names the workload.

    Args:
        client: An open client.
        gvc: Organization and GVC.
        command_id: Id of the command.
        since_ns: Start of the time span in which to look for its log.
        until_ns: End of that span.
    """
    selector = log_lines.selector_of_id(gvc, command_id)
    labels = await LogSource(client, gvc.org, selector).labels(since_ns, until_ns)
    if labels is not None and (name := labels.get("workload")):
        return await locate(client, gvc.workload(name).command(command_id))
    # A job that has not printed anything yet has no log, so ask each workload for it.
    async for workload in workloads.ours(client, gvc.org, gvc.gvc):
        found = await locate(client, gvc.workload(workload.name).command(command_id))
        if found.command is not None:
            return found
    return Located(selector)
