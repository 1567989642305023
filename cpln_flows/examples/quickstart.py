"""The program behind `cpln-flows quickstart`: blocks, a parent flow, a job. Run it with the platform's environment set."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from prefect import flow, get_client, get_run_logger
from prefect.client.schemas.sorting import FlowRunSort
from rich.console import Console
from rich.panel import Panel

from cpln_flows import CplnConfig, CplnCredentials, CplnJob, run_namespaced_job
from cpln_flows.errors import CplnError, JobFailedError

EXAMPLE = Path(__file__).with_name("hello-job.yaml")
BLOCK_NAME = "quickstart"

_NEXT = """\
Try next:
  cpln-flows local -- python my_flow.py        your own flow, on a local Control Plane
  cpln-flows quickstart --manifest job.yaml    your own Kubernetes Job
  prefect block register -m cpln_flows.blocks  the blocks on your own Prefect server"""


@flow(name="quickstart")
def quickstart() -> str:
    """Run the saved job; its lines go to this flow run's log as they are printed."""
    job = CplnJob.load(BLOCK_NAME)
    result: str = run_namespaced_job(job, print_func=get_run_logger().info)
    return result


async def _infrastructure_pid() -> str | None:
    async with get_client() as client:
        runs = await client.read_flow_runs(sort=FlowRunSort.ID_DESC, limit=10)
    return next((run.infrastructure_pid for run in runs if run.infrastructure_pid), None)


def main(manifest: Path) -> int:
    """Run the manifest as a job and say what came of it."""
    console, errors = Console(), Console(stderr=True)
    try:
        job = CplnJob.from_yaml_file(manifest)
        job.preview()  # what is wrong with a manifest is said before a server is started for it
        console.print(
            f"Starting a private Prefect server and running {manifest.name} on the local Control Plane ...", soft_wrap=True
        )
        for block in (CplnConfig, CplnCredentials, CplnJob):
            block.register_type_and_schema()
        job.save(BLOCK_NAME, overwrite=True)
        result = quickstart()
    except JobFailedError as error:
        errors.print(f"\nThe job ran and failed, so this command fails too: {error}", markup=False, soft_wrap=True)
        return 1
    except (CplnError, OSError) as error:
        errors.print(f"\nThe job could not be run: {error}", markup=False, soft_wrap=True)
        return 1
    console.print(Panel(result or "(the job printed nothing)", title="result"))
    console.print(
        f"infrastructure pid: {asyncio.run(_infrastructure_pid())}\n\n{_NEXT}", markup=False, highlight=False, soft_wrap=True
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else EXAMPLE))
