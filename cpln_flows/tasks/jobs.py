"""The three steps of a job as Prefect shows them: start it, wait for it, fetch its result."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from cpln_flows import failure_states
from cpln_flows.blocks.job_run import CplnJobRun, PrintFunc
from cpln_flows.errors import CplnError


@task(name="trigger", **failure_states.STEP)
async def trigger(job_run: CplnJobRun) -> State[Any] | None:
    """Start a job, or find the one that an earlier attempt started; store its pid on the run."""
    try:
        await job_run.start()
    except CplnError as error:
        return failure_states.of_task(error)
    await job_run.record_pid()
    return None


@task(name="wait_for_completion", **failure_states.STEP)
async def wait_for_completion(
    job_run: CplnJobRun, print_func: PrintFunc | None = None
) -> State[Any] | None:
    """Follow a job to its end.

    Each line of its log goes to ``print_func``, or else to the logger of the run.
    """
    try:
        await job_run.complete(print_func)
    except CplnError as error:
        return failure_states.of_task(error)
    return None


@task(name="fetch_result", cache_policy=NO_CACHE, persist_result=False)
async def fetch_result(job_run: CplnJobRun) -> str:
    """Return the log of a job that has completed, joined to one string."""
    return await job_run.fetch_result.aio(job_run)
