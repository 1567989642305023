"""The programs that users of prefect-cpln have, in processes of their own."""

import pytest

from cpln_flows import CplnCredentials, CplnJob
from tests.manifests import LINES, kubernetes_job
from tests.scenarios import programs

PROGRAM = """
from prefect import flow, get_run_logger
from prefect_cpln.flows import run_namespaced_job  # this is a flow
from prefect_cpln.jobs import CplnJob

cpln_job_block = CplnJob.load("my-cpln-job")

@flow
def cpln_orchestrator():
    # run the flow and send logs to the parent flow run's logger
    logger = get_run_logger()
    run_namespaced_job(cpln_job_block, print_func=logger.info)


if __name__ == "__main__":
    cpln_orchestrator()
"""
AWAITED = (
    PROGRAM.replace("def cpln_orchestrator", "async def cpln_orchestrator")
    .replace("    run_namespaced_job(", "    await run_namespaced_job(")
    .replace(
        "    cpln_orchestrator()\n", "    import asyncio\n    asyncio.run(cpln_orchestrator())\n"
    )
)


def _ours(program: str) -> str:
    return program.replace("prefect_cpln.flows", "cpln_flows").replace(
        "prefect_cpln.jobs", "cpln_flows"
    )


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(PROGRAM, id="as-printed"),
        pytest.param(_ours(PROGRAM), id="with-our-names", marks=pytest.mark.proof),
        pytest.param(_ours(AWAITED), id="awaited", marks=pytest.mark.proof),
    ],
)
def test_the_program_runs_unchanged(program, local, prefect_api, tmp_path) -> None:
    CplnJob(credentials=CplnCredentials(), v1_job=kubernetes_job(LINES)).save(
        "my-cpln-job", overwrite=True
    )
    code, output = programs.run(
        program, tmp_path, local.environment | {"PREFECT_API_URL": prefect_api}
    )
    assert code == 0, output
    for n in range(5):
        assert output.count(f" - line {n}\n") == 1, output
    assert "Flow run" in output
    assert local.platform.jobs_started == 1
    assert local.platform.workloads() == []
