"""Run the job of a saved block from a flow.

First save the block `my-cpln-job`, then run `python job.py`.
"""

from prefect import flow, get_run_logger

from cpln_flows import CplnJob, run_namespaced_job


@flow
def cpln_orchestrator() -> str:
    """Run the job; its lines go to this flow run's log as they are printed."""
    job = CplnJob.load("my-cpln-job")
    result: str = run_namespaced_job(job, print_func=get_run_logger().info)
    return result


if __name__ == "__main__":
    cpln_orchestrator()
