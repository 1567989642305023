"""What `cpln-flows quickstart` does: blocks, a parent flow, a job.

The module `quickstart` shows it to the user.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from prefect import flow, get_client, get_run_logger
from prefect.client.schemas.sorting import FlowRunSort

from cpln_flows import CplnConfig, CplnCredentials, CplnJob, run_namespaced_job

BLOCK_NAME = "quickstart"


def read(manifest: Path) -> CplnJob:
    """Read a manifest and check it, which needs no server.

    Args:
        manifest: The file.
    """
    job = CplnJob.from_yaml_file(manifest)
    job.preview()
    return job


def save(job: CplnJob) -> None:
    """Save the job's block on Prefect's server.

    The first request starts a temporary server where there is none.

    Args:
        job: The job.
    """
    for block in (CplnConfig, CplnCredentials, CplnJob):
        block.register_type_and_schema()
    job.save(BLOCK_NAME, overwrite=True)


@flow(name="quickstart")
def quickstart() -> str:
    """Run the saved job; its lines go to this flow run's log as they are printed."""
    job = CplnJob.load(BLOCK_NAME)
    result: str = run_namespaced_job(job, print_func=get_run_logger().info)
    return result


def infrastructure_pid() -> str | None:
    """Return where the newest job of this server ran."""
    return asyncio.run(_infrastructure_pid())


async def _infrastructure_pid() -> str | None:
    async with get_client() as client:
        runs = await client.read_flow_runs(sort=FlowRunSort.ID_DESC, limit=10)
    return next((run.infrastructure_pid for run in runs if run.infrastructure_pid), None)
