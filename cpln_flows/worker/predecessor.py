"""Stop the jobs that an earlier attempt of a flow run left running.

Two containers of one flow run would both report for it.
"""

from __future__ import annotations

from uuid import UUID

from cpln_flows.api import commands
from cpln_flows.api.client import CplnClient
from cpln_flows.errors import ConfigurationError, JobError, NotFoundError
from cpln_flows.jobs import stop
from cpln_flows.jobs.plan import JobPlan
from cpln_flows.logger import Journal
from cpln_flows.model import identifiers
from cpln_flows.model.links import CommandRef
from cpln_flows.model.resources import Command

_REASON = "an earlier attempt of the flow run left it running"


async def of_pid(client: CplnClient, pid: str | None) -> tuple[CommandRef, Command] | None:
    """Return the job of an infrastructure pid, if the pid is valid and the job exists."""
    try:
        ref = CommandRef.parse(pid or "")
        return ref, await commands.read(client, ref)
    except (ConfigurationError, NotFoundError):
        return None


async def end_earlier(
    client: CplnClient,
    plan: JobPlan,
    run_id: UUID,
    pid: str | None,
    *,
    grace_seconds: float,
    journal: Journal,
) -> None:
    """Stop every job of a flow run that does not belong to the current attempt.

    Args:
        client: An open client.
        plan: The job of the current attempt.
        run_id: The flow run.
        pid: The pid that the flow run has from an earlier attempt.
        grace_seconds: How long such a job may take to end.
        journal: The log of the flow run.

    Raises:
        JobError: The end of one of them could not be verified, so no other may be started.
    """
    workload = plan.workload_of(plan.submission.attempt)
    tags = {key: plan.search_tags[key] for key in (identifiers.SUBMISSION, identifiers.ROLE)}
    try:
        listed = await commands.with_tags(client, workload, tags)
    except NotFoundError:
        listed = []
    found = {workload.command(command.id): command for command in listed}
    if (named := await of_pid(client, pid)) is not None:
        found[named[0]] = named[1]
    mine, own = plan.search_tags.items(), str(run_id)
    for ref, command in found.items():
        is_of_this_run = command.tags.get(identifiers.FLOW_RUN_ID) == own
        if is_of_this_run and not command.is_terminal and not mine <= command.tags.items():
            await _stop(client, ref, command.spec.location or plan.location, grace_seconds, journal)


async def _stop(
    client: CplnClient, ref: CommandRef, location: str, grace_seconds: float, journal: Journal
) -> None:
    about = journal.about(workload=ref.workload, command_id=ref.command_id)
    stopped = await stop.stop(
        client, ref, location=location, reason=_REASON, grace_seconds=grace_seconds, journal=about
    )
    if not stopped.verified:
        raise JobError(
            f"an earlier attempt of the flow run left its job running, and the job could not be"
            f" stopped: {stopped.evidence}. No second container was started; stop the job on the"
            " platform and run the flow run again",
            infrastructure_pid=ref.pid,
        )
