"""Serves the flows from one process, beside the worker: no container start for a run, and one process to keep alive.

Usage: python deployments/serve.py
"""

from prefect import serve

from cpln_flows import run_namespaced_job
from cpln_flows.examples.fan_out import fan_out
from cpln_flows.examples.retrying import retrying

JOB = {"cpln_job": {"$ref": {"block_document_slug": "cpln-job/my-cpln-job"}}}


def main() -> None:
    """Register the deployments named `served` and run their flow runs until interrupted."""
    serve(
        run_namespaced_job.to_deployment(name="served", tags=["cpln", "job"], parameters=JOB),
        fan_out.to_deployment(name="served", tags=["cpln", "example"], parameters=JOB),
        retrying.to_deployment(name="served", tags=["cpln", "example"], parameters=JOB),
    )


if __name__ == "__main__":
    main()
