"""An example: one flow that runs several jobs, only a few of them at the same time."""

from __future__ import annotations

import copy
from typing import Any

from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner

from cpln_flows.blocks.job import CplnJob
from cpln_flows.flows.run_job import run_namespaced_job

AT_ONCE = 2


@task
def part(cpln_job: CplnJob, number: int) -> str:
    """Run the job with its number in the environment variable ``PART``."""
    job = cpln_job.model_copy(update={"v1_job": _with_part(cpln_job.v1_job, number)})
    result: str = run_namespaced_job(job)
    return result


@flow(name="fan-out", task_runner=ThreadPoolTaskRunner(max_workers=AT_ONCE))  # type: ignore[arg-type]  # its own default
def fan_out(cpln_job: CplnJob, parts: int = 4) -> list[str]:
    """Run a Kubernetes Job once for each part and return the logs.

    Args:
        cpln_job: The job.
        parts: How many parts there are.
    """
    futures = part.map([cpln_job] * parts, range(parts))
    return [future.result() for future in futures]


def _with_part(manifest: dict[str, Any], number: int) -> dict[str, Any]:
    changed = copy.deepcopy(manifest)
    container = changed["spec"]["template"]["spec"]["containers"][0]
    container.setdefault("env", []).append({"name": "PART", "value": str(number)})
    return changed
