"""An example to copy: a flow that runs a job.

`cpln-flows local -- python hello_flow.py` runs it on this machine.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from cpln_flows import CplnJob, run_namespaced_job

MANIFEST: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "hello"},
    "spec": {
        "template": {
            "spec": {
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "hello",
                        "image": "python:3.12-slim",
                        "command": ["python", "-c", "print('hello')"],
                    }
                ],
            }
        }
    },
}


@flow
def hello() -> str:
    """Run the job and return its log."""
    result: str = run_namespaced_job(
        CplnJob(v1_job=MANIFEST, timeout_seconds=600), print_func=get_run_logger().info
    )
    return result


if __name__ == "__main__":
    hello()
