"""An example: a parent that retries.

A retry resumes the job of the previous attempt instead of starting a second one.
"""

from __future__ import annotations

from prefect import flow, get_run_logger

from cpln_flows.blocks.job import CplnJob
from cpln_flows.flows.run_job import run_namespaced_job


@flow(name="retrying", retries=2, retry_delay_seconds=10)
def retrying(cpln_job: CplnJob) -> str:
    """Run a job and return its log; a failure on the way is retried.

    Args:
        cpln_job: The job.
    """
    result: str = run_namespaced_job(cpln_job, print_func=get_run_logger().info)
    return result
