"""Tasks that start, stop, read and list the jobs of a workload that already exists."""

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
    """Start a job of a cron workload.

    The request is sent only once: a second one after a lost response might start a second job.

    Args:
        cpln_credentials: The credentials to authenticate with.
        org: Organization, as a name or a link.
        gvc: GVC, as a name or a link.
        name: Name of the workload.
        location: Name of the location. Default: the first location of the GVC.
        overrides: What differs from the workload, one object per container.
        tags: Tags of the command.

    Returns:
        The infrastructure pid of the job, ``org:gvc:workload:command_id``, with which
        ``stream_logs`` reads its log.

    Raises:
        ConfigurationError: A name is invalid, or the GVC has no location of its own.
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
    """Stop a job and verify that it has ended.

    Args:
        cpln_credentials: The credentials to authenticate with.
        pid: Infrastructure pid of the job, ``org:gvc:workload:command_id``.
        grace_seconds: How long the job may take to end, in seconds.

    Returns:
        The evidence that it has ended.

    Raises:
        ConfigurationError: ``pid`` is not an infrastructure pid.
        JobError: The end of the job could not be verified; it may still be running.
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
            reason="requested",
            grace_seconds=grace_seconds,
            journal=journal,
            known=known,
        )
    if not stopped.verified:
        raise JobError(f"job {pid} may still run: {stopped.evidence}", infrastructure_pid=pid)
    return stopped.evidence


@reporting(Area.JOB)
async def read_command(cpln_credentials: CplnCredentials, pid: str) -> Manifest:
    """Read a job as the platform stores it.

    Args:
        cpln_credentials: The credentials to authenticate with.
        pid: Infrastructure pid of the job, ``org:gvc:workload:command_id``.

    Returns:
        The command.

    Raises:
        ConfigurationError: ``pid`` is not an infrastructure pid.
        NotFoundError: There is no such job, or the platform no longer keeps it.
    """
    ref = CommandRef.parse(pid)
    async with client_of(cpln_credentials) as client:
        return await objects.read(client, ref.path)


@reporting(Area.JOB)
async def list_commands(
    cpln_credentials: CplnCredentials, org: str, gvc: str, name: str
) -> Manifest:
    """List all commands of a workload, from all pages.

    Args:
        cpln_credentials: The credentials to authenticate with.
        org: Organization, as a name or a link.
        gvc: GVC, as a name or a link.
        name: Name of the workload.

    Returns:
        A list as the platform returns it, with the commands as its ``items``.

    Raises:
        ConfigurationError: A name is invalid.
        NotFoundError: There is no such workload.
    """
    workload = gvc_of(org, gvc).workload(checked_name(name, "workload"))
    async with client_of(cpln_credentials) as client:
        return await list_objects(client, f"{workload.path}/-command", "command")
