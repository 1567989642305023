"""The three steps of a job as Prefect shows them: start it, wait for it, take its result."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from cpln_flows.blocks.job import CplnJobRun, PrintFunc


# Never cached and never persisted: a step that acts must act each time, and a run holds credentials.
@task(name="trigger", cache_policy=NO_CACHE, persist_result=False)
async def trigger(job_run: CplnJobRun) -> None:
    """Start a job, or find the one that an earlier attempt has started; its pid goes to the flow run."""
    await job_run.start()
    await job_run.record_pid()


@task(name="wait_for_completion", cache_policy=NO_CACHE, persist_result=False)
async def wait_for_completion(job_run: CplnJobRun, print_func: PrintFunc | None = None) -> None:
    """Follow a job to its end; each line of its log goes to ``print_func``, else to the run's logger."""
    await job_run.wait_for_completion(print_func)


@task(name="fetch_result", cache_policy=NO_CACHE, persist_result=False)
async def fetch_result(job_run: CplnJobRun) -> str:
    """Return the log of a job that has completed, joined to one text."""
    result: str = await job_run.fetch_result()
    return result
