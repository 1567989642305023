"""Kill a job by its infrastructure pid, with the errors that Prefect expects."""

from __future__ import annotations

from prefect.exceptions import InfrastructureNotAvailable, InfrastructureNotFound

from cpln_flows.api.client import CplnClient
from cpln_flows.errors import CplnError
from cpln_flows.jobs import stop
from cpln_flows.logger import Journal
from cpln_flows.model.identifiers import Area
from cpln_flows.model.links import CommandRef, GvcRef, WorkloadRef

_REASONS = ("Prefect asks for it", "it did not end when it was asked to")


def own_job(pid: str, own: GvcRef, owner: str) -> CommandRef:
    """Return the job of a pid, if it is in the GVC of the caller.

    Args:
        pid: Infrastructure pid, ``org:gvc:workload:command_id``.
        own: The only GVC whose jobs may be killed.
        owner: Whose GVC that is, for the error message.

    Raises:
        InfrastructureNotAvailable: The pid names no job, or a job elsewhere.
    """
    if CommandRef.find(pid) is None and (workload := WorkloadRef.of_pid(pid)):
        raise InfrastructureNotAvailable(
            f"pid {pid} comes from prefect-cpln and names no job; stop the jobs of {workload.path}"
            " on the platform"
        )
    try:
        ref = CommandRef.parse(pid)
    except CplnError as error:
        raise InfrastructureNotAvailable(str(error)) from None
    if (ref.org, ref.gvc) != (own.org, own.gvc):
        raise InfrastructureNotAvailable(
            f"job {pid} is in org {ref.org} and GVC {ref.gvc}; the {owner} {own.org} and {own.gvc}"
        )
    return ref


async def kill(
    client: CplnClient, ref: CommandRef, *, grace_seconds: float, journal: Journal
) -> None:
    """Stop a job and verify that it is over.

    Args:
        client: An open client.
        ref: The job.
        grace_seconds: How long the job may take to end; after that, the stop is repeated once.
        journal: Where to log for the user.

    Raises:
        InfrastructureNotFound: There is no such job, or it is over already.
        InfrastructureNotAvailable: It did not stop.
    """
    journal = journal.about(gvc=ref.gvc, workload=ref.workload, command_id=ref.command_id)
    evidence = ""
    try:
        for reason in _REASONS:
            stopped = await stop.stop(
                client,
                ref,
                location="",  # the job knows it
                reason=reason,
                grace_seconds=grace_seconds,
                journal=journal,
            )
            if stopped.verified and not (stopped.was_sent or evidence):
                raise InfrastructureNotFound(f"job {ref.pid} is over: {stopped.evidence}")
            if stopped.verified:
                return
            evidence = stopped.evidence
    except CplnError as error:
        evidence = str(error)
    journal.warning(Area.KILL, f"The job could not be stopped and may still run: {evidence}")
    raise InfrastructureNotAvailable(
        f"job {ref.pid} could not be stopped and may still run: {evidence}"
    )
