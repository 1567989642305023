"""The flow that runs one job."""

from __future__ import annotations

from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext

from cpln_flows import failure_states, sync_compat
from cpln_flows.blocks.job import CplnJob
from cpln_flows.blocks.job_run import CplnJobRun, PrintFunc
from cpln_flows.errors import CplnError
from cpln_flows.logger import Journal
from cpln_flows.logs import printer
from cpln_flows.model.identifiers import JOB_FLOW, LogContext
from cpln_flows.orchestration import job_identity
from cpln_flows.settings import CplnSettings
from cpln_flows.sync_compat import value_of
from cpln_flows.tasks import jobs


async def _run_namespaced_job(
    cpln_job: CplnJob, print_func: PrintFunc | None = None
) -> str | State[Any]:
    """Run a job on Control Plane and return its log.

    One call is one job. A retry resumes the job of the previous attempt if it is still running, and
    adopts its result if it ended unreported. Whatever interrupts the flow stops the job.

    Args:
        cpln_job: The job to run.
        print_func: Receives every line of the log as ``"{timestamp} - {line}"`` while the job runs.

    Returns:
        The lines of the log, joined into one string.

    Raises:
        JobFailedError: The job failed; this is also a ``RuntimeError``.
        JobTimeoutError: The job took longer than the block's ``timeout_seconds`` and was stopped.

    Example:
        ```python
        from prefect import flow, get_run_logger
        from cpln_flows import CplnJob, run_namespaced_job

        @flow
        def orchestrator():
            run_namespaced_job(CplnJob.load("my-cpln-job"), print_func=get_run_logger().info)
        ```
    """
    try:
        return await _run(cpln_job, print_func)
    except CplnError as error:
        if (context := FlowRunContext.get()) is None:
            raise
        _journal(context, cpln_job).report(error, about_start=True)
        return await failure_states.of_flow(error)


async def _run(cpln_job: CplnJob, print_func: PrintFunc | None) -> str:
    printer.check(print_func)  # before anything is started
    job_run = CplnJobRun(cpln_job, await job_identity(CplnSettings.load().workload))
    try:
        async with job_run.connected():
            await value_of(jobs.trigger(job_run))
            await value_of(jobs.wait_for_completion(job_run, print_func))
            return await jobs.fetch_result(job_run)
    except BaseException:
        # An interruption may come between two steps, when neither of them can stop the job.
        await job_run.abandon("the flow run was interrupted")
        raise


def _journal(context: FlowRunContext, cpln_job: CplnJob) -> Journal:
    run_id = context.flow_run.id if context.flow_run else None
    return Journal(get_run_logger(), LogContext(JOB_FLOW, run_id, cpln_job.namespace))


# Named differently from its function: otherwise Prefect would pack the function by value, without
# the names in its signature.
run_namespaced_job = sync_compat.flow(_run_namespaced_job, name=JOB_FLOW)
