"""Flows that Prefect packs for another process, module and all, as it does for a submission from a clone."""

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
    assert b"sync_compat" in packed or b"SyncCompatibleFlow" in packed
    assert b"127.0.0.1:1" not in packed
