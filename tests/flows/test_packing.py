"""Flows that Prefect packs for another process, with their module, as it does from a clone."""

import subprocess
import sys

import anyio.lowlevel
import cloudpickle

import cpln_flows
from cpln_flows import run_namespaced_job, sync_compat
from cpln_flows.jobs import session
from cpln_flows.settings import ApiSettings


def test_a_flow_is_packed_while_connections_are_open_and_these_stay_behind() -> None:
    async def pack() -> bytes:
        async with session.shared(ApiSettings(token="t", endpoint="http://127.0.0.1:1")):
            await anyio.lowlevel.checkpoint()
            return cloudpickle.dumps(run_namespaced_job)

    cloudpickle.register_pickle_by_value(cpln_flows)
    try:
        packed = sync_compat.run(pack)
    finally:
        cloudpickle.unregister_pickle_by_value(cpln_flows)
    assert b"_run_namespaced_job" in packed, (
        "by reference: by value it would lose the names in its signature"
    )
    assert b"127.0.0.1:1" not in packed


def test_packed_flow_knows_its_parameters_in_another_process(tmp_path) -> None:
    path = tmp_path / "flow"
    path.write_bytes(cloudpickle.dumps(run_namespaced_job))
    program = (
        "import sys, pathlib, cloudpickle\n"
        "flow = cloudpickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "job = {'org': 'acme', 'namespace': 'dev', 'v1_job': {}}\n"
        "values = flow.validate_parameters({'cpln_job': job, 'print_func': None})\n"
        "print(type(values['cpln_job']).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "CplnJob", done.stderr
