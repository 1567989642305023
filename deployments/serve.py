"""Serve the flows from one process, beside the worker.

A run needs no container start, but there is one process to keep alive.

Usage: python deployments/serve.py

It needs the environment of the worker: PREFECT_API_URL, CPLN_TOKEN, CPLN_ORG, CPLN_GVC. A
deployment of the same flow to the work pool is another deployment: do not let both run the
maintenance flows.
"""

from prefect import serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy

from cpln_flows import cleanup_orphaned_workloads, run_namespaced_job, sync
from cpln_flows.examples.fan_out import fan_out
from cpln_flows.examples.retrying import retrying

JOB = {"cpln_job": {"$ref": {"block_document_slug": "cpln-job/my-cpln-job"}}}
ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)


def main() -> None:
    """Register the deployments named `served` and run their flow runs until interrupted."""
    maintenance = {
        "name": "served",
        "tags": ["cpln", "maintenance"],
        "concurrency_limit": ONE_AT_A_TIME,
    }
    serve(
        run_namespaced_job.to_deployment(name="served", tags=["cpln", "job"], parameters=JOB),
        fan_out.to_deployment(name="served", tags=["cpln", "example"], parameters=JOB),
        retrying.to_deployment(name="served", tags=["cpln", "example"], parameters=JOB),
        # One run covers ten cycles: a process every minute would cost more than the work it does.
        sync.to_deployment(interval=600, parameters={"cycles": 10}, **maintenance),
        cleanup_orphaned_workloads.to_deployment(cron="23 * * * *", **maintenance),
    )


if __name__ == "__main__":
    main()
