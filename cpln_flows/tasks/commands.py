"""Tasks for the jobs of a workload that somebody else has made: start one, stop it, look at it, list them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import get_run_logger

from cpln_flows.api import commands, objects, workloads
from cpln_flows.blocks.credentials import CplnCredentials
from cpln_flows.errors import ConfigurationError, JobError
from cpln_flows.jobs import stop
from cpln_flows.logger import Journal
from cpln_flows.model.identifiers import Area, LogContext
from cpln_flows.model.links import CommandRef
from cpln_flows.settings import CplnSettings
from cpln_flows.tasks.connection import Manifest, checked_name, client_of, gvc_of, list_objects
from cpln_flows.tasks.reporting import reporting


@reporting(Area.JOB)
async def start_command(
    cpln_credentials: CplnCredentials,
    org: str,
    gvc: str,
    name: str,
    *,
    location: str | None = None,
    overrides: Sequence[Mapping[str, Any]] = (),
    tags: Mapping[str, str] | None = None,
) -> str:
    """Start a job of a cron workload. Sent once: started again after a lost answer there might be two.

    Args:
        cpln_credentials: Whose rights are used.
        org: Organization, as a name or a link.
        gvc: GVC, as a name or a link.
        name: Name of the workload.
        location: Name of the location. Default: the first one of the GVC.
        overrides: What differs from the workload, an object for each container.
        tags: Tags of the command.

    Returns:
        The infrastructure pid of the job, ``org:gvc:workload:command_id``; ``stream_logs`` reads its log.

    Raises:
        ConfigurationError: A name cannot be one, or the GVC has no location of its own.
        TransportError, ServerError: It is unknown whether the job was started.
    """
    place = gvc_of(org, gvc)
    workload = place.workload(checked_name(name, "workload"))
    async with client_of(cpln_credentials) as client:
        location = location or await workloads.first_location(client, place)
        if location is None:
            raise ConfigurationError(
                f"location: none is given, and the GVC {place.gvc} has none of its own"
            )
        started = await commands.start(
            client, workload, location=location, overrides=overrides, tags=tags or {}
        )
    return started.pid


@reporting(Area.KILL)
async def stop_command(
    cpln_credentials: CplnCredentials, pid: str, *, grace_seconds: float = 60
) -> str:
    """Stop a job, and make sure that it is over.

    Args:
        cpln_credentials: Whose rights are used.
        pid: Infrastructure pid of the job, ``org:gvc:workload:command_id``.
        grace_seconds: How long it may take to end, in seconds.

    Returns:
        What was seen of its end.

    Raises:
        ConfigurationError: It is no pid.
        JobError: The job was not seen to end; it may still run.
    """
    ref = CommandRef.parse(pid)
    journal = Journal(
        get_run_logger(), LogContext(gvc=ref.gvc, workload=ref.workload, command_id=ref.command_id)
    )
    async with client_of(cpln_credentials) as client:
        known = await commands.read(client, ref)
        location = known.spec.location or CplnSettings.load().location or ""
        stopped = await stop.stop(
            client,
            ref,
            location=location,
            reason="asked for",
            grace_seconds=grace_seconds,
            journal=journal,
            known=known,
        )
    if not stopped.verified:
        raise JobError(f"job {pid} may still run: {stopped.evidence}", infrastructure_pid=pid)
    return stopped.evidence


@reporting(Area.JOB)
async def read_command(cpln_credentials: CplnCredentials, pid: str) -> Manifest:
    """Read a job as the platform has it.

    Args:
        cpln_credentials: Whose rights are used.
        pid: Infrastructure pid of the job, ``org:gvc:workload:command_id``.

    Returns:
        The command.

    Raises:
        ConfigurationError: It is no pid.
        NotFoundError: There is no such job, or the platform has forgotten it.
    """
    ref = CommandRef.parse(pid)
    async with client_of(cpln_credentials) as client:
        return await objects.read(client, ref.path)


@reporting(Area.JOB)
async def list_commands(
    cpln_credentials: CplnCredentials, org: str, gvc: str, name: str
) -> Manifest:
    """List the commands of a workload, those of all pages.

    Args:
        cpln_credentials: Whose rights are used.
        org: Organization, as a name or a link.
        gvc: GVC, as a name or a link.
        name: Name of the workload.

    Returns:
        A list as the platform has it, with the commands as its ``items``.

    Raises:
        ConfigurationError: A name cannot be one.
        NotFoundError: There is no such workload.
    """
    workload = gvc_of(org, gvc).workload(checked_name(name, "workload"))
    async with client_of(cpln_credentials) as client:
        return await list_objects(client, f"{workload.path}/-command", "command")
